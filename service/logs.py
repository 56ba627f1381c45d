"""Log lines for programs or for people; neither holds what users sent."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from sqlalchemy.exc import OperationalError

_TELLS_OF_THE_MACHINE = (OSError, MemoryError, RuntimeError)
"""Errors whose text speaks of files, devices and shapes. Others quote what they failed on: a label, a name."""


def configure(*, style: Literal["auto", "json", "text"], level: str) -> None:
    """Write all logs to standard error.

    Args:
        style: `auto` is `text` on a terminal and `json` elsewhere.
        level: the least severe line of our own that is written.
    """
    handler = logging.StreamHandler()
    if style == "json" or (style == "auto" and not sys.stderr.isatty()):
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level="INFO", handlers=[handler], force=True)
    for ours in ("service", "meta_core"):  # others' debug lines hold SQL with its values
        logging.getLogger(ours).setLevel(level.upper())


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the record's `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            entry["error"] = _told(record.exc_info[1])
        return orjson.dumps(entry, default=str).decode()


def _told(error: BaseException) -> dict[str, Any]:
    """An error's kind and where it came from; its text only where that cannot quote what a user sent."""
    told: dict[str, Any] = {"type": f"{type(error).__module__}.{type(error).__qualname__}"}
    if isinstance(error, OperationalError) and error.orig is not None:
        told["text"] = str(error.orig).partition("\n")[0]
    elif isinstance(error, _TELLS_OF_THE_MACHINE):
        told["text"] = str(error)
    told["at"] = [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return told if cause is None else told | {"cause": _told(cause)}
