"""Locked files that a forked child does not keep, and memory that it begins anew.

A child shares its parent's open files, and with them the locks: if the parent died, its lock would live on
in the child. So a child closes its copies. No fork comes between the opening of a file and the note of it,
or the child would inherit a file that nobody knows of.
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from pathlib import Path
from typing import Protocol

from mediaref_ursa._core.process_state import register_at_fork


class Forgetful(Protocol):
    """Something with locks and memory of its own process."""

    def forget(self) -> None:
        """Begin anew: locks that nobody holds, nothing remembered."""
        ...


_guard = threading.RLock()
_open: set[int] = set()
_forgetful: weakref.WeakSet[Forgetful] = weakref.WeakSet()


def open_lockable(path: Path, flags: int) -> int:
    """Open a file that only this user may read, whose descriptor a forked child closes."""
    with _guard:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        _open.add(descriptor)
    return descriptor


def close_lockable(descriptor: int) -> None:
    """Unlock and close; unlocking first frees it even where a forked child still holds a copy."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        with _guard:
            _open.discard(descriptor)
            os.close(descriptor)


def lock(descriptor: int) -> None:
    """Lock a file that nobody holds for longer than a look."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def try_lock(descriptor: int) -> bool:
    """Lock a file, unless somebody holds it: another process, or another opening in this one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def forget_after_fork(forgetful: Forgetful) -> None:
    """Call ``forget`` in every forked child for as long as the object lives."""
    _forgetful.add(forgetful)


def _in_child() -> None:
    global _guard  # noqa: PLW0603 - the parent's was held over the fork
    _guard = threading.RLock()
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()
    for forgetful in list(_forgetful):
        forgetful.forget()


register_at_fork(
    before=lambda: _guard.acquire(),  # noqa: PLW0108 - a child's guard is another
    after_in_parent=lambda: _guard.release(),  # noqa: PLW0108
    after_in_child=_in_child,
)
