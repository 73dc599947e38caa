"""``DecodeTask``: runs for one decoder, and the joining of consecutive ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.runs import Run, join_runs


@dataclass(frozen=True)
class DecodeTask:
    """A run for one decoder, and whether that resumes or stays open.

    Attributes:
        run: The packets to feed and the frames to take.
        state: The engine's own, such as a decoder.
        resumes: Whether that decoder resumes at its position; else one begins at the first packet.
        stays: Whether the decoder is to stay where the run ends, for the next call to resume there. The
            run then has packets past its last target, which bring out what the decoder holds back.
        keep: Packets of the segment whose frames are likely to be requested again soon.
    """

    run: Run
    state: Any = None
    resumes: bool = False
    stays: bool = False
    keep: frozenset[int] = frozenset()


@dataclass(frozen=True)
class CachedFrame:
    """A frame that is decoded already.

    Attributes:
        segment: Which of the plan's segments.
        frame: Its number in presentation order.
        slots: int64, the output slots that want it.
        picture: The engine's own.
    """

    segment: int
    frame: int
    slots: Int64Array
    picture: Any


@dataclass(frozen=True)
class DecodeSchedule:
    """The cached frames and remaining tasks of a plan's runs.

    Attributes:
        cached: Frames that need no decoding.
        tasks: The tasks that give the other frames, those of one segment in decode order.
    """

    cached: list[CachedFrame] = field(default_factory=list)
    tasks: list[DecodeTask] = field(default_factory=list)


def join_tasks(
    tasks: Sequence[DecodeTask], segments: Sequence[SegmentTable], max_packets: int
) -> list[DecodeTask]:
    """Return the tasks, consecutive ones without a needed packet between them joined.

    A decoder that resumes need not begin anew, and gives the frames that it holds back by itself.

    Args:
        tasks: Those of one segment in decode order, one segment after another.
        segments: The tables that runs number.
        max_packets: Steps that have more packets between them are not joined.
    """
    groups: list[list[DecodeTask]] = []
    packets = 0
    for task in tasks:
        more = len(task.run.packets)
        if groups and packets + more <= max_packets and _follows(groups[-1][-1], task, segments):
            groups[-1].append(task)
            packets += more
        else:
            groups.append([task])
            packets = more
    return [_joined(group) for group in groups]


def _joined(tasks: Sequence[DecodeTask]) -> DecodeTask:
    if len(tasks) == 1:
        return tasks[0]
    return replace(tasks[0], run=join_runs([task.run for task in tasks]), stays=tasks[-1].stays)


def _follows(before: DecodeTask, task: DecodeTask, segments: Sequence[SegmentTable]) -> bool:
    first, second = before.run, task.run
    if (
        first.segment != second.segment
        or before.stays
        or task.resumes
        or not len(first.packets)  # its decoder holds all that is wanted
    ):
        return False
    end, begin = int(first.packets[-1]) + 1, int(second.packets[0])
    return end == begin or (end < begin and not segments[first.segment].packets.is_reference[end:begin].any())
