"""Packets of runs: read on demand from local stores, fetched ahead of the decoders from remote ones."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait

import numpy as np

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.byte_ranges import MergedRanges, merge_ranges
from mediaref_ursa._core.counters import in_this_context
from mediaref_ursa._core.daemon_threads import DaemonThreads
from mediaref_ursa._core.errors import CorruptMediaError, StoreError
from mediaref_ursa._core.etags import is_strong
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.process_state import register_while_alive
from mediaref_ursa._core.wording import WRITE_ANEW
from mediaref_ursa._model.segment import UNKNOWN, EncodedPacket, SegmentTable
from mediaref_ursa._plan.decode_plan import DecodePlan
from mediaref_ursa._plan.reads import FetchOptions, ReadPlan, RunReads
from mediaref_ursa._scan.scan_uri import reader_of
from mediaref_ursa._video.source import VideoSource, is_etag_pinned
from mediaref_ursa.store import ObjectInfo, ObjectStore
from mediaref_ursa.store._cached import CachedStore
from mediaref_ursa.store._download.retry import stopped_by
from mediaref_ursa.store._lance import LanceBlobStore
from mediaref_ursa.store._protocol import is_local_store

with needs_extra("video"):
    from mediaref_ursa._pyav.demuxed_packets import demuxed_packets

_LOOK_SECONDS = 0.2
_LOCAL_GAP_BYTES = 4096
"""Largest gap between two packets of a local file that is read rather than skipped: a read costs as much."""
_TOGETHER_BYTES = 1 << 20


def is_read_ahead(store: ObjectStore) -> bool:
    """Whether a store is read ahead of the decoders, by other threads than the caller's.

    Blobs of a table are, on this machine as well: reads that wait for one another are one call of Lance. A
    caller's file object is not: its position is the caller's again when the call returns.
    """
    return isinstance(store, CachedStore | LanceBlobStore)


class Fetcher:
    """Fetches the packets of a plan's runs.

    Remote bytes are requested before the decoders need them, in the order of the runs: several requests at
    once, and no more bytes than the plan's options allow. A run's packets come as soon as
    their own bytes are there. Threads may share one.

    Args:
        plan: What is read.
        sources: The video of each of the plan's segments.
        order: The runs, in the order in which they will be asked for.
    """

    def __init__(self, plan: DecodePlan, sources: Sequence[VideoSource], order: Sequence[int]) -> None:
        self._plan = plan
        self._sources = sources
        remote = [run for run in order if is_read_ahead(sources[plan.runs[run].segment].store)]
        remote = [run for run in remote if plan.segments[plan.runs[run].segment].info.addressable]
        self._ahead = _ReadAhead(plan, sources, remote) if remote else None
        self._remote = frozenset(remote)
        self._together = _read_together(plan, sources, order)

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop sending requests, and do not wait for those in flight."""
        if self._ahead is not None:
            self._ahead.close()

    def release_run(self, run: int) -> None:
        """Release the bytes that were fetched for a run and not used."""
        if self._ahead is not None and run in self._remote:
            self._ahead.release_run(run)

    def packets_of_run(self, run: int) -> Iterator[EncodedPacket]:
        """Yield the packets of one of the plan's runs, each run once.

        Raises:
            CorruptMediaError: The bytes are not those that were indexed, or the file holds part of them.
            StoreError: They cannot be read.
        """
        if self._ahead is not None and run in self._remote:
            return self._remote_packets(run)
        if run in self._together:
            return self._together[run].packets_of_run(run)
        planned = self._plan.runs[run]
        source, table = self._sources[planned.segment], self._plan.segments[planned.segment]
        return packets_of(source, table, planned.packets, self._plan.fetch)

    def _remote_packets(self, run: int) -> Iterator[EncodedPacket]:
        assert self._ahead is not None
        planned = self._plan.runs[run]
        table = self._plan.segments[planned.segment]
        whole, damaged = _whole_packets(table, planned.packets)
        yield from self._ahead.packets(run, table, planned.packets[:whole])
        _raise_if_damaged(table, damaged)


