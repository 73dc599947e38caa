"""Carrying out a plan: fetch, decode and hand over, run by run."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mediaref_ursa._counting import count, in_this_context
from mediaref_ursa._decode_plan import DecodePlan
from mediaref_ursa._errors import CorruptMediaError, MediaRefError
from mediaref_ursa._extras import needs_extra
from mediaref_ursa._feed import PacketFeed
from mediaref_ursa._fetch import Fetcher, packets_of
from mediaref_ursa._frame_table import SegmentInfo, SegmentTable
from mediaref_ursa._pixels import PixelSpec
from mediaref_ursa._plan import Run
from mediaref_ursa._sources import VideoSource
from mediaref_ursa._time import Int64Array
from mediaref_ursa._uri_text import redact

with needs_extra("video"):
    from mediaref_ursa._pyav._engine import PyAVEngine

ENGINES = ("pyav", "torchcodec")
"""What ``make_engine`` knows."""


class Engine(Protocol):
    """What turns a run's packets into pixels. Threads may share one."""

    def may_need_earlier_start(self, info: SegmentInfo) -> bool:
        """Whether frames that did not come out may come out from an earlier random access point.

        Some decoders hold back frames that follow one.
        """
        ...

    def decode(self, table: SegmentTable, run: Run, feed: PacketFeed) -> Iterator[tuple[int, Any]]:
        """Yield the packet and the pixels, uint8, of each frame wanted.

        Raises:
            MediaRefError: What ended the run early; the frames before it were yielded.
        """
        ...


def make_engine(
    name: str, spec: PixelSpec, options: Mapping[str, Any] | None = None, *, tensors: bool = False
) -> Engine:
    """Return the engine of that name.

    Args:
        name: One of ``ENGINES``.
        spec: How pixels are handed out.
        options: The engine's own options; PyAV's has none.
        tensors: Hand out torch tensors on the device of the options; TorchCodec's engine only.

    Raises:
        ValueError: Another name.
        TypeError: An option that the engine does not know.
        MissingExtraError: The engine's library is not installed.
    """
    if name not in ENGINES:
        raise ValueError(f"Unknown decoder backend {name!r}: expected one of {', '.join(ENGINES)}")
    if name == "torchcodec":
        from mediaref_ursa._torchcodec import TorchCodecEngine

        return TorchCodecEngine(spec, options, tensors=tensors)
    if options:
        raise TypeError(f"expected no decoder_options for decoder='pyav', found {', '.join(sorted(options))}")
    return PyAVEngine(spec)


@dataclass(frozen=True)
class DecodedFrame:
    """What became of one frame of a plan.

    Attributes:
        slots: int64, the output places that want it.
        pixels: uint8, as the ``PixelSpec`` says, an array or a tensor; None where there is an error.
        error: Why there are no pixels.
    """

    slots: Int64Array
    pixels: Any | None = None
    error: MediaRefError | None = None


def default_workers() -> int:
    """Return how many runs are decoded at once where the caller does not say.

    As many as there are cores that this process may use; one in a data loader's worker, of which there
    are several already.
    """
    data = sys.modules.get("torch.utils.data")
    if data is not None and data.get_worker_info() is not None:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def checked_workers(max_workers: int | None) -> int:
    """Return ``max_workers``, or the default for None.

    Raises:
        ValueError: Fewer than one.
    """
    if max_workers is None:
        return default_workers()
    if max_workers < 1:
        raise ValueError(f"expected max_workers of 1 or more, found {max_workers}")
    return int(max_workers)


def execute(
    plan: DecodePlan, sources: Sequence[VideoSource], engine: Engine, *, max_workers: int = 1
) -> Iterator[DecodedFrame]:
    """Decode the runs of a plan and yield each frame once, as it comes.

    Args:
        plan: What to decode.
        sources: The video of each of the plan's segments.
        engine: What decodes.
        max_workers: How many runs are decoded at once. With one, in the caller's thread, and nothing is
            decoded ahead of what was yielded. Threads live no longer than the call, so that no fork
            inherits one.

    Yields:
        Within a run, frames in the order of the engine's output, then those that failed.
    """
    order = list(range(len(plan.runs)))
    workers = min(max_workers, len(order))
    if workers > 1 and plan.bytes_read <= plan.fetch.max_bytes_in_flight:
        # The longest run goes first: the others then fill the time that it takes. Of many bytes, runs that
        # share reads stay together instead, so that reads can be let go.
        order.sort(key=lambda number: len(plan.runs[number].packets), reverse=True)
    with Fetcher(plan, sources, order) as fetcher:
        tasks = [_Task(plan, sources, number, engine, fetcher) for number in order]
        if workers > 1:
            yield from _on_threads(tasks, workers, fetcher)
        else:
            for task in tasks:
                yield from task.frames()


