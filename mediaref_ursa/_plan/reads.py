"""Reads of a plan: few byte ranges that cover the packets of all its runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.byte_ranges import merge_ranges
from mediaref_ursa._core.public import set_module
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.runs import Run


@set_module("mediaref_ursa")
@dataclass(frozen=True)
class FetchOptions:
    """Options of fetching bytes from a remote store.

    Attributes:
        max_gap_bytes: Bytes between two packets that are not needed and are read all the same, since
            another request would cost more.
        max_read_bytes: A request asks for no more, unless one packet alone is larger.
        max_requests: Requests at once.
        max_bytes_in_flight: Bytes that are asked for, or read and not decoded yet.

    Raises:
        ValueError: A number that is too small.
    """

    # benchmarks/gap_sizes.py: at 30 ms away, 64 KiB halve the requests of long runs for 1 % more bytes, and
    # four times as much doubles the bytes of some batches; the time is the same.
    max_gap_bytes: int = 64 << 10
    max_read_bytes: int = 8 << 20
    max_requests: int = 16
    max_bytes_in_flight: int = 32 << 20

    def __post_init__(self) -> None:
        for name, minimum in (
            ("max_gap_bytes", 0),
            ("max_read_bytes", 1),
            ("max_requests", 1),
            ("max_bytes_in_flight", 1),
        ):
            if getattr(self, name) < minimum:
                raise ValueError(f"expected {name} of {minimum} or more, found {getattr(self, name)}")


@dataclass(frozen=True)
class Read:
    """One byte range of one segment.

    Attributes:
        segment: Which of the plan's segments.
        offset: Where it begins, in bytes.
        length: Its bytes.
    """

    segment: int
    offset: int
    length: int


@dataclass(frozen=True)
class RunReads:
    """The reads that hold the packets of a run, and the packets' positions in them.

    Attributes:
        read_of: int64 ``(m,)``, the read that holds each packet, a position in ``ReadPlan.reads``.
        start_in_read: int64 ``(m,)``, where the packet begins in it, in bytes.
    """

    read_of: Int64Array
    start_in_read: Int64Array


@dataclass(frozen=True)
class ReadPlan:
    """All reads of a plan.

    Attributes:
        reads: Each is one request to a remote store.
        of_run: Of each run, None where its segment's packets cannot be addressed.
    """

    reads: tuple[Read, ...]
    of_run: tuple[RunReads | None, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all reads."""
        return sum(read.length for read in self.reads)


def plan_reads(segments: Sequence[SegmentTable], runs: Sequence[Run], options: FetchOptions) -> ReadPlan:
    """Return the reads that cover the packets of all runs, neighbours merged, across runs too."""
    reads: list[Read] = []
    of_run: list[RunReads | None] = [None] * len(runs)
    numbers = np.array([run.segment for run in runs], dtype=np.int64)
    for segment in np.unique(numbers).tolist():
        table = segments[segment]
        if not table.info.addressable:
            continue
        mine = np.flatnonzero(numbers == segment).tolist()
        rows = np.concatenate([runs[run].packets for run in mine])
        merged = merge_ranges(
            table.packets.offset[rows],
            table.packets.size[rows],
            max_gap_bytes=options.max_gap_bytes,
            max_read_bytes=options.max_read_bytes,
        )
        ends = np.cumsum([len(runs[run].packets) for run in mine])
        parts = zip(
            mine,
            np.split(merged.read_of + len(reads), ends[:-1]),
            np.split(merged.start_in_read, ends[:-1]),
            strict=True,
        )
        for run, read_of, start_in_read in parts:
            of_run[run] = RunReads(read_of, start_in_read)
        reads += [Read(segment, offset, length) for offset, length in merged.ranges]
    return ReadPlan(tuple(reads), tuple(of_run))
