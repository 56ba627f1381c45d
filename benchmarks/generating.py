"""Runs the load generator, `load.py`, in a process of its own."""

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import Seen

_PROGRAM = Path(__file__).with_name("load.py")


def generate(host: str, port: int, requests: Sequence[bytes], **plan: float) -> Seen:
    """What became of prepared requests.

    Args:
        host: of the server.
        port: of the same.
        requests: as they go over the wire; taken in turns.
        plan: `seconds`, and `clients` of a closed loop or the `rate` a second of an open one.
    """
    encoded = [base64.b64encode(each).decode() for each in requests]
    asked = json.dumps({"host": host, "port": port, "requests": encoded, **plan})
    done = subprocess.run([sys.executable, _PROGRAM], input=asked.encode(), capture_output=True, check=True)
    return Seen(**json.loads(done.stdout))
