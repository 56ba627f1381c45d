"""The data folder: one process at a time."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import filelock

from service.errors import DataFolderError
from service.settings import Settings


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the kernel lets go of it when the process ends, however it ends.

    Raises:
        DataFolderError: another process holds it, or it cannot be written.
    """
    holder = folder / "kshot.pid"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The same object within a process, so that a command may hold it around the app that takes it again.
        with filelock.FileLock(folder / "kshot.lock", timeout=0, thread_local=False, is_singleton=True):
            holder.write_text(str(os.getpid()))
            yield
    except filelock.Timeout as error:
        pid = holder.read_text() if holder.is_file() else "unknown"
        raise DataFolderError(
            f"the data folder {folder} is in use by process {pid}; stop it, or give another folder with --data-dir"
        ) from error
    except OSError as error:
        raise DataFolderError(f"the data folder {folder} cannot be written: {error}") from error


def held(settings: Settings) -> contextlib.AbstractContextManager[None]:
    """The data folder's lock where the database lies in it; a database server takes any number of processes."""
    return locked(settings.data_dir) if settings.database_url is None else contextlib.nullcontext()
