"""The scan of a file: every packet's offset, flags and checksum, read from the bytes in one pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from loguru import logger

from mediaref_ursa._bitstream import Inspector, inspector_for
from mediaref_ursa._bitstream.checksums import ffv1_checksums_hold
from mediaref_ursa._containers.broken_files import missing_part
from mediaref_ursa._containers.image_kinds import is_image_file
from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._containers.sniff import SNIFF_BYTES, known_container
from mediaref_ursa._core.errors import CorruptMediaError, UnsupportedMediaError
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._model.segment import (
    ALPHA_IN_FRAMES,
    ALPHA_UNREADABLE,
    SPARSE,
    UNKNOWN,
    SegmentInfo,
    SegmentTable,
)
from mediaref_ursa._pyav.alpha import AlphaCollector, has_unreadable_alpha
from mediaref_ursa._pyav.demux import open_video, packets, refuse_changes
from mediaref_ursa._pyav.palettes import PaletteCollector
from mediaref_ursa._pyav.sample_formats import sample_format
from mediaref_ursa._scan.decode_check import checked_by_decoding
from mediaref_ursa._scan.exact_starts import exact_starts
from mediaref_ursa._scan.missing_times import NO_PTS, frame_times
from mediaref_ursa._scan.options import FULL_SCAN, Progress, ScanOptions
from mediaref_ursa._scan.packet_collector import PacketCollector
from mediaref_ursa._scan.packet_columns import (
    PacketColumns,
    segment_table,
    starts_of,
    timed_packets,
    times_contradict_order,
    uncertain_head,
)
from mediaref_ursa._scan.probe import probe_segment
from mediaref_ursa._scan.sparse import sparse_columns
from mediaref_ursa._scan.sync_samples import DeclinedError
from mediaref_ursa._scan.ties import output_rank, tied_packets
from mediaref_ursa._scan.trial_decode import numbered_packets, trial_decode_in_decode_order

_OFFSET_GUESSES = (0, 4)  # MP4, MOV and AVI; then the block header of Matroska
_OFFSET_SEARCH_BYTES = 256
PROGRESS_EVERY_PACKETS = 256
_FIRST_BYTES = 64 << 10  # of the first packet, which hold the messages before its picture
_LOOKAHEAD_PACKETS = 40
"""Packets fed beyond a frame's own if it is complete, or its colours are known, only when it is output."""


def scan_segment(
    reader: RangeReader,
    *,
    uri: str,
    etag: str | None = None,
    options: ScanOptions = FULL_SCAN,
    progress: Progress | None = None,
) -> SegmentTable:
    """Read one video file once and return its frames and packets.

    Nothing but the columns stays in memory. Random access points are read from the bitstream; the
    offset of every packet is verified against its bytes.

    Args:
        reader: The file.
        uri: Recorded in the table and named in errors.
        etag: Recorded in the table.
        options: What is read, and of which stream.
        progress: Called now and then with bytes done and bytes in all.

    Returns:
        The table; its ``timestamp`` column is ``pts * time_base``.

    Raises:
        UnsupportedMediaError: Not a video, or one whose codec cannot be decoded here.
        CorruptMediaError: A video without frames, or one that FFmpeg cannot read.
        LimitExceededError: More samples than the file can hold, or more pixels than the options allow.
    """
    try:
        info = probe_segment(
            reader, uri=uri, etag=etag, stream_index=options.stream_index, max_pixels=options.max_pixels
        )
    except (CorruptMediaError, UnsupportedMediaError) as error:
        _explain(error, reader)
        raise
    if options.full is not True and not options.decode:
        try:
            return _sparse_table(reader, info, progress, whatever_it_costs=options.full is False)
        except (DeclinedError, CorruptMediaError) as error:
            logger.info("all of {} is read: {}", redact(uri), error)
    with reader.streaming():
        table = _full_table(reader, info, progress)
        return checked_by_decoding(reader, table) if options.decode else table


def _explain(error: CorruptMediaError | UnsupportedMediaError, reader: RangeReader) -> None:
    """Raise an error that names the missing part of the file, if it is known.

    Raises:
        CorruptMediaError: With that.
    """
    container = known_container(reader.read_at(0, SNIFF_BYTES))
    if container is None or is_image_file(reader.length, reader.read_at):
        return
    missing = missing_part(container, reader.length, reader.read_at)
    if missing is not None:
        raise CorruptMediaError(missing, uri=error.uri) from error


