"""Interpreter exit: daemon threads that decode end at the next frame, and the exit waits for them.

At its end the interpreter kills a daemon thread when that next asks for the interpreter's lock. Within the
C++ of numpy or of a codec this aborts the whole process (SIGABRT), after a program that did all it should.
So no daemon thread is inside a call of this library by then: each raises SystemExit, which ends a thread.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import ShortLock, refuse_amid_change

T = TypeVar("T")

_MAX_WAIT_SECONDS = 5.0
_NOTHING = object()


class _Work(ProcessState):
    """The threads inside C++ calls now, and whether the interpreter is ending."""

    def __init__(self) -> None:
        self.forget()
        atexit.register(self.end)

    def forget(self) -> None:
        """Forget the threads, which a forked child does not have."""
        self._changed = threading.Condition(ShortLock())  # type: ignore[arg-type] # it has what is asked of a lock
        self._inside: Counter[threading.Thread] = Counter()
        self._leaving: list[threading.Thread] = []
        self._is_ending = False

    def enter(self) -> None:
        """Register the thread; end it if it is a daemon and the interpreter is ending.

        Raises:
            ReentrantCallError: A signal's handler calls amid a change of what calls share.
            SystemExit: It must not go on.
        """
        refuse_amid_change()
        thread = threading.current_thread()
        with self._changed:
            if self._is_ending and thread.daemon:
                self._leaving.append(thread)
                raise SystemExit
            self._inside[thread] += 1

    def check(self) -> None:
        """End the thread if it is a daemon and the interpreter is ending; called between two pieces of work.

        Raises:
            SystemExit: It must not go on.
        """
        thread = threading.current_thread()
        if self._is_ending and thread.daemon:
            with self._changed:
                self._leaving.append(thread)
            raise SystemExit

    def leave(self) -> None:
        """Record that the thread has left its call."""
        thread = threading.current_thread()
        with self._changed:
            self._inside[thread] -= 1
            if self._inside[thread] <= 0:
                del self._inside[thread]
                if self._is_ending:
                    self._changed.notify_all()

    def end(self) -> None:
        """Ask daemon threads to end, and wait for them, for some seconds at most."""
        until = time.monotonic() + _MAX_WAIT_SECONDS
        with self._changed:
            self._is_ending = True
            self._changed.wait_for(self._is_empty, _MAX_WAIT_SECONDS)
            leaving = list(self._leaving)
        for thread in leaving:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def _is_empty(self) -> bool:
        return not any(thread.daemon for thread in self._inside)


_work = register(_Work())


@contextmanager
def working() -> Iterator[None]:
    """Mark a block that calls into C++ libraries, for the time of a few frames.

    Raises:
        SystemExit: In a daemon thread, where the interpreter is ending.
    """
    _work.enter()
    try:
        yield
    finally:
        _work.leave()


def check_exit() -> None:
    """End this thread if it is a daemon and the interpreter is ending: called within ``working``, a frame.

    Raises:
        SystemExit: As :func:`working` does.
    """
    _work.check()


def stops_at_exit(items: Iterable[T]) -> Iterator[T]:
    """Yield the items of an iterator; the computation of each is a block of ``working`` of its own."""
    iterator = iter(items)
    try:
        while True:
            with working():
                item = next(iterator, _NOTHING)
            if item is _NOTHING:
                return
            yield item  # type: ignore[misc] # mypy does not know the sentinel
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
