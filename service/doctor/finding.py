"""One thing that was looked at."""

from typing import Literal, NamedTuple

Section = Literal["software", "machine", "settings", "store", "models", "address"]
Status = Literal["ok", "note", "wrong"]


class Finding(NamedTuple):
    """What was looked at, how it is, what was found, and what to do where that is not as it should be."""

    section: Section
    name: str
    status: Status
    found: str
    advice: str = ""
