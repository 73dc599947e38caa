"""Execution of a plan: fetch, decode and put into an output, run by run."""

from __future__ import annotations

import operator
import os
import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.counters import count
from mediaref_ursa._core.errors import CorruptMediaError, MediaRefError, memory_limits, out_of_memory
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.interpreter_exit import check_exit, stops_at_exit, working
from mediaref_ursa._core.media_warnings import warn_of_cut_bits
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._decode.fetch import Fetcher, is_read_ahead, packets_of
from mediaref_ursa._decode.output import DecodedFrame, NewFrame, new_array
from mediaref_ursa._decode.packet_feed import PacketFeed
from mediaref_ursa._decode.worker_pool import WorkerPool
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._model.segment import SegmentInfo, SegmentTable
from mediaref_ursa._plan.decode_plan import DecodePlan
from mediaref_ursa._plan.runs import Run
from mediaref_ursa._plan.tasks import CachedFrame, DecodeSchedule, DecodeTask, join_tasks
from mediaref_ursa._video.source import VideoSource

with needs_extra("video"):
    from mediaref_ursa._decode.pyav_engine import PyAVEngine
    from mediaref_ursa._scan.decode_check import RunCheck

_DEEP_GRAY = re.compile(r"(?:gray|ya)(f?(?:9|1\d|32))(?:le|be)?$")
"""FFmpeg's names of gray formats with more than 8 bits."""
_PIXELS_A_WORKER = 100_000
"""Pixels to decode or convert for which another thread is worth waking: six frames of 128x128."""


class Engine(Protocol):
    """Protocol of engines, which turn a run's packets into pixels. Threads may share one.

    Attributes:
        joins_runs: Whether runs that follow one another may be given to it as one.
        reads_alpha: Whether it is to be given packets with the alpha that the container stores as side data.
        keeps_bits: Whether samples of more than 8 bits come out as they are.
    """

    joins_runs: bool
    reads_alpha: bool
    keeps_bits: bool

    def begin(
        self, tables: Sequence[SegmentTable], stores: Sequence[object], runs: Sequence[Run]
    ) -> DecodeSchedule:
        """Return the frames that are decoded already, and the tasks that give the others."""
        ...

    def may_need_earlier_start(self, info: SegmentInfo) -> bool:
        """Whether frames that did not come out may come out from an earlier random access point.

        Some decoders hold back frames that follow one.
        """
        ...

    def decode(self, table: SegmentTable, task: DecodeTask, feed: PacketFeed) -> Iterator[tuple[int, Any]]:
        """Yield the packet and the picture of each frame wanted.

        Of a frame that is damaged, its error; of one that a new decoder has to give, None.

        Raises:
            MediaRefError: What ended the run early; the frames before it were yielded.
        """
        ...

    def pixels(self, picture: Any, new: Callable[[tuple[int, ...], np.dtype[Any]], Any]) -> Any:
        """Return a picture's pixels in an array that ``new`` makes. For any thread, once a picture.

        Raises:
            MediaRefError: It cannot be converted.
        """
        ...


def make_engine(
    name: str, spec: PixelSpec, options: Mapping[str, Any] | None = None, *, tensors: bool = False
) -> Engine:
    """Return the engine of that name.

    Args:
        name: ``"pyav"`` or ``"torchcodec"``.
        spec: The pixel format of output frames.
        options: The engine's own options; PyAV's are ``num_ffmpeg_threads``.
        tensors: Output torch tensors on the device of the options; TorchCodec's engine only.

    Raises:
        ValueError: The number of threads.
        TypeError: An option that the engine does not know.
        MissingExtraError: The engine's library is not installed.
    """
    if name == "torchcodec":
        from mediaref_ursa._decode.torchcodec.engine import TorchCodecEngine

        return TorchCodecEngine(spec, options, tensors=tensors, run_check=RunCheck)
    given = dict(options or {})
    threads = given.pop("num_ffmpeg_threads", 1)
    if given:
        raise TypeError(
            "expected only num_ffmpeg_threads in decoder_options for decoder='pyav', "
            f"found {', '.join(sorted(given))}"
        )
    if operator.index(threads) < 1:
        raise ValueError(f"expected num_ffmpeg_threads of 1 or more, found {threads}")
    return PyAVEngine(spec, operator.index(threads))


def default_workers() -> int:
    """Return the default number of runs that are decoded at once.

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


class Output(Protocol):
    """Protocol of outputs, which take the frames of a plan. Threads may share one."""

    def new_frame(self, slot: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Return the array, of a shape and a type, for the pixels of an output position."""
        ...

    def put(self, decoded: DecodedFrame) -> None:
        """Take a decoded frame or its error; called in the thread of the call."""
        ...


