"""``RangeCache``: byte ranges from disk, the missing ones fetched by the caller's function and kept.

Written by hand on purpose: an evicting cache that several processes share, that checks what it reads back,
and never fails a read because of the disk is not to be had in a maintained library; see
``mediaref_ursa._cache``.
"""

from __future__ import annotations

import errno
import os
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from mediaref_ursa._cache.cached_ranges import Listings
from mediaref_ursa._cache.disk_usage import DiskUsage, DiskUsageBusyError, EvictionResult, Reservation
from mediaref_ursa._cache.entry import DamagedEntryError, ObjectKey, Span, read_entry, write_entry
from mediaref_ursa._cache.folder import CacheFolder
from mediaref_ursa._cache.single_flight import Fetch, SingleFlight
from mediaref_ursa._core.errors import StoreError
from mediaref_ursa._core.process_state import register_while_alive
from mediaref_ursa._core.reentrancy import ShortLock

_TOUCH_SECONDS = 60.0
_RETRY_SECONDS = 60.0


class _Warned:
    """Whether this process has logged its warning that the cache cannot be used."""

    is_logged = False


@dataclass(frozen=True)
class CacheInfo:
    """The contents and limits of a cache.

    Attributes:
        directory: Where it is.
        quota_bytes: How large it may grow.
        stored_bytes: What it takes on disk, whole disk blocks.
        objects: How many objects it holds ranges of.
        ranges: How many ranges.
        evicted_ranges: How many were ever evicted.
    """

    directory: str
    quota_bytes: int
    stored_bytes: int
    objects: int
    ranges: int
    evicted_ranges: int


