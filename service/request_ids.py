"""Which id a request has."""

import random
import re

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id(given: str, made: random.Random) -> str:
    """The one that came in `X-Request-ID`, or one that is made where none or an unprintable one did."""
    return given if _REQUEST_ID.fullmatch(given) else f"{made.getrandbits(128):032x}"
