"""Calls amid other calls of the same thread: what the handler of a signal does.

Python calls a handler between two steps of whatever the main thread is doing, and goes on there only when the
handler is done. A handler that calls this library may thus meet a lock of the very call that it interrupts.
Nobody may wait for such a lock: the inner call is an error at once.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mediaref_ursa._errors import ReentrantCallError
from mediaref_ursa._forking import is_importing

_short_locks: list[_LockReference] = []


class _LockReference(weakref.ref[Any]):
    """Refers to a lock of one process: what a thread held at a fork may outlive it in the child."""

    def __init__(self, lock: Any, forget: Callable[[_LockReference], None]) -> None:
        super().__init__(lock, forget)  # type: ignore[call-arg] # typeshed knows __new__ only
        self.pid = os.getpid()


def short_lock() -> Any:
    """Return a re-entrant lock for a few steps that wait for nobody, known to :func:`is_amid_change`."""
    lock = threading.RLock()
    _short_locks.append(_LockReference(lock, _short_locks.remove))
    return lock


def is_amid_change() -> bool:
    """Return whether this thread holds a short lock: then it is in a handler, and may wait for no thread."""
    pid = os.getpid()
    locks = [reference() for reference in tuple(_short_locks) if reference.pid == pid]
    return any(lock is not None and lock._is_owned() for lock in locks)


def refuse_amid_change() -> None:
    """Refuse a call that comes amid a change of what calls share, or an import of a part of this package.

    Raises:
        ReentrantCallError: This thread holds a short lock, or is importing.
    """
    if is_amid_change() or is_importing(__name__.partition(".")[0]):
        raise reentrant_call()


def reentrant_call() -> ReentrantCallError:
    """Return the error of a call that would have to wait for the one that it interrupts."""
    return ReentrantCallError(
        "this call came amid another one of the same thread, from a signal's handler or a finalizer, and "
        "needs what that one holds; let the handler set a flag, and call when the other call is done"
    )


class LongLock:
    """A lock for work that takes a while, known by the thread that holds it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owner: int | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            ReentrantCallError: This thread holds it.
        """
        if self._owner == threading.get_ident():
            raise reentrant_call()
        with self._lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None
