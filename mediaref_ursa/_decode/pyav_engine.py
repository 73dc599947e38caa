"""The PyAV engine: one codec context a run, fed packet by packet, which the next call may resume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from mediaref_ursa._core.array_types import PixelArray
from mediaref_ursa._core.errors import MediaRefError
from mediaref_ursa._decode.decoder_pool import DecoderKey, decoders
from mediaref_ursa._decode.packet_feed import PacketFeed
from mediaref_ursa._images.crop import cropped
from mediaref_ursa._model.damage import is_spoilt
from mediaref_ursa._model.pixels import MAX_PIXELS, PixelSpec
from mediaref_ursa._model.segment import SegmentInfo, SegmentTable
from mediaref_ursa._plan.runs import Run
from mediaref_ursa._plan.tasks import CachedFrame, DecodeSchedule, DecodeTask
from mediaref_ursa._pyav.convert import FrameConverter, NewArray, quarter_turns
from mediaref_ursa._pyav.decoder import Decoder, NumberedFrame

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_AHEAD_PACKETS = 3
"""Packets fed beyond the reorder depth, so that a decoder that stays open has given its last frame."""


@dataclass(frozen=True)
class Picture:
    """A decoded frame, not yet converted to pixels.

    Attributes:
        frame: As the decoder gave it. Converting changes it for a moment, so that one thread has it.
        info: The segment that it is of.
        keep_as: Under which name it is kept once it is converted; None where it is not.
    """

    frame: VideoFrame
    info: SegmentInfo
    keep_as: tuple[DecoderKey, int] | None = None


@dataclass(frozen=True)
class _State:
    """The pooled decoder of a task."""

    key: DecoderKey
    decoder: Decoder | None = None

    @property
    def position(self) -> int:
        return -1 if self.decoder is None else self.decoder.position


class PyAVEngine:
    """Decodes runs with PyAV. Threads may share one.

    Args:
        spec: The pixel format of output frames.
        codec_threads: FFmpeg's own threads within each decoder, where a stream is whole and known to come
            out the same. Such decoders live within one call: a forked child hangs on what is left of them.
    """

    joins_runs = True

    def __init__(self, spec: PixelSpec, codec_threads: int = 1) -> None:
        self.reads_alpha = spec.has_alpha
        self.keeps_bits = spec.is_native
        self._spec = spec
        whole = spec if spec.crop is None else replace(spec, crop=None, resize=None, channel_format="NHWC")
        self._converter = FrameConverter(whole)
        self._codec_threads = codec_threads
        self._max_pixels = max(MAX_PIXELS, spec.max_pixels)

    def may_need_earlier_start(self, info: SegmentInfo) -> bool:
        """Whether frames that did not come out may come out from an earlier random access point: no."""
        return False

    def begin(
        self, tables: Sequence[SegmentTable], stores: Sequence[object], runs: Sequence[Run]
    ) -> DecodeSchedule:
        """Return the frames that are cached, and the tasks that give the others.

        Where a reader moves on through a video, decoders go on from where they stopped.
        """
        schedule = DecodeSchedule()
        for segment, mine in groupby(runs, key=lambda run: run.segment):
            table, store = tables[segment], stores[segment]
            if self._codec_threads > 1 or table.info.lookahead_packets:
                schedule.tasks.extend(DecodeTask(run) for run in mine)
            else:
                _schedule_segment(
                    table, DecoderKey.from_table(table, store, self._max_pixels), list(mine), schedule
                )
        return schedule

    def decode(
        self, table: SegmentTable, task: DecodeTask, feed: PacketFeed
    ) -> Iterator[tuple[int, Picture | MediaRefError | None]]:
        """Yield the packet and the picture of each frame wanted, in the order of the decoder's output.

        Of a frame that a damaged picture touches, the error; of one that a new decoder has to give, since
        this one met damage before it, None.

        Raises:
            CorruptMediaError: The decoder refuses a packet; the frames before it were yielded.
            UnsupportedMediaError: There is no decoder.
        """
        state: _State | None = task.state
        key = None if state is None else state.key
        decoder = self._decoder(table, state)
        missing = set(task.run.targets.tolist())
        last_frame = int(task.run.frames.max())
        for number, frame in _frames(decoder, feed, missing if task.stays else None):
            if number in missing:
                if feed.completes(number, table.info.lookahead_packets):
                    missing.remove(number)
                    name = (key, number) if key is not None and number in task.keep else None
                    yield number, decoder.outcome(table, number, Picture(frame, table.info, name))
            elif task.stays and key is not None:
                ahead = int(table.frame_of_packet[number])
                if ahead > last_frame and decoder.first <= table.start[ahead]:
                    picture = Picture(frame, table.info)
                    if decoder.outcome(table, number, picture) is picture:
                        decoders.keep(key, number, frame)
            if decoder.damaged and _all_begin_anew(decoder, table, missing):
                yield from ((packet, None) for packet in missing)
                return
        if key is not None:
            decoders.give_back(key, decoder)

    def pixels(self, picture: Picture, new: NewArray) -> PixelArray:
        """Convert a picture into an array that ``new`` makes. For any thread, once a picture.

        Args:
            picture: What ``decode`` yielded.
            new: Gives the array of a shape and a type to write to.

        Raises:
            LimitExceededError: It has more pixels than are allowed.
            CorruptMediaError: It cannot be converted.
            UnsupportedMediaError: It is smaller than the crop, or has samples that have no native type.
        """
        info = picture.info
        rotation = quarter_turns(picture.frame.rotation) if info.rotation_by_frame else info.rotation
        if self._spec.crop is None:
            pixels = self._converter.convert(picture.frame, rotation, new, uri=info.uri)
        else:
            upright = self._converter.convert(picture.frame, rotation, uri=info.uri)
            part = cropped(upright, self._spec, info.uri)
            pixels = new(part.shape, part.dtype)
            np.copyto(pixels, part)
        if picture.keep_as is not None:
            decoders.keep(*picture.keep_as, picture.frame)
        return pixels

    def _decoder(self, table: SegmentTable, state: _State | None) -> Decoder:
        info, alpha = table.info, table.packets.alpha
        if state is None:
            decoder = Decoder(info, self._max_pixels, self._codec_threads if info.restartable else 1, alpha)
            decoder.begin()
        else:
            decoder = state.decoder or decoders.take(state.key, info, alpha)
        decoder.frame_of_packet = table.whole.frame_of_packet
        return decoder


def _all_begin_anew(decoder: Decoder, table: SegmentTable, missing: set[int]) -> bool:
    """Return whether every frame still missing needs a new decoder, because this one met damage."""
    frames = table.frame_of_packet[list(missing)]
    start = int(table.start[frames].min()) if missing else -1
    return is_spoilt(table, decoder.first, start, decoder.damaged)


def _frames(decoder: Decoder, feed: PacketFeed, missing: set[int] | None) -> Iterator[NumberedFrame]:
    """Yield frames as the decoder gives them: all, or until ``missing`` is empty."""
    refused: MediaRefError | None = None
    for encoded in feed:
        try:
            frames = decoder.feed(encoded)
        except MediaRefError as error:
            refused = error
            break
        yield from frames
        if missing is not None and not missing:
            return
    yield from decoder.drain()
    if refused is not None:
        raise refused


def _schedule_segment(
    table: SegmentTable, key: DecoderKey, runs: list[Run], schedule: DecodeSchedule
) -> None:
    pattern = decoders.pattern(key, np.unique(np.concatenate([run.frames for run in runs])))
    keep = frozenset(table.packet[pattern.will_reuse].tolist())
    taken = decoders.take_kept(key, [packet for run in runs for packet in run.targets.tolist()])
    resumable = decoders.take_resumable(key)
    tasks: list[DecodeTask] = []
    for run in runs:
        left: Run | None = run
        if taken:
            left = _without(run, taken, table, key, keep, schedule)
        if left is not None:
            tasks += _resuming(left, table, key, keep, resumable) or [
                DecodeTask(left, _State(key), keep=keep)
            ]
    decoders.give_back(key, *resumable)
    if pattern.is_sequential and tasks:
        _keep_positions(tasks, table)
    schedule.tasks.extend(tasks)


def _without(
    run: Run,
    taken: Mapping[int, VideoFrame],
    table: SegmentTable,
    key: DecoderKey,
    keep: frozenset[int],
    schedule: DecodeSchedule,
) -> Run | None:
    """Schedule the cached frames of a run; return the run to its other frames, None without any."""
    missing = []
    for target, packet in enumerate(run.targets.tolist()):
        frame = taken.get(packet)
        if frame is None:
            missing.append(target)
            continue
        picture = Picture(frame, table.info, (key, packet) if packet in keep else None)
        schedule.cached.append(
            CachedFrame(run.segment, int(run.frames[target]), run.slots_of(target), picture)
        )
    if not missing:
        return None
    return run if len(missing) == len(run.targets) else run.only(missing, table)


def _resuming(
    run: Run, table: SegmentTable, key: DecoderKey, keep: frozenset[int], resumable: list[Decoder]
) -> list[DecodeTask]:
    """Return the tasks of a run that resume idle decoders whose positions lie within or just before it.

    Each decoder gives the frames between its position and the next one's. It is taken out of ``resumable``.
    """
    if not resumable:
        return []
    start = int(run.packets[0])
    left = dict(enumerate(run.targets.tolist()))
    tasks: list[DecodeTask] = []
    for decoder in reversed(resumable[:]):
        mine = [i for i, packet in left.items() if decoder.can_reach(start, packet)]
        if mine:
            resumable.remove(decoder)
            for target in mine:
                del left[target]
            part = run.only(mine, table).after(decoder.position, table)
            tasks.insert(0, DecodeTask(part, _State(key, decoder), resumes=True, keep=keep))
    if left and tasks:
        tasks.insert(0, DecodeTask(run.only(list(left), table), _State(key), stays=True, keep=keep))
    return tasks


def _keep_positions(tasks: list[DecodeTask], table: SegmentTable) -> None:
    """Keep decoders open at their end: the last task's, and those whose end another task's start resumes."""
    ahead = table.info.reorder_depth + _AHEAD_PACKETS
    for position, task in enumerate(tasks):
        if task.stays or task.resumes or position == len(tasks) - 1:
            run = task.run.with_more(ahead, task.state.position, table)
            tasks[position] = replace(task, run=run, stays=True)
