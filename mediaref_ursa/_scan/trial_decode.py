"""Trial decodes: linear decodes of streams whose headers do not reveal which packets give frames."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from av.video.frame import PictureType, VideoFrame

from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import CorruptMediaError, UnsupportedMediaError
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._model.segment import EncodedPacket, SegmentInfo
from mediaref_ursa._pyav.codec import decode_packets, open_context, use_one_thread
from mediaref_ursa._pyav.convert import FrameConverter
from mediaref_ursa._pyav.demux import open_video, packets
from mediaref_ursa._pyav.errors import foreign_errors
from mediaref_ursa._pyav.palettes import palette_of
from mediaref_ursa._scan.missing_times import NO_PTS

_PREDICTED = (int(PictureType.P), int(PictureType.B))


@dataclass(frozen=True)
class TrialDecode:
    """The frames that a linear decode gives.

    Attributes:
        numbers: int64 ``(n,)``, the packet of each frame, in the order of output.
        pts: int64 ``(n,)``, the time that the container's own decoder reports for it, in ticks, or
            ``NO_PTS``; empty where only a part was decoded.
        pixels: CRC-32 of the RGBA pixels of each frame that a packet gives, by packet; empty unless asked
            for.
        predicted: Packets whose frames the decoder itself calls predicted ones.
        refused: Packets that the decoder refuses; it goes on with the next, as players do.
    """

    numbers: Int64Array
    pts: Int64Array
    pixels: dict[int, list[int]]
    predicted: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()

    @property
    def ambiguous(self) -> frozenset[int]:
        """Packets with two frames and others between them, so that the frame depends on how far one reads."""
        changes = np.append(True, self.numbers[1:] != self.numbers[:-1])
        stretches, counts = np.unique(self.numbers[changes[: len(self.numbers)]], return_counts=True)
        return frozenset(stretches[counts > 1].tolist())


class PixelCrc:
    """Checksums of pictures converted to RGBA, of any size."""

    def __init__(self) -> None:
        self._converters: dict[int, FrameConverter] = {}

    def value(self, frame: VideoFrame) -> int:
        """Return the CRC-32 of a frame's RGBA pixels."""
        pixels = frame.width * frame.height
        if pixels not in self._converters:
            self._converters[pixels] = FrameConverter(PixelSpec(colorspace="RGBA", max_pixels=pixels))
        return zlib.crc32(self._converters[pixels].convert(frame, 0, uri="").data)


def trial_decode_in_decode_order(
    reader: RangeReader, info: SegmentInfo, *, stop: int | None = None, with_pixels: bool = False
) -> TrialDecode:
    """Decode the first ``stop`` packets, or all, from the first one on.

    Raises:
        UnsupportedMediaError: The container's own decoder gives other frames.
    """
    discarded: set[int] = set()
    numbers: list[int] = []
    pixels: dict[int, list[int]] = {}
    crcs: list[int] = []
    predicted: set[int] = set()
    refused: set[int] = set()
    crc = PixelCrc()
    source = islice(numbered_packets(reader, info, discarded), stop)
    for number, frame in decode_packets(open_context(info), source, info, refused):
        if number in discarded:
            continue
        numbers.append(number)
        if with_pixels:
            crcs.append(crc.value(frame))
            pixels.setdefault(number, []).append(crcs[-1])
            if int(frame.pict_type) in _PREDICTED:
                predicted.add(number)
    given = np.array(numbers, dtype=np.int64)
    if stop is not None:
        return TrialDecode(given, np.empty(0, dtype=np.int64), pixels, refused=frozenset(refused))
    reported = list(_reported(reader, info, with_pixels=with_pixels))
    if len(reported) != len(numbers) or [crc for _, crc in reported if crc is not None] != crcs:
        raise UnsupportedMediaError(
            f"{info.codec} in {info.container} cannot be decoded packet by packet here: expected the "
            f"{len(reported)} frames of the container's own decoder, found {len(numbers)}, or other pixels",
            uri=info.uri,
        )
    pts = np.array([pts for pts, _ in reported], dtype=np.int64)
    return TrialDecode(given, pts, pixels, frozenset(predicted), frozenset(refused))


def numbered_packets(
    reader: RangeReader, info: SegmentInfo, discarded: set[int] | None = None
) -> Iterator[EncodedPacket]:
    """Yield all packets in decode order; numbers of those that an edit list drops go to ``discarded``."""
    palette = None
    with open_video(reader, uri=info.uri, stream_index=info.stream_index) as (container, stream):
        for number, packet in enumerate(packets(container, stream, uri=info.uri)):
            if packet.is_discard and discarded is not None:
                discarded.add(number)
            palette = palette_of(packet) or palette
            yield EncodedPacket(number, bytes(packet), packet.is_keyframe, palette)


def _reported(
    reader: RangeReader, info: SegmentInfo, *, with_pixels: bool
) -> Iterator[tuple[int, int | None]]:
    """Yield the time, and the checksum if requested, of each frame that the container's decoder gives."""
    with open_video(reader, uri=info.uri, stream_index=info.stream_index) as (container, stream):
        use_one_thread(stream.codec_context)
        crc = PixelCrc()
        for packet in chain(packets(container, stream, uri=info.uri), [None]):
            frames: list[VideoFrame] = []
            with suppress(CorruptMediaError), foreign_errors("decode a packet", uri=info.uri):
                frames = stream.codec_context.decode(packet)
            for frame in frames:
                yield NO_PTS if frame.pts is None else frame.pts, crc.value(frame) if with_pixels else None


def pixel_crc(frame: VideoFrame) -> int:
    """Return the CRC-32 of a frame's RGBA pixels."""
    return PixelCrc().value(frame)