class _ReadTogether:
    """Short runs of one local segment, whose packets are read at once when the first of them is needed.

    Opening a file and merging ranges cost more than to decode a small frame. Threads may share one.
    """

    def __init__(self, plan: DecodePlan, source: VideoSource, runs: Sequence[int]) -> None:
        self._plan = plan
        self._source = source
        self._runs = runs
        self._packets: dict[int, Iterator[EncodedPacket]] | None = None
        self._lock = threading.Lock()

    def packets_of_run(self, run: int) -> Iterator[EncodedPacket]:
        """Return the packets of a run, each run once; see :class:`Fetcher`."""
        planned = self._plan.runs[run]
        table = self._plan.segments[planned.segment]
        with self._lock:
            if self._packets is None:
                try:
                    self._packets = self._read(table)
                except StoreError:  # each run has its own error
                    self._packets = {}
        packets = self._packets.pop(run, None)
        return packets or packets_of(self._source, table, planned.packets, self._plan.fetch)

    def _read(self, table: SegmentTable) -> dict[int, Iterator[EncodedPacket]]:
        parts = [self._plan.runs[run].packets for run in self._runs]
        options = self._plan.fetch
        merged = _merged(table, np.concatenate(parts), options, _gap_bytes(self._source.store, options))
        blobs = [memoryview(blob) for blob in ranges_of(self._source.store, table, merged.ranges)]
        ends = np.cumsum([len(rows) for rows in parts]).tolist()
        return {
            run: _checked_packets(
                self._source.store,
                table,
                rows,
                merged.read_of[end - len(rows) : end],
                merged.start_in_read[end - len(rows) : end],
                blobs,
            )
            for run, rows, end in zip(self._runs, parts, ends, strict=True)
        }


def _read_together(
    plan: DecodePlan, sources: Sequence[VideoSource], order: Sequence[int]
) -> dict[int, _ReadTogether]:
    """Return groups of short runs of local segments, by run: each group is read at once."""
    together: dict[int, _ReadTogether] = {}
    group: list[int] = []
    group_bytes = 0

    def close() -> None:
        if len(group) > 1:
            source = sources[plan.runs[group[0]].segment]
            together.update(dict.fromkeys(group, _ReadTogether(plan, source, tuple(group))))
        group.clear()

    for run in order:
        segment = plan.runs[run].segment
        nbytes = plan.run_bytes(plan.runs[run])
        if group and (plan.runs[group[-1]].segment != segment or group_bytes + nbytes > _TOGETHER_BYTES):
            close()
        group_bytes = group_bytes + nbytes if group else nbytes
        table = plan.segments[segment]
        if (
            nbytes <= _TOGETHER_BYTES
            and table.info.addressable
            and not is_read_ahead(sources[segment].store)
            and not table.packets.is_corrupt[plan.runs[run].packets].any()
        ):
            group.append(run)
        else:
            close()
    close()
    return together


