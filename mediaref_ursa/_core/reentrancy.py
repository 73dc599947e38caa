"""Reentrancy: calls that a signal handler makes inside another call of the same thread.

Python calls a handler between two steps of whatever the main thread is doing, and goes on there only when the
handler is done. A handler that calls this library may thus meet a lock of the very call that it interrupts.
No thread may wait for such a lock: the inner call is an error at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mediaref_ursa._core.errors import ReentrantCallError
from mediaref_ursa._core.process_state import ProcessState, is_importing, register


class _Held(ProcessState, threading.local):
    """The number of short locks that this thread holds."""

    count = 0

    def forget(self) -> None:
        self.count = 0  # a child makes its locks anew


_held = register(_Held())


class ShortLock:
    """A re-entrant lock for a few steps that do not block, known to :func:`is_amid_change`.

    It counts as held from just before it is taken until just after it is given back: a handler may come
    between.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def acquire(self) -> bool:
        """Take the lock, and wait for it."""
        _held.count += 1
        return self._lock.acquire()

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()
        _held.count -= 1

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _is_owned(self) -> bool:  # this and what follows is what threading.Condition asks of a lock
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]

    def _release_save(self) -> Any:
        state = self._lock._release_save()  # type: ignore[attr-defined]
        count, _held.count = _held.count, 0
        return state, count

    def _acquire_restore(self, saved: Any) -> None:
        state, _held.count = saved
        self._lock._acquire_restore(state)  # type: ignore[attr-defined]


class ProcessLock(ProcessState, ShortLock):
    """A short lock that a module holds by itself, to be registered: a forked child makes it anew."""

    def forget(self) -> None:
        self._lock = threading.RLock()


def is_amid_change() -> bool:
    """Return whether this thread holds a short lock: then a signal handler calls, which may not wait."""
    return _held.count > 0


def refuse_amid_change() -> None:
    """Refuse a call that interrupts a change of shared state, or an import of a module of this package.

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
    """A lock for long work, which records the thread that holds it."""

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
