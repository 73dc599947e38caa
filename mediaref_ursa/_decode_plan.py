"""All that a batch will decode and read, as a value that prints itself. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mediaref_ursa._cached_property import cached_property
from mediaref_ursa._frame_table import SegmentTable
from mediaref_ursa._plan import BatchDecodingStrategy, Run
from mediaref_ursa._reads import FetchOptions, ReadPlan, plan_reads
from mediaref_ursa._uri_text import redact


@dataclass(frozen=True)
class DecodePlan:
    """All runs of a batch.

    Attributes:
        segments: The segments that frames are taken from.
        runs: What to decode.
        references: How many references the batch has, images among them.
        images: How many of them are images.
        strategy: How the runs were made.
        fetch: How their bytes are read.
    """

    segments: tuple[SegmentTable, ...]
    runs: tuple[Run, ...]
    references: int
    images: int
    strategy: BatchDecodingStrategy
    fetch: FetchOptions = field(default_factory=FetchOptions)

    @cached_property
    def read_plan(self) -> ReadPlan:
        """The byte ranges that hold the packets of all runs."""
        return plan_reads(self.segments, self.runs, self.fetch)

    @property
    def requests(self) -> int:
        """Byte ranges that will be read, of which the segment cache may hold some."""
        return len(self.read_plan.reads)

    @property
    def bytes_read(self) -> int:
        """Bytes of these ranges, with what lies between packets."""
        return self.read_plan.bytes

    @property
    def frames(self) -> int:
        """Distinct frames that will be decoded for the caller."""
        return sum(len(run.targets) for run in self.runs)

    @property
    def packets(self) -> int:
        """Packets that will be fed to decoders."""
        return sum(len(run.packets) for run in self.runs)

    def run_bytes(self, run: Run) -> int:
        """Return the bytes of a run's packets."""
        return int(self.segments[run.segment].packets.size[run.packets].sum())

    @property
    def bytes(self) -> int:
        """Bytes of all packets that will be fed to decoders."""
        return sum(self.run_bytes(run) for run in self.runs)

    def explain(self) -> str:
        """Return the plan as text: what will be decoded, for whom, and what it costs."""
        videos, runs = self.references - self.images, len(self.runs)
        lines = [
            f"{self.references} references: {videos} to video frames, {self.images} to images",
            f"{self.frames} frames of {len(self.segments)} segments, {runs} runs, {self.strategy.value}",
            f"{self.packets} packets ({_ratio(self.packets, self.frames)} a frame), {self.bytes} bytes",
            f"{self.requests} requests, {self.bytes_read} bytes",
        ]
        for number, table in enumerate(self.segments):
            lines.append(f"{redact(table.info.uri)}: {table.info.codec}, {len(table)} frames")
            lines += [f"  {line}" for line in self._explain_runs(number)]
        return "\n".join(lines)

    def _explain_runs(self, segment: int) -> Iterator[str]:
        shown = [run for run in self.runs if run.segment == segment]
        for run in shown[:_RUNS_SHOWN]:
            yield (
                f"run from packet {run.packets[0]}: {len(run.targets)} frames, "
                f"{len(run.packets)} packets, {self.run_bytes(run)} bytes"
            )
        if len(shown) > _RUNS_SHOWN:
            yield f"and {len(shown) - _RUNS_SHOWN} more runs"


_RUNS_SHOWN = 20


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.1f}" if whole else "0"