class _ReadAhead:
    """The reads of remote runs, in the order in which they are needed.

    A read is released when all runs that it serves have passed it. Reads are sent while they fit into the
    bytes that may be in flight. A read that a decoder blocks on bypasses this byte budget; otherwise
    both would wait forever. A forked child has none of the threads, and sends their unfinished reads anew.
    """

    def __init__(self, plan: DecodePlan, sources: Sequence[VideoSource], runs: Sequence[int]) -> None:
        self._reads: ReadPlan = plan.read_plan
        self._runs, self._tables, self._sources = plan.runs, plan.segments, sources
        self._limit_bytes = plan.fetch.max_bytes_in_flight
        self._unused = {run: set(self._of_run(run).read_of.tolist()) for run in runs}
        self._users: dict[int, int] = {}
        for run in runs:
            for read in dict.fromkeys(self._of_run(run).read_of.tolist()):
                self._users[read] = self._users.get(read, 0) + 1
        self._is_closed = threading.Event()
        self._waiting = iter(list(self._users))  # a dict keeps the order of first use
        self._next = next(self._waiting, None)
        self._workers = min(plan.fetch.max_requests, len(self._users))
        self.forget()
        register_while_alive(self)
        with self._lock:
            self._send_what_fits()

    def forget(self) -> None:
        """Reset to new threads and a new lock in a forked child, which has none of the old threads."""
        if self._is_closed.is_set():
            return
        self._is_closed = threading.Event()
        self._lock = threading.RLock()
        self._sent: dict[int, Future[bytes]] = {}
        self._bytes_in_flight = 0
        self._threads = DaemonThreads(self._workers, "mediaref-fetch")

    def close(self) -> None:
        """Stop sending reads, and do not wait for those in flight, which end by themselves."""
        self._is_closed.set()
        self._threads.close()

    def packets(self, run: int, table: SegmentTable, rows: Int64Array) -> Iterator[EncodedPacket]:
        """Yield a run's packets, waiting for each read as it is needed."""
        reads = self._of_run(run)
        store = self._sources[self._runs[run].segment].store
        blobs = _Awaited(self._wait_for)

        def release(read: int) -> None:
            del blobs[read]
            self._unused[run].remove(read)
            self._release(read)

        read_of, start_in_read = reads.read_of[: len(rows)], reads.start_in_read[: len(rows)]
        try:
            yield from _checked_packets(store, table, rows, read_of, start_in_read, blobs, release)
        finally:
            blobs.clear()
            self.release_run(run)

    def release_run(self, run: int) -> None:
        """Release the reads that a run has not used yet."""
        while self._unused[run]:
            self._release(self._unused[run].pop())

    def _of_run(self, run: int) -> RunReads:
        reads = self._reads.of_run[run]
        assert reads is not None  # runs whose packets cannot be addressed are not read ahead
        return reads

    def _wait_for(self, read: int) -> bytes:
        with self._lock:
            while read not in self._sent and self._next is not None and not self._is_closed.is_set():
                self._send_next()
            if read not in self._sent and not self._is_closed.is_set():
                self._send(read)  # sent before a fork
            future = self._sent.get(read)
        while future is not None and not self._is_closed.is_set():
            if wait([future], timeout=_LOOK_SECONDS).done:
                return future.result()
        raise StoreError("the read was cancelled", uri=self._tables[self._reads.reads[read].segment].info.uri)

    def _release(self, read: int) -> None:
        with self._lock:
            self._users[read] -= 1
            if not self._users[read] and read in self._sent:
                del self._sent[read]
                self._bytes_in_flight -= self._reads.reads[read].length
            self._send_what_fits()

    def _send_what_fits(self) -> None:
        while self._next is not None and not self._is_closed.is_set():
            more = self._reads.reads[self._next].length
            if self._users[self._next] and self._sent and self._bytes_in_flight + more > self._limit_bytes:
                return
            self._send_next()

    def _send_next(self) -> None:
        assert self._next is not None
        read, self._next = self._next, next(self._waiting, None)
        if not self._users[read]:  # every run that needs it was released
            return
        self._send(read)

    def _send(self, read: int) -> None:
        self._bytes_in_flight += self._reads.reads[read].length
        self._sent[read] = self._threads.submit(in_this_context(self._fetch), read)

    def _fetch(self, read: int) -> bytes:
        wanted = self._reads.reads[read]
        table, store = self._tables[wanted.segment], self._sources[wanted.segment].store
        with stopped_by(self._is_closed):
            return ranges_of(store, table, [(wanted.offset, wanted.length)])[0]


def packets_of(
    source: VideoSource, table: SegmentTable, rows: Int64Array, options: FetchOptions
) -> Iterator[EncodedPacket]:
    """Yield packets of ascending numbers, each checked against the index.

    Raises:
        CorruptMediaError: The bytes are not those that were indexed, or the file holds part of them.
        StoreError: They cannot be read.
    """
    whole, damaged = _whole_packets(table, rows)
    rows = rows[:whole]
    if table.info.addressable:
        yield from _ranged_packets(source.store, table, rows, options)
    elif len(rows):
        info = source.store.head(table.info.uri)
        yield from demuxed_packets(reader_of(table.info.uri, source.store, info), table, rows)
    _raise_if_damaged(table, damaged)


def _whole_packets(table: SegmentTable, rows: Int64Array) -> tuple[int, int | None]:
    """Return the number of packets before the first that the index calls damaged, and that packet."""
    damaged = np.flatnonzero(table.packets.is_corrupt[rows])
    return (int(damaged[0]), int(rows[damaged[0]])) if len(damaged) else (len(rows), None)


def _raise_if_damaged(table: SegmentTable, packet: int | None) -> None:
    if packet is not None:
        raise CorruptMediaError(
            f"packet {packet} is damaged, as the frame index says: the file is cut short, a checksum in it "
            "fails, or a decoder found its picture damaged; repair the file, or leave the frame out",
            uri=table.info.uri,
        )


