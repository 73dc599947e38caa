"""Learning by decoding, where a stream's bits do not tell what its packets give."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice, pairwise

import numpy as np
from av.video.frame import VideoFrame

from mediaref_ursa._errors import CorruptMediaError, UnsupportedMediaError
from mediaref_ursa._frame_table import EncodedPacket, SegmentInfo
from mediaref_ursa._pixels import PixelSpec
from mediaref_ursa._pyav._convert import FrameConverter
from mediaref_ursa._pyav._decode import decode_packets, open_context, use_one_thread
from mediaref_ursa._pyav._demux import open_video, packets
from mediaref_ursa._pyav._foreign import foreign_errors
from mediaref_ursa._pyav._palettes import palette_of
from mediaref_ursa._reader import RangeReader
from mediaref_ursa._time import Int64Array


@dataclass(frozen=True)
class Trial:
    """The frames that a linear decode gives.

    Attributes:
        numbers: int64 ``(n,)``, the packet of each frame, in the order of output.
        pts: int64 ``(n,)``, the time that the container's own decoder reports for it, in ticks; empty
            where only a part was decoded.
        pixels: CRC-32 of each frame's RGB pixels by packet, empty unless asked for.
    """

    numbers: Int64Array
    pts: Int64Array
    pixels: dict[int, int]


def decode_order_trial(
    reader: RangeReader, info: SegmentInfo, *, stop: int | None = None, with_pixels: bool = False
) -> Trial:
    """Decode the first ``stop`` packets, or all, from the first one on.

    Raises:
        CorruptMediaError: A packet cannot be decoded.
        UnsupportedMediaError: The container's own decoder gives other frames.
    """
    hidden: set[int] = set()
    numbers: list[int] = []
    pixels: dict[int, int] = {}
    source = islice(numbered_packets(reader, info, hidden), stop)
    with _last_packet_may_be_refused(info):
        for number, frame in decode_packets(open_context(info), source, info):
            if number in hidden:
                continue
            numbers.append(number)
            if with_pixels:
                pixels[number] = pixel_crc(frame)
    if stop is not None:
        return Trial(np.array(numbers, dtype=np.int64), np.empty(0, dtype=np.int64), pixels)
    reported = list(_reported(reader, info, with_pixels=with_pixels))
    if len(reported) != len(numbers) or [crc for _, crc in reported if crc is not None] != [*pixels.values()]:
        raise UnsupportedMediaError(
            f"{info.codec} in {info.container} cannot be decoded packet by packet here: expected the "
            f"{len(reported)} frames of the container's own decoder, found {len(numbers)}, or other pixels",
            uri=info.uri,
        )
    return Trial(
        np.array(numbers, dtype=np.int64), np.array([pts for pts, _ in reported], dtype=np.int64), pixels
    )


def exact_starts(reader: RangeReader, info: SegmentInfo, candidates: Int64Array, trial: Trial) -> Int64Array:
    """Return those candidates from which decoding gives the frames of the linear decode.

    From each candidate the packets up to the next one are decoded afresh; every frame from the
    candidate's on must have the pixels that it has in the linear decode.
    """
    pts_of = dict(zip(trial.numbers.tolist(), trial.pts.tolist(), strict=True))
    bounds = [*candidates.tolist(), None]
    exact: list[int] = []
    for first, last in pairwise(bounds):
        if first is None or first not in pts_of:
            continue
        wanted = {n for n, t in pts_of.items() if n >= first and t >= pts_of[first] and n < (last or 1 << 62)}
        if wanted and _gives(reader, info, first, last, wanted, trial.pixels):
            exact.append(first)
    return np.array(exact, dtype=np.int64)


def _gives(
    reader: RangeReader,
    info: SegmentInfo,
    first: int,
    last: int | None,
    wanted: set[int],
    pixels: dict[int, int],
) -> bool:
    source = islice(numbered_packets(reader, info, set()), first, last)
    found: dict[int, int] = {}
    try:
        for number, frame in decode_packets(open_context(info), source, info):
            found[number] = pixel_crc(frame)
    except CorruptMediaError:
        return False
    return all(found.get(number) == pixels[number] for number in wanted)


def numbered_packets(reader: RangeReader, info: SegmentInfo, hidden: set[int]) -> Iterator[EncodedPacket]:
    """Yield all packets in decode order; add the numbers of those that an edit list hides to ``hidden``."""
    palette = None
    with open_video(reader, uri=info.uri, stream_index=info.stream_index) as (container, stream):
        for number, packet in enumerate(packets(container, stream, uri=info.uri)):
            if packet.is_discard:
                hidden.add(number)
            palette = palette_of(packet) or palette
            yield EncodedPacket(number, bytes(packet), packet.is_keyframe, palette)


@contextmanager
def _last_packet_may_be_refused(info: SegmentInfo) -> Iterator[None]:
    """Let a decoder refuse a packet of a file that is cut short: the last one may be a part of one."""
    try:
        yield
    except CorruptMediaError:
        if not info.cut_short:
            raise


def _reported(
    reader: RangeReader, info: SegmentInfo, *, with_pixels: bool
) -> Iterator[tuple[int, int | None]]:
    """Yield the time, and the checksum if asked for, of each frame that the container's decoder gives."""
    with open_video(reader, uri=info.uri, stream_index=info.stream_index) as (container, stream):
        use_one_thread(stream.codec_context)
        for packet in chain(packets(container, stream, uri=info.uri), [None]):
            frames: list[VideoFrame] = []
            with _last_packet_may_be_refused(info), foreign_errors("decode a packet", uri=info.uri):
                frames = stream.codec_context.decode(packet)
            for frame in frames:
                time = frame.pts if frame.pts is not None else frame.dts
                if time is None:
                    raise CorruptMediaError("expected a time for every frame, found none", uri=info.uri)
                yield time, pixel_crc(frame) if with_pixels else None


def pixel_crc(frame: VideoFrame) -> int:
    """Return the CRC-32 of a frame's RGB pixels."""
    converter = FrameConverter(PixelSpec(max_pixels=frame.width * frame.height))
    return zlib.crc32(converter.convert(frame, 0, uri="").tobytes())
