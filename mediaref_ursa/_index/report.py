"""The report on a video, computed from its segment tables alone. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import CorruptMediaError
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.wording import counted
from mediaref_ursa._index.found import FRESH
from mediaref_ursa._model.damage import problems_of
from mediaref_ursa._model.segment import DECODED, FULL, SPARSE, UNKNOWN, SegmentTable
from mediaref_ursa._plan.needed_packets import needed_mask
from mediaref_ursa._pyav.sample_formats import sample_format
from mediaref_ursa.layout import SIDECAR, IndexLocation

_COLORSPACES = {
    0: "RGB",
    1: "BT.709",
    2: "unspecified",
    4: "FCC",
    5: "BT.601 (625 lines)",
    6: "BT.601 (525 lines)",
    7: "SMPTE 240M",
    8: "YCgCo",
    9: "BT.2020",
    10: "BT.2020 constant luminance",
}
_LOCATIONS: dict[IndexLocation, str] = {
    SIDECAR: "next to the video",
    "hidden": "hidden in .mediaref",
    "collection": "in the collection of its folder",
    "cache": "in the cache directory",
    "index_dir": "in the directory named",
}
_COLOR_RANGES = {0: "unspecified", 1: "limited", 2: "full"}


@dataclass(frozen=True)
class VideoReport:
    """A report on a video, over all its segments.

    Attributes:
        uri: The video.
        index: The state of its index, one of the six words of ``_index/found``.
        location: Where that index stands, one word of :mod:`mediaref_ursa.layout`; None where there is none.
        index_uri: Where that is: a path or a URI, that of a collection too; None where there is none.
        segments: How many files it is made of.
        length_bytes: Size of these files.
        container: FFmpeg's short name of the demuxer.
        codec: The codec's canonical name.
        width: Pixels of a frame as it is displayed, after rotation.
        height: Pixels of a frame as it is displayed, after rotation.
        coded_width: Pixels before rotation.
        coded_height: Pixels before rotation.
        pixel_format: FFmpeg's name of the decoded format.
        bits_per_sample: Bits of its widest sample; more than 8 take ``dtype="native"`` to be read whole.
        colorspace: The matrix that the stream is tagged with.
        color_range: ``limited``, ``full`` or ``unspecified``.
        rotation: Degrees counter-clockwise by which frames are turned for display.
        frames: Frames displayed.
        duration_seconds: From the first frame to the end of the last, segment after segment.
        first_pts: Ticks of the first frame.
        first_pts_ns: Its time in nanoseconds, as references store it.
        time_base: Seconds a tick, a fraction.
        is_constant_rate: Whether all gaps between pts are equal; None for a single frame.
        frame_rate: Frames a second as a fraction such as ``30000/1001``, where the rate is constant.
        average_frame_rate: Frames a second by the first and last pts; None for a single frame.
        shortest_gap_seconds: Between the pts of two frames that follow one another; None for a single frame.
        longest_gap_seconds: The same.
        random_access_points: Packets at which decoding of some frame begins.
        gop_frames_min: Frames from one random access point to the next, in decode order.
        gop_frames_median: The same.
        gop_frames_max: The same.
        packets: All packets, output or not.
        hidden_packets: Packets that are decoded but never output.
        verified: What was verified when the index was made: ``full`` where the bytes of every packet were
            read, and no picture was decoded; ``decoded`` where every picture was, too; ``sparse`` where
            only the packets were read that decoding begins at, so that checksums are unknown.
        is_cut_short: Whether a file ends before its container does, so that frames are lost.
        damaged_packets: Packets that are known to be damaged; all of them where ``verified`` is ``decoded``.
        damaged_frames: Frames that these touch: reading one is an error.
        repeated_times: Frames that are never output, since another one has their time.
        droppable_share: Share of packets that no other frame needs, 0 to 1; None where that is not known.
        packets_per_random_frame: Packets decoded for one frame by itself, on average over all frames.
        is_addressable: Whether packets are read by their byte ranges, without a demuxer.
    """

    uri: str
    index: str
    location: IndexLocation | None
    index_uri: str | None
    segments: int
    length_bytes: int
    container: str
    codec: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    pixel_format: str
    bits_per_sample: int
    colorspace: str
    color_range: str
    rotation: int
    frames: int
    duration_seconds: float
    first_pts: int
    first_pts_ns: int
    time_base: str
    is_constant_rate: bool | None
    frame_rate: str | None
    average_frame_rate: float | None
    shortest_gap_seconds: float | None
    longest_gap_seconds: float | None
    random_access_points: int
    gop_frames_min: int
    gop_frames_median: float
    gop_frames_max: int
    packets: int
    hidden_packets: int
    verified: str
    is_cut_short: bool
    damaged_packets: int
    damaged_frames: int
    repeated_times: int
    droppable_share: float | None
    packets_per_random_frame: float
    is_addressable: bool

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name, as values of JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the report as a table of two columns."""
        return two_columns(_text_rows(self))


