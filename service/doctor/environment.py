"""Settings that come from the environment: which do, which cannot be, which are none."""

import difflib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import ValidationError

from service.doctor.finding import Finding
from service.settings import Limits, Settings

_PREFIX = "KSHOT_"
_OTHERS = {"KSHOT_TRACEBACK", "KSHOT_KEY"}
"""What commands read, and the service does not."""
_SECRET = {"KSHOT_DATABASE_URL", "KSHOT_KEY"}


class Read(NamedTuple):
    """The settings, with the default in place of what cannot be, and what there is to say of them."""

    settings: Settings
    findings: list[Finding]


def read(**given: Any) -> Read:
    """The settings of the environment, under what was `given`."""
    try:
        return Read(Settings(**given), list(_told(set())))
    except ValidationError as error:
        bad = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
        findings = [
            Finding("settings", _variable(each["loc"]), "wrong", _shown(each), each["msg"]) for each in error.errors()
        ]
        fields = Settings.model_fields
        defaults = {name: fields[name].get_default(call_default_factory=True) for name in bad if name in fields}
        return Read(Settings(**(given | defaults)), findings + list(_told({finding.name for finding in findings})))


def _told(bad: set[str]) -> Iterator[Finding]:
    known = sorted(_known())
    names = sorted(name for name in os.environ if name.upper().startswith(_PREFIX) and name.upper() not in bad)
    for name in names:
        value = "(not shown)" if name.upper() in _SECRET else os.environ[name]
        if name.upper() in known:
            yield Finding("settings", name, "ok", value)
        elif not name.upper().startswith("KSHOT_TEST_"):
            near = difflib.get_close_matches(name.upper(), known, n=1)
            advice = f"no setting is called so{f'; did you mean {near[0]}?' if near else ': it changes nothing'}"
            yield Finding("settings", name, "wrong", value, advice)
    if not names and not bad:
        yield Finding("settings", "KSHOT_…", "ok", "none is set: all are the defaults")


def _known() -> set[str]:
    limits = {f"{_PREFIX}LIMITS__{name.upper()}" for name in Limits.model_fields}
    return {f"{_PREFIX}{name.upper()}" for name in Settings.model_fields} | limits | _OTHERS


def _variable(loc: tuple[int | str, ...]) -> str:
    return _PREFIX + "__".join(str(part).upper() for part in loc)


def _shown(error: Any) -> str:
    return "(not shown)" if _variable(error["loc"]) in _SECRET else str(error["input"])[:100]
