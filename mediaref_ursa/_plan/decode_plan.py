"""``DecodePlan``: all runs and reads of a batch, as a value that prints itself. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mediaref_ursa._core.cached_property import cached_property
from mediaref_ursa._core.errors import MediaRefError
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.uris import is_local
from mediaref_ursa._core.wording import counted
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.reads import FetchOptions, Read, ReadPlan, plan_reads
from mediaref_ursa._plan.runs import BatchDecodingStrategy, Run


@set_module("mediaref_ursa")
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
        is_local: Whether each segment's bytes are on this machine.
        errors: The error of each reference that names no frame, by its position, with ``on_error="none"``.
    """

    segments: tuple[SegmentTable, ...]
    runs: tuple[Run, ...]
    references: int
    images: int
    strategy: BatchDecodingStrategy
    fetch: FetchOptions = field(default_factory=FetchOptions)
    is_local: tuple[bool, ...] = ()
    errors: Mapping[int, MediaRefError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.is_local) != len(self.segments):  # no store was named: the schemes decide
            local = tuple(is_local(table.info.uri) for table in self.segments)
            object.__setattr__(self, "is_local", local)

    def __repr__(self) -> str:
        counts = (
            counted(self.references, "reference"),
            counted(self.frames, "frame"),
            counted(len(self.runs), "run"),
            counted(self.packets, "packet"),
            counted(self.bytes, "byte"),
        )
        return f"<DecodePlan {', '.join(counts)}>"

    def __str__(self) -> str:
        return self.explain()

    @cached_property
    def read_plan(self) -> ReadPlan:
        """The byte ranges that hold the packets of all runs."""
        return plan_reads(self.segments, self.runs, self.fetch)

    @property
    def requests(self) -> int:
        """Number of byte ranges requested from stores; the range cache may hold some of them.

        Ranges of files of this machine are no requests; all of them are in ``read_plan``.
        """
        return len(self._reads(is_here=False))

    @property
    def bytes_read(self) -> int:
        """Bytes of these ranges, gaps between packets included."""
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
        """Return the plan as text: its runs, the frames wanted of them, and its cost."""
        videos = self.references - self.images
        frames = f"{counted(self.frames, 'frame')} of {counted(len(self.segments), 'segment')}"
        packets = counted(self.packets, "packet")
        lines = [
            f"{counted(self.references, 'reference')}: {videos} to video frames, {self.images} to images",
            f"{frames}, {counted(len(self.runs), 'run')}, {self.strategy.value}",
            f"{packets} ({_ratio(self.packets, self.frames)} a frame), {counted(self.bytes, 'byte')}",
            *self._explain_reads(),
        ]
        for number, table in enumerate(self.segments):
            frames = counted(len(table), "frame")
            lines.append(f"{redact(table.info.uri)}: {table.info.codec}, {frames}")
            lines += [f"  {line}" for line in self._explain_runs(number)]
        return "\n".join(lines)

    def _reads(self, *, is_here: bool) -> list[Read]:
        """Return the reads of local files, or those of remote stores."""
        return [read for read in self.read_plan.reads if self.is_local[read.segment] == is_here]

    def _explain_reads(self) -> Iterator[str]:
        local, remote = self._reads(is_here=True), self._reads(is_here=False)
        if local:
            length = sum(read.length for read in local)
            yield f"{counted(len(local), 'range')} of local files, {counted(length, 'byte')}"
        if remote or not local:
            length = sum(read.length for read in remote)
            yield f"{counted(len(remote), 'request')}, {counted(length, 'byte')}"

    def _explain_runs(self, segment: int) -> Iterator[str]:
        runs = [run for run in self.runs if run.segment == segment]
        for run in runs[:_RUNS_LISTED]:
            yield (
                f"run from packet {run.packets[0]}: {counted(len(run.targets), 'frame')}, "
                f"{counted(len(run.packets), 'packet')}, {counted(self.run_bytes(run), 'byte')}"
            )
        if len(runs) > _RUNS_LISTED:
            yield f"and {counted(len(runs) - _RUNS_LISTED, 'more run')}"


_RUNS_LISTED = 20


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.1f}" if whole else "0"