def report_on(
    uri: str,
    tables: Sequence[SegmentTable],
    index: str,
    location: IndexLocation | None = None,
    index_uri: str | None = None,
) -> VideoReport:
    """Return what a video is like.

    Args:
        uri: The video.
        tables: Its segments in order, at least one, each with at least one frame. What cannot be added
            up, such as the codec and the size, is that of the first.
        index: The state of its index.
        location: Where that index stands.
        index_uri: Its path or URI.

    Raises:
        CorruptMediaError: No segments, or one without frames.
    """
    if not tables or not all(len(table) for table in tables):
        raise CorruptMediaError("expected segments with at least one frame each, found none", uri=uri)
    first = tables[0]
    info = first.info
    height, width = info.display_size
    rate = _rate(tables)
    problems = problems_of(tables)
    gops = np.concatenate([gop_lengths(table) for table in tables])
    frames, packets = sum(len(table) for table in tables), sum(len(table.packets) for table in tables)
    return VideoReport(
        uri=redact(uri),
        index=index,
        location=location,
        index_uri=None if index_uri is None else redact(index_uri),
        segments=len(tables),
        length_bytes=sum(table.info.length for table in tables),
        container=_one_or_all(table.info.container for table in tables),
        codec=_one_or_all(table.info.codec for table in tables),
        width=width,
        height=height,
        coded_width=info.width,
        coded_height=info.height,
        pixel_format=_one_or_all(table.info.pixel_format for table in tables),
        bits_per_sample=max(sample_format(table.info.pixel_format).bits for table in tables),
        colorspace=_COLORSPACES.get(info.colorspace, f"AVColorSpace {info.colorspace}"),
        color_range=_COLOR_RANGES.get(info.color_range, f"AVColorRange {info.color_range}"),
        rotation=info.rotation,
        frames=frames,
        duration_seconds=float(sum((table.seconds for table in tables), Fraction(0))),
        first_pts=int(first.pts[0]),
        first_pts_ns=int(first.pts_ns[0]),
        time_base=_fraction(info.time_base),
        is_constant_rate=rate.is_constant,
        frame_rate=_fraction(1 / rate.shortest) if rate.shortest and rate.is_constant else None,
        average_frame_rate=float(1 / rate.average) if rate.average else None,
        shortest_gap_seconds=None if rate.shortest is None else float(rate.shortest),
        longest_gap_seconds=None if rate.longest is None else float(rate.longest),
        random_access_points=len(gops),
        gop_frames_min=int(gops.min()),
        gop_frames_median=float(np.median(gops)),
        gop_frames_max=int(gops.max()),
        packets=packets,
        hidden_packets=packets - frames,
        verified=_verified(tables),
        is_cut_short=problems.cut_short > 0,
        damaged_packets=sum(int(table.packets.is_corrupt.sum()) for table in tables),
        damaged_frames=problems.damaged_frames,
        repeated_times=problems.repeated_times,
        droppable_share=_droppable_share(tables),
        packets_per_random_frame=sum(int(packets_for_each_frame(table).sum()) for table in tables) / frames,
        is_addressable=all(table.info.addressable for table in tables),
    )


def _verified(tables: Sequence[SegmentTable]) -> str:
    """Return the lowest level of verification of any segment."""
    found = {table.info.verified for table in tables}
    return next((kind for kind in (SPARSE, FULL) if kind in found), DECODED)


def packets_for_each_frame(table: SegmentTable) -> Int64Array:
    """Return int64 ``(n,)``: how many packets are fed to a decoder to get each frame by itself.

    The rule of a plan for one frame, for all frames at once: the packets from ``start`` to the
    frame's own, or as far past it as the segment looks ahead, without those that no other frame
    needs; the frame's own packet is always among them.
    """
    needed = needed_mask(table, np.arange(len(table.packets)))
    needed_before = np.concatenate([[0], np.cumsum(needed)]).astype(np.int64)
    last = np.minimum(table.packet + table.info.lookahead_packets, len(table.packets) - 1)
    own = (~needed[table.packet]).astype(np.int64)
    counts: Int64Array = needed_before[last + 1] - needed_before[table.start] + own
    return counts


def gop_lengths(table: SegmentTable) -> Int64Array:
    """Return int64: the frames from each random access point to the next, in decode order."""
    points = table.random_access_points
    group = np.searchsorted(points, table.packet, side="right") - 1
    return np.bincount(group, minlength=len(points)).astype(np.int64)


