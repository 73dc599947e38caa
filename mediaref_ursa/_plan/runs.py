"""Planning of runs: frames grouped by the random access points from which they are decoded.

Pure: numpy in, a frozen value out, no I/O. Carrying a plan out is another module's work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.public import set_module
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.needed_packets import packets_of_runs, packets_to_feed


@set_module("mediaref_ursa.video_decoder")
class BatchDecodingStrategy(str, Enum):
    """How far frames of one video are decoded together. Strategies differ in work, never in frames."""

    SEPARATE = "separate"
    """Each frame is decoded by itself, from its own random access point."""
    SEQUENTIAL = "sequential"
    """One pass over each segment, from the first random access point needed to the last frame."""
    SEQUENTIAL_PER_KEYFRAME_BLOCK = "sequential_per_keyframe_block"
    """One pass for each random access point that is needed (the default)."""


@dataclass(frozen=True)
class Run:
    """One pass of a decoder: from a random access point to the last frame wanted.

    Attributes:
        segment: Which of the plan's segments.
        packets: int64 ``(m,)``, the packets to feed, ascending in decode order.
        targets: int64 ``(k,)``, the packets among them whose frames are wanted, ascending.
        frames: int64 ``(k,)``, the frame in presentation order of each target.
        slots: int64, the output slots of all targets, one target's after another's.
        slot_ends: int64 ``(k,)``, where each target's slots end in ``slots``.
    """

    segment: int
    packets: Int64Array
    targets: Int64Array
    frames: Int64Array
    slots: Int64Array
    slot_ends: Int64Array

    def slots_of(self, target: int) -> Int64Array:
        """Return the output slots of the ``target``-th wanted frame."""
        first = int(self.slot_ends[target - 1]) if target else 0
        return self.slots[first : int(self.slot_ends[target])]

    def only(self, targets: list[int], table: SegmentTable, *, start: int | None = None) -> Run:
        """Return the run reduced to some of its frames, by position in ``targets``.

        ``start`` is the packet at which decoding begins; where it must begin without it.
        """
        frames = self.frames[targets]
        slots = [self.slots_of(target) for target in targets]
        return replace(
            self,
            packets=packets_to_feed(table, frames, start),
            targets=self.targets[targets],
            frames=frames,
            slots=np.concatenate(slots),
            slot_ends=np.cumsum([len(part) for part in slots]),
        )

    def after(self, position: int, table: SegmentTable) -> Run:
        """Return the run for a decoder that was fed all up to the packet ``position`` already."""
        if position >= self.packets[0]:
            return replace(self, packets=self.packets[self.packets > position])
        return replace(self, packets=packets_to_feed(table, self.frames, position + 1, begins=False))

    def with_more(self, count: int, position: int, table: SegmentTable) -> Run:
        """Return the run with packets past its last target, all of them, up to one that is damaged.

        Args:
            count: How many.
            position: The last packet that the decoder was fed before the run, which may lie past its targets.
            table: The segment.
        """
        first = max(int(self.targets[-1]), position) + 1
        stop = min(first + count, len(table.packets))
        damaged = np.flatnonzero(table.packets.is_corrupt[first:stop])
        more = np.arange(first, first + int(damaged[0]) if len(damaged) else stop, dtype=np.int64)
        return replace(self, packets=np.concatenate([self.packets, more]))

    def earlier_start(self, table: SegmentTable) -> int | None:
        """Return an earlier random access point to begin the run at, None if there is none.

        Successive calls double the distance.
        """
        starts = table.random_access_points
        now, due = np.searchsorted(starts, [self.packets[0], table.start[self.frames].min()])
        return int(starts[max(0, 2 * now - due - 1)]) if now else None


def join_runs(runs: Sequence[Run]) -> Run:
    """Return several runs of one segment as one, each of which begins where the one before it ends."""
    if len(runs) == 1:
        return runs[0]
    slots = [len(run.slots) for run in runs]
    return Run(
        segment=runs[0].segment,
        packets=np.concatenate([run.packets for run in runs]),
        targets=np.concatenate([run.targets for run in runs]),
        frames=np.concatenate([run.frames for run in runs]),
        slots=np.concatenate([run.slots for run in runs]),
        slot_ends=np.concatenate(
            [run.slot_ends + before for run, before in zip(runs, np.cumsum([0, *slots[:-1]]), strict=True)]
        ),
    )


def plan_runs(
    segments: Sequence[SegmentTable],
    segment: Int64Array,
    frame: Int64Array,
    slot: Int64Array,
    strategy: BatchDecodingStrategy,
) -> tuple[Run, ...]:
    """Return the runs that decode the given frames.

    Args:
        segments: The tables that ``segment`` numbers.
        segment: int64 ``(n,)``, the segment of each frame wanted.
        frame: int64 ``(n,)``, its number in presentation order.
        slot: int64 ``(n,)``, its position in the output; a frame may be wanted in several slots.
        strategy: How runs are cut.
    """
    runs: list[Run] = []
    if not len(segment):
        return ()
    order = np.argsort(segment, kind="stable")
    numbers, firsts = np.unique(segment[order], return_index=True)
    for number, mine in zip(numbers.tolist(), np.split(order, firsts[1:]), strict=True):
        runs += _segment_runs(segments[number], number, frame[mine], slot[mine], strategy)
    return tuple(runs)


def _segment_runs(
    table: SegmentTable, number: int, frame: Int64Array, slot: Int64Array, strategy: BatchDecodingStrategy
) -> Iterator[Run]:
    order = np.argsort(table.packet[frame], kind="stable")
    frame, slot = frame[order], slot[order]
    last_of_frame = np.append(frame[1:] != frame[:-1], True)
    slot_ends = np.flatnonzero(last_of_frame) + 1
    frames = frame[last_of_frame]
    ends = np.array(_run_ends(table, frames, strategy), dtype=np.int64)
    begins = np.append(0, ends[:-1])
    targets = table.packet[frames]
    packets = packets_of_runs(table, targets, np.minimum.reduceat(table.start[frames], begins), begins, ends)
    first_slot = 0
    for begin, end, fed in zip(begins.tolist(), ends.tolist(), packets, strict=True):
        last_slot = int(slot_ends[end - 1])
        yield Run(
            segment=number,
            packets=fed,
            targets=targets[begin:end],
            frames=frames[begin:end],
            slots=slot[first_slot:last_slot],
            slot_ends=slot_ends[begin:end] - first_slot,
        )
        first_slot = last_slot


def _run_ends(table: SegmentTable, frames: Int64Array, strategy: BatchDecodingStrategy) -> list[int]:
    """Return the end of each run in ``frames``, which are in decode order.

    A run that reaches past the random access point of the next continues through it: the packets
    between need not be decoded twice.
    """
    count = len(frames)
    if strategy is BatchDecodingStrategy.SEPARATE:
        return list(range(1, count + 1))
    if strategy is BatchDecodingStrategy.SEQUENTIAL:
        return [count]
    packet, start = table.packet[frames], table.start[frames]
    begins_at = np.minimum.accumulate(start[::-1])[::-1]  # of this frame and all that follow it
    cut = begins_at[1:] > packet[:-1]
    return [*(np.flatnonzero(cut) + 1).tolist(), count]
