"""Runs on their way to decoders, and joining those that one decoder goes through without a stop. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mediaref_ursa._core.ticks import Int64Array
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.runs import Run, join_runs


@dataclass(frozen=True)
class Step:
    """What one decoder does at a stretch.

    Attributes:
        run: The packets to feed and the frames to take.
        state: The engine's own, such as a decoder.
        goes_on: Whether that decoder goes on from where it stopped; else one begins at the first packet.
        stays: Whether the decoder is to stay where the run ends, for the next call to go on from there. The
            run then has packets past its last target, which bring out what the decoder holds back.
        keep: Packets of the segment whose frames are likely to be asked for again soon.
    """

    run: Run
    state: Any = None
    goes_on: bool = False
    stays: bool = False
    keep: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Ready:
    """A frame that is decoded already.

    Attributes:
        segment: Which of the plan's segments.
        frame: Its number in presentation order.
        slots: int64, the output places that want it.
        picture: The engine's own.
    """

    segment: int
    frame: int
    slots: Int64Array
    picture: Any


@dataclass(frozen=True)
class Begun:
    """What is left of a plan's runs once an engine has looked at what it has.

    Attributes:
        ready: Frames that need no decoding.
        steps: What gives the others, those of one segment in decode order.
    """

    ready: list[Ready] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


def join_steps(steps: Sequence[Step], segments: Sequence[SegmentTable], most_packets: int) -> list[Step]:
    """Return the steps, those joined that follow one another without a packet between that anybody needs.

    A decoder that goes on need not begin anew, and gives the frames that it holds back by itself.

    Args:
        steps: Those of one segment in decode order, one segment after another.
        segments: The tables that runs number.
        most_packets: Steps that have more packets between them are not joined.
    """
    groups: list[list[Step]] = []
    packets = 0
    for step in steps:
        more = len(step.run.packets)
        if groups and packets + more <= most_packets and _follows(groups[-1][-1], step, segments):
            groups[-1].append(step)
            packets += more
        else:
            groups.append([step])
            packets = more
    return [_joined(group) for group in groups]


def _joined(steps: Sequence[Step]) -> Step:
    if len(steps) == 1:
        return steps[0]
    return replace(steps[0], run=join_runs([step.run for step in steps]), stays=steps[-1].stays)


def _follows(before: Step, step: Step, segments: Sequence[SegmentTable]) -> bool:
    first, second = before.run, step.run
    if (
        first.segment != second.segment
        or before.stays
        or step.goes_on
        or not len(first.packets)  # its decoder holds all that is wanted
    ):
        return False
    end, begin = int(first.packets[-1]) + 1, int(second.packets[0])
    return end == begin or (end < begin and not segments[first.segment].packets.is_reference[end:begin].any())