@dataclass(frozen=True)
class _Rate:
    """Gaps between the pts of consecutive frames, in exact seconds; None without any."""

    shortest: Fraction | None
    longest: Fraction | None
    average: Fraction | None

    @property
    def is_constant(self) -> bool | None:
        return None if self.shortest is None else self.shortest == self.longest


def _rate(tables: Sequence[SegmentTable]) -> _Rate:
    """Return the gaps within segments; gaps between segments belong to no frame rate."""
    gaps = [(np.diff(table.pts), table.info.time_base) for table in tables if len(table) > 1]
    if not gaps:
        return _Rate(None, None, None)
    whole = sum((int(ticks.sum()) * time_base for ticks, time_base in gaps), Fraction(0))
    return _Rate(
        shortest=min(int(ticks.min()) * time_base for ticks, time_base in gaps),
        longest=max(int(ticks.max()) * time_base for ticks, time_base in gaps),
        average=whole / sum(len(ticks) for ticks, _ in gaps),
    )


def _droppable_share(tables: Sequence[SegmentTable]) -> float | None:
    flags = np.concatenate([table.packets.is_reference for table in tables])
    return None if (flags == UNKNOWN).all() else float((flags == 0).mean())


def _one_or_all(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _fraction(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def two_columns(rows: Sequence[tuple[str, str]]) -> str:
    """Return rows of a name and a value as aligned text.

    >>> print(two_columns([("codec", "h264"), ("frames", "300")]))
    codec   h264
    frames  300
    """
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _text_rows(report: VideoReport) -> list[tuple[str, str]]:
    segments = [("segments", str(report.segments))] if report.segments > 1 else []
    location = [("index location", _LOCATIONS[report.location])] if report.location else []
    return [
        ("video", report.uri),
        ("index", _index_text(report.index)),
        *location,
        *segments,
        ("file size", f"{report.length_bytes} bytes"),
        ("container", report.container),
        ("codec", report.codec),
        ("size", f"{report.width}x{report.height}, coded {report.coded_width}x{report.coded_height}"),
        ("rotation", f"{report.rotation} degrees counter-clockwise" if report.rotation else "none"),
        ("pixel format", f"{report.pixel_format}, {report.bits_per_sample} bits a sample"),
        ("colour", f"{report.colorspace}, range {report.color_range}"),
        ("frames", str(report.frames)),
        ("duration", f"{report.duration_seconds:.6f} s"),
        ("first pts", f"{report.first_pts} of {report.time_base} s, {report.first_pts_ns} ns"),
        ("frame rate", _rate_text(report)),
        ("random access points", str(report.random_access_points)),
        ("GOP length", _gop_text(report)),
        ("packets", f"{report.packets}, {report.hidden_packets} never displayed"),
        ("verified", _verified_text(report.verified)),
        ("cut short", "yes, frames at the end are lost" if report.is_cut_short else "no sign of it"),
        ("damaged", _damage_text(report)),
        ("repeated times", _repeated_text(report.repeated_times)),
        ("droppable packets", _share_text(report.droppable_share)),
        ("packets per random frame", f"{report.packets_per_random_frame:.2f} on average"),
        ("packets addressable", "yes" if report.is_addressable else "no, read through a demuxer"),
    ]


def _index_text(state: str) -> str:
    return state if state == FRESH else f"{state}, the video was scanned"


def _rate_text(report: VideoReport) -> str:
    if report.average_frame_rate is None:
        return "one frame"
    if report.frame_rate is not None:
        return f"constant, {report.frame_rate} ({report.average_frame_rate:.3f} a second)"
    assert report.shortest_gap_seconds is not None
    assert report.longest_gap_seconds is not None
    return (
        f"variable, {report.average_frame_rate:.3f} a second on average, "
        f"gaps of {report.shortest_gap_seconds:.6f} to {report.longest_gap_seconds:.6f} s"
    )


def _gop_text(report: VideoReport) -> str:
    return (
        f"{report.gop_frames_min} / {report.gop_frames_median:g} / {report.gop_frames_max} "
        "frames (shortest / median / longest)"
    )


def _verified_text(verified: str) -> str:
    if verified == SPARSE:
        return "the packets that decoding begins at; checksums are not known (index --full reads everything)"
    if verified == DECODED:
        return "the bytes of all packets, and all pictures by decoding them"
    return "the bytes of all packets; no picture was decoded (index --decode does)"


def _damage_text(report: VideoReport) -> str:
    if not report.damaged_packets:
        return "nothing" if report.verified == DECODED else "nothing that can be found without decoding"
    packets, frames = counted(report.damaged_packets, "packet"), counted(report.damaged_frames, "frame")
    return f"{packets} damaged; {frames} cannot be read for it"


def _repeated_text(count: int) -> str:
    return f"{count}, never displayed: other frames have their times" if count else "none"


def _share_text(share: float | None) -> str:
    return "not known for this codec" if share is None else f"{share:.1%}"
