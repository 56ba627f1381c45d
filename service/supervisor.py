"""Keeps a serving process alive where nothing else does: starts it again when it dies, ends it when asked to."""

import logging
import signal
import subprocess
import time
from collections.abc import Sequence
from types import FrameType
from typing import Final

logger = logging.getLogger(__name__)

HOPELESS: Final = (2, 3)
"""Statuses of a process that could not start, by its settings or its address: the next one could not either."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0
_STEADY_SECONDS = 30.0
"""A process that lived so long is started again at once when it dies."""


class Supervisor:
    """Runs a command until it ends well or is asked to end.

    Args:
        command: the serving process; it gets this one's environment and output.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._child: subprocess.Popen[bytes] | None = None
        self._ending = False

    def run(self) -> int:
        """Until the end; the last process's status, as a shell tells it."""
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            self._child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)  # noqa: S603 (our own)
            if self._ending:  # asked while there was no process to be told
                self._child.terminate()
            status = self._child.wait()
            if self._ending or status == 0 or status in HOPELESS:
                return status if status >= 0 else 128 - status
            lived_seconds = time.monotonic() - began
            if lived_seconds > _STEADY_SECONDS:
                pause_seconds = _FIRST_PAUSE_SECONDS
            logger.error(
                "the serving process ended with %d after %.1f s; starting it again in %.1f s",
                status,
                lived_seconds,
                pause_seconds,
            )
            self._pause(pause_seconds)
            if self._ending:
                return 0
            pause_seconds = min(_LONGEST_PAUSE_SECONDS, 2 * pause_seconds)

    def _pause(self, seconds: float) -> None:
        """In short pieces: a signal that came does not end a sleep."""
        until = time.monotonic() + seconds
        while not self._ending and time.monotonic() < until:
            time.sleep(0.05)

    def _end(self, sig: int, _: FrameType | None) -> None:
        self._ending = True
        # A terminal's interrupt reaches the child by itself.
        if sig == signal.SIGTERM and self._child is not None and self._child.poll() is None:
            self._child.terminate()
