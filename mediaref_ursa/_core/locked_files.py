"""File locks that a forked child does not keep.

A child shares its parent's open files, and with them the locks: if the parent died, its lock would live on
in the child. So a child closes its copies. No fork comes between the opening of a file and the note of it,
or the child would inherit a file that is not noted.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from mediaref_ursa._core.process_state import ProcessState, register


class _LockedFiles(ProcessState):
    """The descriptors of this process that may hold a lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._open: set[int] = set()

    def open(self, path: Path, flags: int) -> int:
        with self._lock:
            descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self._open.add(descriptor)
        return descriptor

    def close_one(self, descriptor: int) -> None:
        with self._lock:
            self._open.discard(descriptor)
            os.close(descriptor)

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self) -> None:
        self._lock.release()

    def forget(self) -> None:
        self._lock = threading.RLock()  # the parent's was held over the fork
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()


_files = register(_LockedFiles())


def open_lockable(path: Path, flags: int) -> int:
    """Open a file that only this user may read, whose descriptor a forked child closes."""
    return _files.open(path, flags)


def close_lockable(descriptor: int) -> None:
    """Unlock and close; unlocking first frees it even where a forked child still holds a copy."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        _files.close_one(descriptor)


def lock(descriptor: int) -> None:
    """Lock a file, waiting for the lock, which all holders keep for a moment only."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def try_lock(descriptor: int) -> bool:
    """Lock a file, unless another process, or another descriptor of this one, holds its lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
