"""File lock on a folder, by which writers exclude each other; readers take none."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

_WAIT_SECONDS = 30.0
_STEP_SECONDS = 0.01


class FolderLock:
    """A lock held within a ``with`` block, at first shared with other holders.

    It is released when the block or the process ends. Where the file system keeps no locks, or another
    process holds one for very long, the block runs all the same: it is a courtesy among writers, and no
    promise.

    Args:
        folder: It need not exist; then nothing is locked.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> FolderLock:
        with contextlib.suppress(OSError):
            self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._take(fcntl.LOCK_SH)
        return self

    def exclude_others(self) -> None:
        """Make the lock exclusive, waiting for other holders; the folder may have changed meanwhile."""
        self._take(fcntl.LOCK_UN)  # two that wait for each other's lock would wait for ever
        self._take(fcntl.LOCK_EX)

    def __exit__(self, *error: object) -> None:
        if self._descriptor is not None:
            self._take(fcntl.LOCK_UN)  # for forked processes too, which have the descriptor as well
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self, kind: int) -> None:
        end = time.monotonic() + _WAIT_SECONDS
        while self._descriptor is not None:
            try:
                fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    return
                time.sleep(_STEP_SECONDS)
            except OSError:
                return
            else:
                return
