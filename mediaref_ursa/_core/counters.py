"""Counters of the cost of decoding: requests, bytes, packets, frames.

Whatever does such work calls :func:`count`. It counts for the process, and for every ``counting()``
block that the work was begun in, also where it is done by another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from mediaref_ursa._core.process_state import register
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.reentrancy import ProcessLock

P = ParamSpec("P")
T = TypeVar("T")


_lock = register(ProcessLock())


@set_module("mediaref_ursa")
@dataclass
class Counters:
    """Counts of requests, bytes, packets and frames.

    Attributes:
        requests: Requests sent to stores that are not on this machine, repeated ones too.
        bytes_fetched: Bytes that came from them.
        bytes_from_cache: Bytes that the range cache gave instead.
        packets_decoded: Packets fed to decoders.
        frames: Frames that were given out.
    """

    requests: int = 0
    bytes_fetched: int = 0
    bytes_from_cache: int = 0
    packets_decoded: int = 0
    frames: int = 0

    def add(self, **amounts: int) -> None:
        """Add to some of the counts."""
        with _lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def copy(self) -> Counters:
        """Return the counts as they are now."""
        with _lock:
            return Counters(
                self.requests,
                self.bytes_fetched,
                self.bytes_from_cache,
                self.packets_decoded,
                self.frames,
            )


_total = Counters()
_counting: ContextVar[tuple[Counters, ...]] = ContextVar("mediaref_ursa_counting", default=())


@set_module("mediaref_ursa")
def counters() -> Counters:
    """Return the counts of this process so far.

    >>> before = counters()
    >>> count(frames=3)
    >>> counters().frames - before.frames
    3
    """
    return _total.copy()


@set_module("mediaref_ursa")
@contextmanager
def counting() -> Iterator[Counters]:
    """Yield counters of the block, which grow while it runs.

    >>> with counting() as counted:
    ...     count(requests=2, bytes_fetched=10)
    >>> counted
    Counters(requests=2, bytes_fetched=10, bytes_from_cache=0, packets_decoded=0, frames=0)
    """
    counted = Counters()
    token = _counting.set((*_counting.get(), counted))
    try:
        yield counted
    finally:
        _counting.reset(token)


def count(**amounts: int) -> None:
    """Add to the counters of the process and of each ``counting`` block around the caller."""
    for counted in (_total, *_counting.get()):
        counted.add(**amounts)


def in_this_context(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function bound to a copy of this thread's context, for one call in another thread.

    What the other thread counts then belongs to the ``counting`` blocks of this one.
    """
    context = copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.run(function, *args, **kwargs)

    return run