def _full_table(reader: RangeReader, info: SegmentInfo, progress: Progress | None) -> SegmentTable:
    inspector = inspector_for(info.codec, info.extradata)
    collector, alpha = _read_packets(reader, info, inspector, progress)
    if not len(collector):
        raise CorruptMediaError("expected a video, found a video stream without packets", uri=info.uri)
    if collector.ends_damaged and info.container != "mpegts":
        info = replace(info, cut_short=True)
    columns = collector.finish(info)
    info = _with_facts(info, columns)
    unread = inspector is None or columns.needs_trial_decode or times_contradict_order(columns, info)
    if unread or columns.is_uncertain:
        columns = _learned_by_decoding(reader, info, columns, verify_starts=unread)
    else:
        columns = _with_decoded_head(reader, info, columns, _uncertain_head(columns))
        columns = _with_broken_ties(reader, info, columns)
    info = replace(info, untimed=columns.untimed)
    has_layer = getattr(inspector, "has_alpha_layer", False)
    info = alpha.facts(info) if alpha is not None else _with_alpha_of_frames(info, reader, has_layer)
    return segment_table(info, columns)


def _sparse_table(
    reader: RangeReader,
    info: SegmentInfo,
    progress: Progress | None,
    *,
    whatever_it_costs: bool,
) -> SegmentTable:
    """Raise a DeclinedError where a full scan is needed, or costs little more."""
    columns = sparse_columns(reader, info, progress=progress, whatever_it_costs=whatever_it_costs)
    info = replace(info, addressable=True, verified=SPARSE, start_headers=columns.start_headers)
    head = _uncertain_head(columns)
    if not whatever_it_costs and 2 * (sum(columns.size[: head or 0]) + reader.bytes_read) > reader.length:
        raise DeclinedError("the beginning, which must be decoded, is half of the file")
    columns = _with_decoded_head(reader, info, columns, head)
    if times_contradict_order(columns, info):
        raise DeclinedError("times that are not those of presentation")
    if tied_packets(columns.pts, timed_packets(columns)):
        raise DeclinedError("frames that share a time")
    if progress is not None:
        progress(reader.length, reader.length)
    return segment_table(
        _with_alpha_of_frames(info, reader, _has_alpha_layer(info, reader, columns)), columns
    )


def _uncertain_head(columns: PacketColumns) -> int | None:
    return uncertain_head(columns.pts, columns.displayed, columns.random_access)


def _with_decoded_head(
    reader: RangeReader, info: SegmentInfo, columns: PacketColumns, head: int | None
) -> PacketColumns:
    """Decode the first packets, if it is uncertain which of them give frames, and correct the columns."""
    if head is None:
        return columns
    trial_decode = trial_decode_in_decode_order(reader, info, stop=head)
    displayed = columns.displayed.copy()
    displayed[:head] &= np.isin(np.arange(head), [*trial_decode.numbers, *trial_decode.refused])
    columns = columns.with_damaged(trial_decode.refused | trial_decode.ambiguous)
    return replace(columns, displayed=displayed)


def _with_broken_ties(reader: RangeReader, info: SegmentInfo, columns: PacketColumns) -> PacketColumns:
    """Decode frames that share a time, to find the one that is output last, and correct the columns."""
    ties = tied_packets(columns.pts, timed_packets(columns))
    if not ties:
        return columns
    firsts = np.array([min(tie) for tie in ties], dtype=np.int64)
    starts = starts_of(columns, firsts).tolist()
    rank = output_rank(ties, starts, len(columns), numbered_packets(reader, info), info)
    return replace(columns, rank=rank)


