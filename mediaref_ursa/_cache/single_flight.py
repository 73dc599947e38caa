"""Single flight: threads that want the same range share one fetch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from mediaref_ursa._cache.entry import ObjectKey, Span
from mediaref_ursa._core.errors import StoreError
from mediaref_ursa._core.reentrancy import ShortLock

Fetch = Callable[[Sequence[tuple[int, int]]], Sequence[bytes]]
"""Fetches ``(offset, length)`` pairs, each whole."""

Keep = Callable[[Span, bytes], None]
"""Puts a fetched range on disk; never fails."""


class SharedFetch(Future[bytes]):
    """The fetch of one range in progress, and the thread that does it."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()


class SingleFlight:
    """The fetches in progress of this process. Safe for many threads.

    A thread first fetches all that no other thread fetches, then waits for the rest: it never waits while
    another thread may be waiting for it.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget all fetches: a forked child does not have the threads that do them."""
        self._lock = ShortLock()
        self._under_way: dict[tuple[ObjectKey, Span], SharedFetch] = {}

    def fetch(self, key: ObjectKey, spans: Sequence[Span], fetch: Fetch, keep: Keep) -> dict[Span, bytes]:
        """Return the bytes of each range, fetched here or by another thread."""
        with self._claimed(key, spans) as (own, others):
            found = dict(zip(own, fetched(list(own), fetch), strict=True))
            for span, future in own.items():
                future.set_result(found[span])
            for span in own:
                keep(span, found[span])  # still claimed: a thread that asks now does not fetch it again
        failed = []
        for span, future in others.items():
            if future.thread == threading.get_ident():  # a signal handler: see _core/reentrancy
                failed.append(span)
            elif future.exception() is None:
                found[span] = future.result()
            else:  # perhaps it was interrupted, or its store is another one
                failed.append(span)
        found.update(zip(failed, fetched(failed, fetch), strict=True))
        return found

    @contextmanager
    def _claimed(
        self, key: ObjectKey, spans: Sequence[Span]
    ) -> Iterator[tuple[dict[Span, SharedFetch], dict[Span, SharedFetch]]]:
        """Split ranges into those that this thread fetches and those that other threads fetch."""
        own: dict[Span, SharedFetch] = {}
        others: dict[Span, SharedFetch] = {}
        with self._lock:
            for span in spans:
                other = self._under_way.get((key, span))
                if other is None:
                    own[span] = self._under_way[key, span] = SharedFetch()
                else:
                    others[span] = other
        try:
            yield own, others
        except BaseException as error:
            for future in own.values():
                if not future.done():
                    future.set_exception(error)
            raise
        finally:
            with self._lock:
                for span in own:
                    self._under_way.pop((key, span), None)


def fetched(spans: Sequence[Span], fetch: Fetch) -> Sequence[bytes]:
    """Fetch ranges and make sure that each is whole.

    Raises:
        StoreError: One is shorter or longer than asked for.
    """
    if not spans:
        return []
    found = fetch([(span.start, span.length) for span in spans])
    if [len(data) for data in found] != [span.length for span in spans]:
        raise StoreError(
            f"expected {[span.length for span in spans]} bytes, found {[len(data) for data in found]}: "
            "the store does not give the ranges that it was asked for"
        )
    return found