class RangeCache:
    """Fetched byte ranges on disk, least recently used evicted first.

    Threads and processes may share the directory. A pickled cache is the directory and the quota; a forked
    child begins with nothing but these. Whatever is wrong with the disk, reading goes on without it.

    Args:
        directory: Where the ranges are kept; made when first used, for this user alone.
        quota_bytes: What they may take on disk; 0 for no cache.
        allow_shared_dir: Use a directory that others own or may write in: what they write there is served.
    """

    def __init__(
        self, directory: str | os.PathLike[str], quota_bytes: int, allow_shared_dir: bool = False
    ) -> None:
        if quota_bytes < 0:
            raise ValueError(f"expected a quota of 0 bytes or more, found {quota_bytes}")
        self.directory = Path(directory).expanduser().absolute()
        self.quota_bytes = quota_bytes
        self.allow_shared_dir = allow_shared_dir
        self._folder = CacheFolder(self.directory, allow_shared_dir)
        self._disk_usage = DiskUsage(self._folder, quota_bytes)
        self._listings = Listings()
        self._single_flight = SingleFlight()
        self.forget()
        register_while_alive(self)

    def __repr__(self) -> str:
        return f"RangeCache({str(self.directory)!r}, quota_bytes={self.quota_bytes})"

    def __reduce__(self) -> tuple[type[RangeCache], tuple[Path, int, bool]]:
        return RangeCache, (self.directory, self.quota_bytes, self.allow_shared_dir)

    def forget(self) -> None:
        """Reset the state of a forked child: new locks, nothing known of the directory."""
        self._starting = ShortLock()
        self._is_started = False
        self._closed_until = self._read_only_until = 0.0
        for part in (self._disk_usage, self._listings, self._single_flight):
            part.forget()

    def get_ranges(self, key: ObjectKey, ranges: Sequence[tuple[int, int]], fetch: Fetch) -> list[bytes]:
        """Return the bytes of each ``(offset, length)``, in order; only what is not on disk is fetched.

        Args:
            key: Which object.
            ranges: Offsets and lengths in bytes, none negative.
            fetch: Called at most once with what is missing, ascending and without overlaps; twice if another
                thread's fetch of the same bytes fails.

        Raises:
            StoreError: Others may write in the cache's directory.
            Exception: As ``fetch`` raises.
        """
        if not self._is_open():
            return list(fetch(ranges))
        wanted = [Span(offset, offset + length) for offset, length in ranges]
        pieces = [self._from_disk(key, span) for span in wanted]
        gaps = _union(gap for found in pieces for gap, data in found if data is None)
        fetched = (
            self._single_flight.fetch(key, gaps, fetch, lambda *range_: self._keep(key, *range_))
            if gaps
            else {}
        )
        return [_joined(found, gaps, fetched) for found in pieces]

    def clear_ranges(self, key: ObjectKey, ranges: Sequence[tuple[int, int]]) -> None:
        """Remove the cached bytes of some ranges, which their reader found to be damaged."""
        if not self._is_open():
            return
        home = self._folder.of_object(key.digest)
        listing = self._listings.get(home)
        for offset, length in ranges:
            for _, held in listing.cover(Span(offset, offset + length)):
                if held is not None:
                    self._disk_usage.clear_range(home / held.file_name)

    def info(self) -> CacheInfo:
        """Return what the cache holds; nothing is made or changed.

        Raises:
            StoreError: Others may write in the directory.
        """
        self._check_if_there()
        found = self._disk_usage.look()
        return CacheInfo(
            directory=str(self.directory),
            quota_bytes=self.quota_bytes,
            stored_bytes=found.stored_bytes,
            objects=len({one.path.parent for one in found.ranges}),
            ranges=len(found.ranges),
            evicted_ranges=self._disk_usage.evicted_ranges(),
        )

    def clear(self) -> EvictionResult:
        """Remove all ranges; those that are being written stay.

        Raises:
            StoreError: Others may write in the directory, or it cannot be written, or is in use for too long.
        """
        return self._evict_to(keep_bytes=0)

    def prune(self) -> EvictionResult:
        """Remove orphans of dead processes, and the least recently used ranges above the quota.

        Raises:
            StoreError: As ``clear`` raises.
        """
        return self._evict_to(keep_bytes=self.quota_bytes)

    def _evict_to(self, *, keep_bytes: int) -> EvictionResult:
        if not self._check_if_there():
            return EvictionResult(0, 0, 0)
        try:
            return self._disk_usage.evict(keep_bytes=keep_bytes)
        except DiskUsageBusyError:
            raise StoreError(
                f"the cache is in use by another process for too long: {self.directory}"
            ) from None
        except OSError as error:
            raise StoreError(f"the cache cannot be changed: {_reason(error)}: {self.directory}") from error

    def _check_if_there(self) -> bool:
        try:
            self._folder.check()
        except StoreError:
            raise
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(f"the cache cannot be read: {_reason(error)}: {self.directory}") from error
        return True

    def _is_open(self) -> bool:
        """Return whether ranges can be read from disk; open the directory if that was not done yet."""
        if self._is_started:
            return True
        if not self.quota_bytes or time.monotonic() < self._closed_until:
            return False
        with self._starting:
            return self._is_started or self._start()

    def _start(self) -> bool:
        try:
            self._folder.make()
        except StoreError:
            raise
        except OSError as error:
            self._closed_until = time.monotonic() + _RETRY_SECONDS
            self._warn(_reason(error))
            return False
        self._is_started = True
        try:
            self._disk_usage.start()
        except (OSError, DiskUsageBusyError) as error:
            self._stop_writing(error)
        return True

    def _from_disk(self, key: ObjectKey, wanted: Span) -> list[tuple[Span, bytes | None]]:
        """Return the pieces of a range in order, each with its bytes or None where they are missing."""
        home = self._folder.of_object(key.digest)
        listing = self._listings.get(home)
        found: list[tuple[Span, bytes | None]] = []
        position = wanted.start
        while position < wanted.stop:
            piece, held = next(listing.cover(Span(position, wanted.stop)))
            data = self._read(key, home / held.file_name, held, piece) if held else None
            if held is not None and data is None:
                listing = listing.without(held)
                continue
            found.append((piece, data))
            position = piece.stop
        return found

    def _read(self, key: ObjectKey, path: Path, held: Span, piece: Span) -> bytes | None:
        try:
            data, used_seconds = read_entry(path, key.digest, held, piece)
        except DamagedEntryError:
            logger.info("a cached range was damaged and is fetched again: {}", path)
            self._disk_usage.clear_range(path)
            return None
        except OSError as error:
            if error.errno == errno.EIO:
                self._disk_usage.clear_range(path)
            return None
        if abs(time.time() - used_seconds) > _TOUCH_SECONDS:
            _touch(path)
        return data

    def _keep(self, key: ObjectKey, span: Span, data: bytes) -> None:
        """Write a range to disk; a failure is logged and not raised."""
        if time.monotonic() < self._read_only_until:
            return
        try:
            self._write(key, span, data)
        except FileNotFoundError:  # another process removed the directory
            self._is_started = False
        except (OSError, DiskUsageBusyError) as error:
            self._stop_writing(error)

    def _write(self, key: ObjectKey, span: Span, data: bytes) -> None:
        reservation = self._disk_usage.reserve(key, span)
        if reservation is None:
            return
        try:
            write_entry(reservation.descriptor, key.digest, span.start, data)
            self._disk_usage.commit(reservation)
        except BaseException:
            self._cancel(reservation)
            raise

    def _cancel(self, reservation: Reservation) -> None:
        try:
            self._disk_usage.cancel(reservation)
        except OSError as error:
            logger.debug("a file that was begun is left to the next start: {}", _reason(error))

    def _stop_writing(self, error: OSError | DiskUsageBusyError) -> None:
        self._read_only_until = time.monotonic() + _RETRY_SECONDS
        if isinstance(error, OSError):
            self._warn(_reason(error))
        else:
            logger.info("nothing is added to the cache for a while: its account is held by another process")

    def _warn(self, reason: str) -> None:
        if not _Warned.is_logged:
            _Warned.is_logged = True
            logger.warning(
                "the range cache cannot be written ({}), reading goes on without it; free some space, "
                "or name another directory in MEDIAREF_URSA_CACHE: {}",
                reason,
                self.directory,
            )


def forget_warning() -> None:
    """Let the next failure of the cache directory be logged again."""
    _Warned.is_logged = False


def _union(spans: Iterable[Span]) -> list[Span]:
    """Return ranges ascending and without overlaps; adjacent ranges are not merged."""
    merged: list[Span] = []
    for span in sorted(set(spans)):
        if merged and span.start < merged[-1].stop:
            merged[-1] = Span(merged[-1].start, max(merged[-1].stop, span.stop))
        else:
            merged.append(span)
    return merged


def _joined(
    found: Sequence[tuple[Span, bytes | None]], gaps: Sequence[Span], fetched: Mapping[Span, bytes]
) -> bytes:
    """Join the pieces of one range, those missing on disk cut out of the fetched bytes."""
    parts = [_cut(span, gaps, fetched) if data is None else data for span, data in found]
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _cut(span: Span, gaps: Sequence[Span], fetched: Mapping[Span, bytes]) -> bytes:
    gap = gaps[bisect_right(gaps, span.start, key=lambda one: one.start) - 1]
    data = fetched[gap]
    return data if gap == span else data[span.start - gap.start : span.stop - gap.start]


def _touch(path: Path) -> None:
    with suppress(OSError):
        os.utime(path)


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