def _read_packets(
    reader: RangeReader, info: SegmentInfo, inspector: Inspector | None, progress: Progress | None
) -> tuple[PacketCollector, AlphaCollector | None]:
    columns = PacketCollector()
    guess = _OFFSET_GUESSES[0]
    failing: list[int] = []
    with open_video(reader, uri=info.uri, stream_index=info.stream_index) as (container, stream):
        alpha, palettes = AlphaCollector.from_stream(info, stream), PaletteCollector(info.uri)
        for packet in packets(container, stream, uri=info.uri):
            data = bytes(packet)
            refuse_changes(packet, info)
            if columns.addressable:
                offset = _locate(reader, packet.pos, data, guess)
                columns.addressable = offset is not None
                columns.offset.append(UNKNOWN if offset is None else offset)
                guess = guess if offset is None else offset - int(packet.pos or 0)
            palettes.add(len(columns), packet)
            columns.add(packet, data, inspector)
            if info.codec == "ffv1" and not ffv1_checksums_hold(data):
                failing.append(len(columns) - 1)
            if alpha is not None:
                alpha.add(reader, packet, data, columns.offset[-1])
            if progress is not None and len(columns) % PROGRESS_EVERY_PACKETS == 0:
                progress(min(reader.tell(), reader.length), reader.length)
    if progress is not None:
        progress(reader.length, reader.length)
    if len(failing) < len(columns):  # else the stream has no checksums
        for packet_number in failing:
            columns.mark_damaged(packet_number)
    columns.palettes = tuple(palettes.palettes)
    return columns, alpha


def _locate(reader: RangeReader, pos: int | None, data: bytes, guess: int) -> int | None:
    """Return the offset of a packet's bytes in the file, None if the file does not contain them as such."""
    if pos is None or pos < 0:
        return None
    around = reader.read_at(pos, len(data) + _OFFSET_SEARCH_BYTES)
    for delta in (guess, *_OFFSET_GUESSES):
        if around.startswith(data, delta):
            return pos + delta
    delta = around.find(data)
    return None if delta < 0 else pos + delta


def _learned_by_decoding(
    reader: RangeReader, info: SegmentInfo, columns: PacketColumns, *, verify_starts: bool
) -> PacketColumns:
    """Decode the segment to find which packets give frames, their times, and their start packets.

    Decoders begin at what may be a random access point only where that gives the frames of the linear decode,
    if ``verify_starts``: else the bits have said it.
    """
    candidates = np.flatnonzero(columns.random_access)
    trial_decode = trial_decode_in_decode_order(reader, info, with_pixels=verify_starts)
    times = frame_times(trial_decode.pts, columns.duration[trial_decode.numbers], trial_decode.numbers, info)
    trial_decode = replace(trial_decode, pts=times.pts)
    columns = columns.with_damaged(trial_decode.refused | trial_decode.ambiguous)
    # Packets that a decoder refuses stay displayed: asking for their frames is an error.
    displayed = columns.displayed & np.isin(np.arange(len(columns)), [*trial_decode.refused])
    displayed[trial_decode.numbers] = True
    pts = columns.pts.copy()
    pts[trial_decode.numbers] = trial_decode.pts
    rank = np.zeros(len(columns), dtype=np.int64)
    rank[trial_decode.numbers] = np.arange(len(trial_decode.numbers))
    exact = None
    if verify_starts:
        exact = exact_starts(numbered_packets(reader, info), info, candidates, trial_decode)
    untimed = int((trial_decode.pts == NO_PTS).sum())
    if untimed:
        logger.warning(
            "{} frames of {} have no time, so that no reference names them", untimed, redact(info.uri)
        )
    return replace(
        columns,
        pts=pts,
        displayed=displayed,
        random_access=columns.random_access & (pts != NO_PTS),
        rank=rank,
        exact=exact,
        untimed=times.untimed,
    )


def _has_alpha_layer(info: SegmentInfo, reader: RangeReader, columns: PacketColumns) -> bool:
    """Whether the configuration or the first packet of a video says that another layer is its alpha."""
    inspector = inspector_for(info.codec, info.extradata)
    if inspector is None or not hasattr(inspector, "has_alpha_layer"):
        return False
    first = reader.read_at(int(columns.offset[0]), min(int(columns.size[0]), _FIRST_BYTES))
    inspector.inspect(memoryview(first))
    return bool(inspector.has_alpha_layer)


def _with_alpha_of_frames(info: SegmentInfo, reader: RangeReader, has_alpha_layer: bool) -> SegmentInfo:
    is_unreadable = has_unreadable_alpha(info, reader)
    is_unreadable |= has_alpha_layer and not sample_format(info.pixel_format).has_alpha
    return replace(info, alpha=ALPHA_UNREADABLE if is_unreadable else ALPHA_IN_FRAMES)


def _with_facts(info: SegmentInfo, columns: PacketColumns) -> SegmentInfo:
    return replace(
        info,
        addressable=columns.addressable,
        palettes=columns.palettes,
        lookahead_packets=_LOOKAHEAD_PACKETS if columns.needs_lookahead else 0,
        restartable=columns.restartable,
        start_headers=columns.start_headers,
    )
