"""``WorkerPool``: the threads that execute the jobs of one call, the caller's among them."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from mediaref_ursa._core.counters import in_this_context
from mediaref_ursa._core.errors import MediaRefError
from mediaref_ursa._core.process_state import ProcessState, register, register_while_alive
from mediaref_ursa._core.reentrancy import ShortLock, is_amid_change
from mediaref_ursa.store._download.retry import stopped_by

T = TypeVar("T")

_MAX_THREADS = 64
_MAX_OFFLOADED = 4  # each holds a decoded frame


class WorkerPool(Generic[T]):
    """Runs the jobs of one call in the calling thread and in pool threads, first in, first out.

    A job may offload parts of itself to an idle pool thread, so that one long job keeps two threads busy. All
    calls share the pool threads. If all of them are busy, the calling thread runs every job itself, so that a
    call never blocks waiting for a thread.

    Args:
        workers: Threads at once, the caller's among them.
        when_ended: Called before the call waits for its pool threads: wakes those that wait for bytes.
    """

    def __init__(self, workers: int, when_ended: Callable[[], None]) -> None:
        self._workers = workers
        self._when_ended = when_ended
        self._jobs: deque[Callable[[], Iterable[T]]] = deque()
        self._offloaded: deque[Callable[[], Iterable[T]]] = deque()
        self._results: deque[T] = deque()
        self._running = self._idle = 0
        self._has_ended = False
        self._error: BaseException | None = None
        self._futures: list[Future[None]] = []
        self._stop = threading.Event()
        self._changed = threading.Condition()

    def forget(self) -> None:
        """End the call in a forked child, which has neither the pool threads nor their results."""
        self._changed = threading.Condition()
        self._stop = threading.Event()
        if self._futures:
            self._futures = []
            self._has_ended = True
            self._error = MediaRefError(
                "this call was begun before the process forked, and its threads are not here; call again"
            )

    def results(self, jobs: Iterable[Callable[[], Iterable[T]]]) -> Iterator[T]:
        """Run jobs and yield their results in the order of completion.

        Closing the iterator ends the work: a pool thread stops at its next result, and is waited for.
        """
        self._jobs.extend(jobs)
        return self._alone() if self._workers == 1 else self._together()

    def _together(self) -> Iterator[T]:
        """Run the jobs in the calling thread and in pool threads."""
        register_while_alive(self)
        with stopped_by(self._stop):
            self._futures = threads.submit(self._work_for_the_pool, self._workers - 1)
        try:
            yield from self._work()
        finally:
            self._end()
            self._when_ended()
            for future in self._futures:
                future.cancel()
            wait(self._futures)
            self._clear()
        if self._error is not None:
            raise self._error

    def offload(self, job: Callable[[], Iterable[T]]) -> bool:
        """Queue a part of a job for an idle thread; return False if none is idle or the queue is full."""
        if not self._idle or len(self._offloaded) >= _MAX_OFFLOADED:
            return False
        with self._changed:
            self._offloaded.append(job)
            self._changed.notify()
        return True

    def _alone(self) -> Iterator[T]:
        try:
            while self._jobs:
                yield from self._jobs.popleft()()
        finally:
            self._clear()

    def _clear(self) -> None:
        """Clear all queues: jobs refer to the pool, and such cycles keep memory until a collection."""
        self._jobs.clear()
        self._offloaded.clear()
        self._results.clear()

    def _work(self) -> Iterator[T]:
        """Loop of the calling thread: run jobs, and yield their results and those of pool threads."""
        while True:
            job = self._next_job(or_results=True)
            while self._results:
                yield self._results.popleft()
            if job is not None:
                yield from self._done(job)
            elif self._has_ended or not (self._running or self._results):
                return

    def _work_for_the_pool(self) -> None:
        """Loop of a pool thread: run jobs, and queue their results for the calling thread."""
        try:
            while (job := self._next_job()) is not None:
                for result in self._done(job):
                    self._results.append(result)
                    if self._has_ended:
                        break
        except BaseException as error:  # raised again by the caller's thread
            self._error = self._error or error
            self._end()

    def _next_job(self, *, or_results: bool = False) -> Callable[[], Iterable[T]] | None:
        """Wait for a job and return it; None at the end, or, with ``or_results``, if results are queued."""
        with self._changed:
            while not self._has_ended:
                for queue in (self._offloaded, self._jobs):
                    if queue:
                        self._running += 1
                        return queue.popleft()
                if not self._running or (or_results and self._results):
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return None

    def _done(self, job: Callable[[], Iterable[T]]) -> Iterator[T]:
        try:
            yield from job()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _end(self) -> None:
        self._stop.set()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()


class _Threads(ProcessState):
    """The pool threads that all calls share: made on first use, and forgotten in a forked child."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = ShortLock()
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, function: Callable[[], None], times: int) -> list[Future[None]]:
        """Submit a function several times; fewer times, or not at all, while the interpreter is ending."""
        futures: list[Future[None]] = []
        if is_amid_change():
            return futures
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="mediaref-decode")
            # On these errors the calling thread runs all jobs.
            with contextlib.suppress(RuntimeError, MemoryError):
                for _ in range(times):
                    futures.append(self._pool.submit(in_this_context(function)))
        return futures

    def close(self) -> None:
        """Let idle threads end at once, and busy ones after their job."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)


threads = register(_Threads())
"""The pool threads of this process."""
