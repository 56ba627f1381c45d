"""The first key, written to a file: for a service that is started where nobody looks on, as in a container."""

import asyncio
import logging
import os
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import filelock

from service.authentication import check_exposure
from service.callers import DEFAULT_TENANT, Scope
from service.errors import UnsafeSettings
from service.keys import Keys
from service.settings import Settings

logger = logging.getLogger(__name__)

_LOCK_SECONDS = 60


async def ensure_keys(settings: Settings, keys: Keys) -> None:
    """Before anybody is let in: the first key, where one is to be made; none at all is an error where one is needed.

    Raises:
        UnsafeSettings: of either.
    """
    await make_first_key(settings, keys)
    await check_exposure(settings, keys)


async def make_first_key(settings: Settings, keys: Keys) -> None:
    """Where the database has never had a key, make one that reads and writes, in `settings.first_key_file`.

    Nothing is done where that is not set, or where none is asked for one.

    Raises:
        UnsafeSettings: the file cannot be written, or holds something that is no key of ours.
    """
    file = settings.first_key_file
    if file is None or settings.auth == "off" or await keys.list():
        return
    try:
        # Replicas that start together share the folder, and want one key.
        with await asyncio.to_thread(_locked, file):
            if not await keys.list():
                await _make(keys, file)
    except (OSError, filelock.Timeout) as error:
        raise UnsafeSettings(
            f"the first key cannot be written to {file} (KSHOT_FIRST_KEY_FILE): {error}; name a file in a folder that "
            "can be written, or make a key with `kshot keys create NAME`"
        ) from error


def _locked(file: Path) -> AbstractContextManager[object]:
    lock = filelock.FileLock(file.with_name(f"{file.name}.lock"), timeout=_LOCK_SECONDS, thread_local=False)
    return lock.acquire()


async def _make(keys: Keys, file: Path) -> None:
    # The file before the key: one that nobody can read would keep the next start from making another.
    written = _begin(file)
    text = await keys.create(name="first", tenant=DEFAULT_TENANT, scopes=[Scope.READ, Scope.WRITE])
    _finish(written, text, file)
    logger.info("the first key is in %s; it reads and writes, and `kshot keys create` makes others", file)


def _begin(file: Path) -> IO[str]:
    """A file beside it, its owner's alone. What is there of another database gives way, what is no key of ours not."""
    if file.exists() and not file.read_bytes().startswith(b"kshot_"):
        raise OSError("it is there, and holds no key of kshot")
    return tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f"{file.name}.", delete=False)


def _finish(written: IO[str], text: str, file: Path) -> None:
    """Whole or not at all."""
    with written:
        written.write(f"{text}\n")
        written.flush()
        os.fsync(written.fileno())
    Path(written.name).replace(file)
