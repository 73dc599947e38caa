"""Daemon threads for remote reads: a caller that stops early does not wait for them.

Threads of the standard library's pool are waited for when the pool is left and when the interpreter ends, so
that Ctrl-C would wait for servers that do not answer. These daemon threads may be left running.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from mediaref_ursa._core.reentrancy import is_amid_change

P = ParamSpec("P")
T = TypeVar("T")

_Job = tuple["Future[Any]", Callable[[], Any]]


class DaemonThreads:
    """A thread pool of one call, first in, first out, whose threads are daemons.

    Leaving a ``with`` block waits for all; after an error, for what has begun. Where the block is interrupted
    (KeyboardInterrupt, SystemExit, GeneratorExit) it does not wait; the caller stops the jobs
    by an event.

    Args:
        max_threads: How many threads there are at most.
        name: The beginning of their names.
    """

    def __init__(self, max_threads: int, name: str) -> None:
        self._max_threads = max_threads
        self._name = name
        self._threads = 0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._unfinished: set[Future[Any]] = set()

    def __enter__(self) -> DaemonThreads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close_when_done()
        else:
            self.close()
        if kind is None or issubclass(kind, Exception):
            wait(set(self._unfinished))

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a pool thread; in the calling thread, at once, if no thread can be started."""
        future: Future[T] = Future()
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        self._jobs.put((future, lambda: function(*args, **kwargs)))
        if self._threads < self._max_threads:
            self._start_thread()
        if not self._threads:
            self._jobs.put(None)
            _do(self._jobs)
        return future

    def _start_thread(self) -> None:
        """Start another thread, if possible; not in a signal handler, which may not wait for its start."""
        if is_amid_change():
            return
        name = f"{self._name}_{self._threads}"
        thread = threading.Thread(target=_do, args=(self._jobs,), name=name, daemon=True)
        with contextlib.suppress(RuntimeError, MemoryError):
            thread.start()
            self._threads += 1

    def close(self) -> None:
        """Cancel the jobs that have not begun, and let the threads end after those that have."""
        for future in list(self._unfinished):
            future.cancel()
        self.close_when_done()

    def close_when_done(self) -> None:
        """Let the threads end after all submitted jobs."""
        for _ in range(self._threads):
            self._jobs.put(None)


def _do(jobs: SimpleQueue[_Job | None]) -> None:
    """Loop of a daemon thread: run jobs until the queue gives None.

    It refers to the queue only, so that it keeps no memory of a call that is over.
    """
    while (job := jobs.get()) is not None:
        future, function = job
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function())
            except BaseException as error:  # ``Future.result`` raises it
                future.set_exception(error)
        del job, future, function
