"""Reads of one table that come while another one is under way go together, in one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import ShortLock

_MAX_TOGETHER = 32

Perform = Callable[[Sequence[Any]], Sequence[Any]]
"""Performs reads in one call, and returns the answer to each."""


class _Waiting:
    """A read that waits while another thread reads.

    Attributes:
        read: The request.
        perform: Performs it, perhaps with others.
        thread: The thread that waits.
        then: Called in that thread, when its turn has come, for the answer.
        together: The reads that this thread is to perform, its own first; None as long as it waits.
        is_started: Whether it performs them.
    """

    def __init__(self, read: Any, perform: Perform) -> None:
        self.read, self.perform = read, perform
        self.thread = threading.get_ident()
        self.then: Future[Callable[[], Any]] = Future()
        self.together: Sequence[_Waiting] | None = None
        self.is_started = False

    def alone(self) -> Any:
        """Perform the read without others."""
        return self.perform([self.read])[0]


class ReadsTogether(ProcessState):
    """The tables that are being read, and the reads of each that wait. Threads share it.

    The first read of a table goes alone. Those that come meanwhile go together after it, in the thread of the
    first of them. A signal handler within a read does not wait for the thread that it interrupts.

    >>> ReadsTogether().read("table", 3, lambda reads: [2 * read for read in reads])
    6
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = ShortLock()
        self._waiting: dict[Hashable, list[_Waiting]] = {}
        self._threads: dict[Hashable, int] = {}

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self) -> None:
        self._lock.release()

    def read(self, table: Hashable, read: Any, perform: Perform) -> Any:
        """Return the answer to a read, performed with those that wait for the same table.

        Args:
            table: Which reads go together.
            read: The request.
            perform: Performs reads in one call. Where it fails for several, each is performed alone.
        """
        own = _Waiting(read, perform)
        with self._lock:
            thread = self._threads.setdefault(table, own.thread)
            waiting = self._waiting.get(table)
            if waiting is None:
                self._waiting[table] = []
                own.together = [own]
            elif thread != own.thread:
                waiting.append(own)
        try:
            if own.together is not None:
                return self._perform(table, own.together)
            return own.alone() if thread == own.thread else own.then.result()()
        except BaseException:
            self._leave(table, own)
            raise

    def _perform(self, table: Hashable, together: Sequence[_Waiting]) -> Any:
        """Perform reads in the thread of the first, and return its answer; the others get theirs."""
        first, *others = together
        answers: Sequence[Any] | None = None
        try:
            first.is_started = True
            answers = first.perform([one.read for one in together])
        except Exception:
            if not others:
                raise
        finally:
            for position, other in enumerate(others, 1):
                other.then.set_result(
                    other.alone if answers is None else partial(answers.__getitem__, position)
                )
            self._pass_on(table)
        return first.alone() if answers is None else answers[0]

    def _leave(self, table: Hashable, own: _Waiting) -> None:
        """Let the others go on without a read whose thread was interrupted while it waited."""
        with self._lock:
            waiting = self._waiting.get(table, [])
            if own in waiting:
                waiting.remove(own)
            if own.together is None or own.is_started:
                return
            waiting[:0] = own.together[1:]
        self._pass_on(table)

    def _pass_on(self, table: Hashable) -> None:
        """Let the thread of the first read that waits perform those that wait."""
        with self._lock:
            waiting = self._waiting.pop(table, [])
            self._threads.pop(table, None)
            together, left = waiting[:_MAX_TOGETHER], waiting[_MAX_TOGETHER:]
            if together:
                self._waiting[table] = left
                self._threads[table] = together[0].thread
                together[0].together = together
        if together:
            together[0].then.set_result(partial(self._perform, table, together))


reads_together = register(ReadsTogether())