def _ranged_packets(
    store: ObjectStore, table: SegmentTable, rows: Int64Array, options: FetchOptions
) -> Iterator[EncodedPacket]:
    """Read packets in decode order, a bounded number of bytes at a time."""
    chunk_of = np.cumsum(table.packets.size[rows]) // options.max_read_bytes
    gap_bytes = _gap_bytes(store, options)
    for chunk in np.split(rows, np.flatnonzero(np.diff(chunk_of)) + 1) if len(rows) else []:
        merged = _merged(table, chunk, options, gap_bytes)
        blobs = [memoryview(blob) for blob in ranges_of(store, table, merged.ranges)]
        yield from _checked_packets(store, table, chunk, merged.read_of, merged.start_in_read, blobs)


def _gap_bytes(store: ObjectStore, options: FetchOptions) -> int:
    return _LOCAL_GAP_BYTES if is_local_store(store) else options.max_gap_bytes


def _merged(table: SegmentTable, rows: Int64Array, options: FetchOptions, gap_bytes: int) -> MergedRanges:
    return merge_ranges(
        table.packets.offset[rows],
        table.packets.size[rows],
        max_gap_bytes=gap_bytes,
        max_read_bytes=2 * options.max_read_bytes,
    )


class _Awaited(dict[int, memoryview]):
    """The bytes of each read; the first access waits for them."""

    def __init__(self, wait_for: Callable[[int], bytes]) -> None:
        super().__init__()
        self._wait_for = wait_for

    def __missing__(self, read: int) -> memoryview:
        self[read] = blob = memoryview(self._wait_for(read))
        return blob


def _checked_packets(
    store: ObjectStore,
    table: SegmentTable,
    rows: Int64Array,
    read_of: Int64Array,
    start_in_read: Int64Array,
    blobs: Sequence[memoryview] | _Awaited,
    release: Callable[[int], None] | None = None,
) -> Iterator[EncodedPacket]:
    """Yield packets from the bytes of reads, checked against their CRC-32, without a copy.

    Args:
        store: Where a packet whose bytes were spoilt on their way is read once more.
        table: The segment.
        rows: int64 ``(n,)``: the packets.
        read_of: int64 ``(n,)``: the read that holds each.
        start_in_read: int64 ``(n,)``: where it begins in that.
        blobs: The bytes of each read.
        release: Called with a read when its last packet is taken.
    """
    last_use = dict(zip(read_of.tolist(), rows.tolist(), strict=True)) if release is not None else {}
    packets = table.packets
    columns = (
        rows,
        packets.size[rows],
        read_of,
        start_in_read,
        packets.is_keyframe[rows],
        packets.crc32[rows],
    )
    for row, size, read, start, key, crc in zip(*(column.tolist() for column in columns), strict=True):
        data = blobs[read][start : start + size]
        if crc not in (UNKNOWN, zlib.crc32(data)):
            data = memoryview(checked_packet(store, table, row, bytes(data)))
        if release is not None and last_use[read] == row:
            release(read)
        yield EncodedPacket(row, data, key)


def ranges_of(store: ObjectStore, table: SegmentTable, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return byte ranges of a segment; pinned to the version that its index describes, if the store can."""
    if is_etag_pinned(store, table.info):
        return store.get_ranges_of(table.info.uri, _indexed_object(table), ranges)
    return store.get_ranges(table.info.uri, ranges)


def checked_packet(store: ObjectStore, table: SegmentTable, row: int, data: bytes) -> bytes:
    """Return a packet's bytes, equal to those that were indexed.

    Bytes may be spoilt in transfer, and kept so by the range cache: they are fetched once more.

    Raises:
        CorruptMediaError: They differ from what was indexed.
    """
    expected = int(table.packets.crc32[row])
    if expected == UNKNOWN or zlib.crc32(data) == expected:
        return data
    if isinstance(store, CachedStore) and is_strong(table.info.etag):
        span = [(int(table.packets.offset[row]), len(data))]
        store.clear_ranges(table.info.uri, _indexed_object(table), span)
        again = ranges_of(store, table, span)[0]
        if zlib.crc32(again) == expected:
            return again
    raise CorruptMediaError(
        f"packet {row} (offset {table.packets.offset[row]}, {len(data)} bytes) is not what was indexed: "
        f"expected CRC-32 {expected:08x}, found {zlib.crc32(data):08x}; the file was changed or damaged. "
        f"If its index is of another file, {WRITE_ANEW}",
        uri=table.info.uri,
    )


def _indexed_object(table: SegmentTable) -> ObjectInfo:
    return ObjectInfo(table.info.length, table.info.etag, None)
