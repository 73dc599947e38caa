"""The report on a collection, from the plain columns of its rows: no index is decompressed."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.uris import is_local, local_path
from mediaref_ursa._index.collection import CollectionIndex
from mediaref_ursa._index.report import two_columns

_COLUMNS = ["segment_idx", "codec", "frames", "packets", "seconds"]
_SECONDS_OF_AN_HOUR = 3600
_LISTED = 10


@dataclass(frozen=True)
class CollectionReport:
    """A report on a collection.

    Attributes:
        uri: Where the table is.
        root: Where the relative URIs of its rows begin.
        videos: How many videos it has.
        segments: How many files these are made of.
        frames: Frames displayed.
        packets: All packets, output or not.
        hours: Of all videos together.
        codecs: How many segments each codec has, the most frequent first.
        table_bytes: The size of the table on this machine, older versions included; None in a cloud store.
        bytes_per_frame: The same for each frame; None without frames or size.
        stale: The videos whose files have changed or are not there, with absolute URIs.
        not_asked: How many videos are in stores that could not be asked.
        reason: The error of the first of these.
    """

    uri: str
    root: str
    videos: int
    segments: int
    frames: int
    packets: int
    hours: float
    codecs: dict[str, int]
    table_bytes: int | None
    bytes_per_frame: float | None
    stale: list[str] = field(default_factory=list)
    not_asked: int = 0
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name, as values of JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the report as a table of two columns."""
        codecs = ", ".join(f"{name} ({count})" for name, count in self.codecs.items()) or "none"
        size = "not known" if self.table_bytes is None else f"{self.table_bytes} bytes"
        share = "" if self.bytes_per_frame is None else f", {self.bytes_per_frame:.1f} bytes a frame"
        more = f" and {len(self.stale) - _LISTED} more" if len(self.stale) > _LISTED else ""
        stale = f"{len(self.stale)}: {', '.join(self.stale[:_LISTED])}{more}" if self.stale else "none"
        if self.not_asked:
            stale += f"; {self.not_asked} could not be asked: {self.reason}"
        return two_columns(
            [
                ("collection", self.uri),
                ("root", self.root),
                ("videos", str(self.videos)),
                ("segments", str(self.segments)),
                ("frames", str(self.frames)),
                ("packets", str(self.packets)),
                ("duration", f"{self.hours:.3f} hours"),
                ("codecs", codecs),
                ("table size", size + share),
                ("stale", stale),
            ]
        )


def report_on_collection(collection: CollectionIndex) -> CollectionReport:
    """Return what a collection holds, and which of its videos are stale.

    Raises:
        FrameIndexError: The table cannot be read.
    """
    numbers: Counter[str] = Counter()
    codecs: Counter[str] = Counter()
    seconds = 0.0
    for block in collection._table.blocks(_COLUMNS):
        columns = {name: block.column(name).to_pylist() for name in _COLUMNS}
        numbers["videos"] += columns["segment_idx"].count(0)
        numbers["segments"] += block.num_rows
        for name in ("frames", "packets"):
            numbers[name] += sum(columns[name])
        seconds += sum(columns["seconds"])
        codecs.update(columns["codec"])
    size = _table_bytes(collection.uri)
    frames = numbers["frames"]
    stale, errors = collection._compared()
    return CollectionReport(
        uri=redact(collection.uri),
        root=redact(collection.root),
        videos=numbers["videos"],
        segments=numbers["segments"],
        frames=frames,
        packets=numbers["packets"],
        hours=seconds / _SECONDS_OF_AN_HOUR,
        codecs=dict(codecs.most_common()),
        table_bytes=size,
        bytes_per_frame=size / frames if size is not None and frames else None,
        stale=[redact(uri) for uri in stale],
        not_asked=len(errors),
        reason=next((str(error) for error in errors.values()), None),
    )


def _table_bytes(uri: str) -> int | None:
    if not is_local(uri):
        return None
    return sum(path.stat().st_size for path in Path(local_path(uri)).rglob("*") if path.is_file())