def decode_into(
    plan: DecodePlan, sources: Sequence[VideoSource], engine: Engine, output: Output, *, max_workers: int = 1
) -> None:
    """Decode the runs of a plan into an output.

    Args:
        plan: What to decode.
        sources: The video of each of the plan's segments.
        engine: What decodes.
        output: Takes each frame once: of a run in the order of the engine's output, then those that failed.
        max_workers: Threads that decode and convert at once; with one, the caller's.
    """
    with (
        working(),
        closing(
            decoded_frames(plan, sources, engine, max_workers=max_workers, new_frame=output.new_frame)
        ) as frames,
    ):
        for frame in frames:
            check_exit()
            output.put(frame)


def iter_frames(plan: DecodePlan, sources: Sequence[VideoSource], engine: Engine) -> Iterator[Any]:
    """Yield the pixels of a plan's frames in the order of their slots, which are ``0..n-1``.

    One thread decodes, and nothing ahead of what was yielded, but for frames that came out before their turn.

    Raises:
        MediaRefError: The first frame without pixels.
    """
    return in_slot_order(stops_at_exit(decoded_frames(plan, sources, engine)))


def decoded_frames(
    plan: DecodePlan,
    sources: Sequence[VideoSource],
    engine: Engine,
    *,
    max_workers: int = 1,
    new_frame: NewFrame = new_array,
) -> Generator[DecodedFrame, None, None]:
    """Yield each frame of a plan, or its error, once, in the order of decoding: see :func:`decode_into`."""
    if not engine.keeps_bits:
        _warn_of_deep_gray(plan)
    with working():
        schedule = engine.begin(plan.segments, [source.store for source in sources], plan.runs)
    work = sum(plan.segments[task.run.segment].pixels * len(task.run.packets) for task in schedule.tasks)
    work += sum(plan.segments[cached.segment].pixels for cached in schedule.cached)
    workers = max(1, min(max_workers, work // _PIXELS_A_WORKER))
    tasks = schedule.tasks
    if engine.joins_runs:
        packets = sum(len(task.run.packets) for task in tasks)
        tasks = join_tasks(tasks, plan.segments, packets if workers == 1 else packets // (4 * workers))
    left = replace(plan, runs=tuple(task.run for task in tasks))
    order = list(range(len(tasks)))
    if workers > 1 and _fits_in_flight(left, sources):
        # The longest run goes first: the others then fill the time that it takes. Of many bytes, runs that
        # share reads stay together instead, so that reads can be released.
        order.sort(key=lambda number: len(tasks[number].run.packets), reverse=True)
    with Fetcher(left, sources, order) as fetcher:
        pool: WorkerPool[DecodedFrame] = WorkerPool(workers, fetcher.close)
        call = _Call(left, sources, engine, new_frame, fetcher, pool)
        jobs: list[Callable[[], Iterable[DecodedFrame]]] = [
            partial(call.frames, tasks[number], number) for number in order
        ]
        if schedule.cached:
            jobs.insert(0, partial(call.cached, schedule.cached))
        yield from pool.results(jobs)


def _warn_of_deep_gray(plan: DecodePlan) -> None:
    for segment in {run.segment for run in plan.runs}:
        info = plan.segments[segment].info
        match = _DEEP_GRAY.match(info.pixel_format)
        if match is not None:
            warn_of_cut_bits(match[1].removeprefix("f"), info.uri)


def _fits_in_flight(plan: DecodePlan, sources: Sequence[VideoSource]) -> bool:
    if not any(is_read_ahead(source.store) for source in sources):
        return True
    return plan.bytes_read <= plan.fetch.max_bytes_in_flight


def in_slot_order(decoded: Iterator[DecodedFrame]) -> Iterator[Any]:
    """Yield pixels in the order of their slots, which are ``0..n-1``, holding frames that come too early.

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


@dataclass(frozen=True)
class _Call:
    """The execution of one plan: its sources, engine, output, fetcher and worker pool."""

    plan: DecodePlan
    sources: Sequence[VideoSource]
    engine: Engine
    new_frame: NewFrame
    fetcher: Fetcher
    pool: WorkerPool[DecodedFrame]

    def cached(self, frames: Sequence[CachedFrame]) -> Iterator[DecodedFrame]:
        """Yield the frames that earlier calls decoded, converted here or by an idle pool thread."""
        count(frames=len(frames))
        for frame in frames:
            job = partial(self._placed, frame.segment, frame.frame, frame.slots, frame.picture)
            if not self.pool.offload(job):
                yield from job()

    def frames(self, task: DecodeTask, number: int) -> Iterator[DecodedFrame]:
        """Yield the frames of a task; after a bad packet, continue with the frames that do not depend on it.

        Args:
            task: What to decode.
            number: Of its run in the plan.
        """
        packets = self.fetcher.packets_of_run(number)
        left: DecodeTask | None = task
        while left is not None:
            try:
                left = yield from self._frames_until_bad(left, PacketFeed(packets))
            finally:
                self.fetcher.release_run(number)
            if left is not None:  # the bytes fetched ahead were those of the planned run
                segment = left.run.segment
                packets = packets_of(
                    self.sources[segment], self.plan.segments[segment], left.run.packets, self.plan.fetch
                )

    def _frames_until_bad(
        self, task: DecodeTask, feed: PacketFeed
    ) -> Generator[DecodedFrame, None, DecodeTask | None]:
        """Yield frames up to the run's end or a bad packet; return a task for the frames left, or None."""
        run = task.run
        table = self.plan.segments[run.segment]
        missing = {packet: target for target, packet in enumerate(run.targets.tolist())}
        frames = run.frames.tolist()
        error: MediaRefError | None = None
        anew: list[int] = []
        try:
            for packet, picture in self.engine.decode(table, task, feed):
                target = missing.pop(packet)
                if picture is None:
                    anew.append(target)
                    continue
                if isinstance(picture, MediaRefError):
                    failure = _failure(picture, self.sources[run.segment], table, run, target)
                    yield DecodedFrame(run.slots_of(target), error=failure)
                    continue
                job = partial(self._placed, run.segment, frames[target], run.slots_of(target), picture)
                if not self.pool.offload(job):
                    yield from job()
        except MediaRefError as raised:
            error = raised
        except MemoryError:
            error = out_of_memory()
        finally:
            count(packets_decoded=feed.count, frames=len(frames) - len(missing) - len(anew))
            feed.close()
        if not missing:
            return DecodeTask(run.only(sorted(anew), table)) if anew else None
        if again := self._again(task, [*anew, *missing.values()], error or feed.error):
            return again
        spared: list[int] = []
        if error or feed.error:  # else all packets were fed, and another try gives no more frames
            bad = _bad_packet(run, feed, error)
            spared = [
                target for target in missing.values() if _is_spared(table, int(run.frames[target]), bad)
            ]
        for target in missing.values():
            if target not in spared:
                failure = _failure(feed.error or error, self.sources[run.segment], table, run, target)
                yield DecodedFrame(run.slots_of(target), error=failure)
        spared = sorted([*anew, *spared])
        return DecodeTask(run.only(spared, table)) if spared else None

    def _again(self, task: DecodeTask, missing: list[int], error: MediaRefError | None) -> DecodeTask | None:
        """Return a second task for frames that the decoder did not give though no packet was bad, or None."""
        table = self.plan.segments[task.run.segment]
        if error is not None:
            return None
        if task.resumes:
            return DecodeTask(task.run.only(missing, table))
        if self.engine.may_need_earlier_start(table.info):
            start = task.run.earlier_start(table)
            return None if start is None else DecodeTask(task.run.only(missing, table, start=start))
        return None

    def _placed(self, segment: int, frame: int, slots: Int64Array, picture: Any) -> tuple[DecodedFrame]:
        """Convert a picture into the array that the output gives for it."""
        try:
            with memory_limits():
                pixels = self.engine.pixels(picture, partial(self.new_frame, int(slots[0])))
        except MediaRefError as error:
            table = self.plan.segments[segment]
            failure = _named(error, self.sources[segment], table, int(table.pts_ns[frame]))
            return (DecodedFrame(slots, error=failure),)
        return (DecodedFrame(slots, pixels),)


def _bad_packet(run: Run, feed: PacketFeed, error: MediaRefError | None) -> int:
    """Return the packet that ended a run; the run's last packet if no later frame can be decoded."""
    if isinstance(feed.error, CorruptMediaError):
        return int(run.packets[np.searchsorted(run.packets, feed.last, side="right")])
    if isinstance(error, CorruptMediaError) and feed.count:  # else the decoder could not be made at all
        return feed.last
    return int(run.targets[-1])


def _is_spared(table: SegmentTable, frame: int, bad: int) -> bool:
    """Whether a frame can be decoded without the bad packet."""
    start, packet = int(table.start[frame]), int(table.packet[frame])
    return start > bad or (table.packets.is_reference[bad] == 0 and bad not in (start, packet))


def _failure(
    error: MediaRefError | None, source: VideoSource, table: SegmentTable, run: Run, target: int
) -> MediaRefError:
    """Return the error of one frame: that which ended its run, or that the decoder gave no frame."""
    if error is None:
        error = CorruptMediaError(
            f"the decoder gave no frame for packet {run.targets[target]}; decoding began at packet "
            f"{run.packets[0]}"
        )
    return _named(error, source, table, int(table.pts_ns[run.frames[target]]))


def _named(error: MediaRefError, source: VideoSource, table: SegmentTable, pts_ns: int) -> MediaRefError:
    """Return an error that names the video, the time, and the segment if it is another file."""
    message = error.message
    if table.info.uri != source.uri:
        message = f"segment {redact(table.info.uri)}: {message}"
    named = type(error)(message, uri=source.uri, pts_ns=pts_ns)
    named.__cause__ = error.__cause__
    return named
