"""Listings of the ranges of an object on disk, and the cover of a request by them."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path

from mediaref_ursa._cache.entry import Span, span_named
from mediaref_ursa._core.lru import LruDict
from mediaref_ursa._core.reentrancy import ShortLock

_MAX_LISTINGS = 64
_SETTLED_NS = 100_000_000


class Listing:
    """Ranges in ascending order. Immutable, so that threads may share it.

    >>> listing = Listing([Span(0, 10), Span(5, 30), Span(50, 60)])
    >>> list(listing.cover(Span(8, 55)))
    [(Span(start=8, stop=30), Span(start=5, stop=30)), (Span(start=30, stop=50), None), \
(Span(start=50, stop=55), Span(start=50, stop=60))]
    """

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = sorted(set(spans))
        self._starts = [span.start for span in self._spans]
        self._furthest: list[Span] = []  # of all that begin no later, the one that ends last
        for span in self._spans:
            best = self._furthest[-1] if self._furthest else span
            self._furthest.append(span if span.stop > best.stop else best)

    def without(self, span: Span) -> Listing:
        """Return the listing without one range."""
        return Listing(other for other in self._spans if other != span)

    def cover(self, wanted: Span) -> Iterator[tuple[Span, Span | None]]:
        """Yield the pieces of ``wanted`` in order, each with the range that holds it, or None for a gap."""
        position = wanted.start
        while position < wanted.stop:
            following = bisect_right(self._starts, position)
            held = self._furthest[following - 1] if following else None
            if held is not None and held.stop > position:
                stop = min(held.stop, wanted.stop)
            else:
                held = None
                stop = wanted.stop if following == len(self._starts) else self._starts[following]
                stop = min(stop, wanted.stop)
            yield Span(position, stop), held
            position = stop


class Listings:
    """Listings of directories, kept until a directory changes. Safe for many threads."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget all listings, and take a new lock."""
        self._lock = ShortLock()
        self._kept: LruDict[Path, tuple[tuple[int, int], Listing]] = LruDict(_MAX_LISTINGS)

    def get(self, folder: Path) -> Listing:
        """Return the listing of a directory; an empty one if there is no directory."""
        try:
            changed_ns, inode = _identity(folder)
            with self._lock:
                kept = self._kept.use(folder)
                if kept is not None and kept[0] == (changed_ns, inode):
                    return kept[1]
            with os.scandir(folder) as entries:
                listing = Listing(filter(None, (span_named(entry.name) for entry in entries)))
        except OSError:
            return Listing(())
        # Two changes within a tick of the file system's clock look like one.
        if time.time_ns() - changed_ns > _SETTLED_NS:
            self._keep(folder, (changed_ns, inode), listing)
        return listing

    def _keep(self, folder: Path, identity: tuple[int, int], listing: Listing) -> None:
        with self._lock:
            self._kept[folder] = identity, listing


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_mtime_ns, found.st_ino