def in_slot_order(decoded: Iterator[DecodedFrame]) -> Iterator[Any]:
    """Yield pixels in the order of their slots, which are ``0..n-1``, holding those that came too early.

    Raises:
        MediaRefError: The first frame without pixels.
    """
    waiting: dict[int, Any] = {}
    following = 0
    for frame in decoded:
        if frame.error is not None:
            raise frame.error
        waiting[int(frame.slots[0])] = frame.pixels
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def _on_threads(tasks: Sequence[_Task], workers: int, fetcher: Fetcher) -> Iterator[DecodedFrame]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mediaref-decode")
    waiting = iter(tasks)
    running: set[Future[list[DecodedFrame]]] = set()
    try:
        while True:
            while len(running) <= workers and (task := next(waiting, None)) is not None:
                running.add(pool.submit(in_this_context(task.all_frames)))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()
    finally:
        fetcher.close()  # first: decoders that wait for bytes are told to wait no more
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Task:
    """A run and all that it takes to decode it."""

    plan: DecodePlan
    sources: Sequence[VideoSource]
    number: int
    engine: Engine
    fetcher: Fetcher

    @property
    def table(self) -> SegmentTable:
        """The segment that the run is of."""
        return self.plan.segments[self.plan.runs[self.number].segment]

    @property
    def source(self) -> VideoSource:
        """The video that it is of."""
        return self.sources[self.plan.runs[self.number].segment]

    def frames(self) -> Iterator[DecodedFrame]:
        """Decode; past a packet that is bad, go on from where frames that it does not concern begin."""
        run: Run | None = self.plan.runs[self.number]
        packets = self.fetcher.packets_of_run(self.number)
        while run is not None:
            try:
                run = yield from self._frames_until_bad(run, PacketFeed(packets))
            finally:
                self.fetcher.give_up(self.number)
            if run is not None:  # what was fetched ahead was for the run as it was planned
                packets = packets_of(self.source, self.table, run.packets, self.plan.fetch)

    def all_frames(self) -> list[DecodedFrame]:
        """Decode the run to its end."""
        return list(self.frames())

    def _frames_until_bad(self, run: Run, feed: PacketFeed) -> Generator[DecodedFrame, None, Run | None]:
        """Decode a run up to its end or a bad packet; return what is left to decode, if anything is."""
        table = self.table
        missing = {packet: target for target, packet in enumerate(run.targets.tolist())}
        error: MediaRefError | None = None
        try:
            for packet, pixels in self.engine.decode(table, run, feed):
                count(frames=1)
                yield DecodedFrame(run.slots_of(missing.pop(packet)), pixels)
        except MediaRefError as raised:
            error = raised
        finally:
            count(packets_decoded=feed.count)
            feed.close()
        if missing and not (error or feed.error) and self.engine.may_need_earlier_start(table.info):
            start = run.earlier_start(table)
            if start is not None:
                return run.only(list(missing.values()), table, start=start)
        bad = _bad_packet(run, feed, error)
        spared = [target for target in missing.values() if table.start[run.frames[target]] > bad]
        for target in missing.values():
            if target not in spared:
                failure = _failure(feed.error or error, self.source, table, run, target)
                yield DecodedFrame(run.slots_of(target), error=failure)
        return run.only(spared, table) if spared else None


def _bad_packet(run: Run, feed: PacketFeed, error: MediaRefError | None) -> int:
    """Return the packet that ended a run, its last one where going on would not help."""
    if isinstance(feed.error, CorruptMediaError):
        return int(run.packets[np.searchsorted(run.packets, feed.last, side="right")])
    if isinstance(error, CorruptMediaError) and feed.count:  # else the decoder could not be made at all
        return feed.last
    return int(run.packets[-1])


def _failure(
    error: MediaRefError | None, source: VideoSource, table: SegmentTable, run: Run, target: int
) -> MediaRefError:
    """Return the error of one frame: why its run ended before it, or that no frame came out."""
    pts_ns = int(table.pts_ns[run.frames[target]])
    if error is None:
        error = CorruptMediaError(
            f"the decoder gave no frame for packet {run.targets[target]}; decoding began at packet "
            f"{run.packets[0]}"
        )
    message = error.message
    if table.info.uri != source.uri:
        message = f"segment {redact(table.info.uri)}: {message}"
    failure = type(error)(message, uri=source.uri, pts_ns=pts_ns)
    failure.__cause__ = error.__cause__
    return failure
