"""Alpha in the side data of VP8 and VP9 packets: found by a scan, decoded as a second stream."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from mediaref_ursa._bitstream import Inspector, inspector_for
from mediaref_ursa._containers.encryption import ebml_elements
from mediaref_ursa._containers.image_kinds import has_alpha_track
from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._core.errors import CorruptMediaError
from mediaref_ursa._model.alpha import AlphaPackets
from mediaref_ursa._model.segment import (
    ALPHA_IN_FRAMES,
    ALPHA_UNREADABLE,
    SEPARATE_ALPHA,
    AlphaSplit,
    EncodedPacket,
    SegmentInfo,
)
from mediaref_ursa._pyav.codec import drain_context, feed_context, open_context
from mediaref_ursa._pyav.palettes import SHOWS_SIDE_DATA

_ADDITION: Literal["matroska_block_additional"] = "matroska_block_additional"
_ADDITION_ID_BYTES = 8
_ALPHA_ADDITION = 1  # BlockAddID of alpha
_SEARCH_BYTES = 64  # the elements of a block group between its block and its additions
_BLOCK_ADDITIONS = 0x75A1
_IN_BLOCK_GROUP = (
    _BLOCK_ADDITIONS,
    0x9B,
    0xFB,
    0x75A2,
    0xEC,
    0xFA,
)  # durations, references, padding (RFC 9559)
_FORMAT, _ALPHA_FORMAT = "yuv420p", "yuva420p"


@dataclass
class AlphaCollector:
    """The alpha of each packet of a scan.

    Attributes:
        info: The segment.
        inspector: Reads the packets of the alpha.
        is_readable: Whether all alpha so far stands in the file as such, after its packet.
    """

    info: SegmentInfo
    inspector: Inspector
    is_readable: bool = True
    start: list[int] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    crc32: list[int] = field(default_factory=list)
    random_access: list[bool] = field(default_factory=list)

    @classmethod
    def from_stream(cls, info: SegmentInfo, stream: VideoStream) -> AlphaCollector | None:
        """Return a collector for a segment that may have such alpha, else None."""
        inspector = inspector_for(info.codec, b"")
        if not info.has_block_additions or inspector is None:
            return None
        knows = SHOWS_SIDE_DATA or stream.metadata.get("alpha_mode") != "1"
        return cls(info, inspector, is_readable=knows)

    def add(self, reader: RangeReader, packet: Packet[VideoStream], data: bytes, offset: int) -> None:
        """Record the alpha of the next packet, at ``offset`` in the file; negative without an offset."""
        alpha = _alpha_of(packet)
        start = crc = 0
        if alpha:
            found = reader.read_at(offset, len(data) + len(alpha) + _SEARCH_BYTES) if offset >= 0 else b""
            start = found.find(alpha, len(data))
            self.is_readable &= start >= 0
            crc = zlib.crc32(found[: start + len(alpha)])
        elif not SHOWS_SIDE_DATA:
            self.is_readable &= not _has_additions(reader, offset + len(data))
        self.start.append(max(start, 0))
        self.size.append(len(alpha))
        self.crc32.append(crc)
        self.random_access.append(bool(alpha) and self.inspector.inspect(memoryview(alpha)).random_access)

    def facts(self, info: SegmentInfo) -> SegmentInfo:
        """Return the segment's facts, completed with the location of its alpha."""
        if not self.is_readable or (any(self.size) and not (info.addressable and self._has_planes)):
            return replace(info, alpha=ALPHA_UNREADABLE)
        if not any(self.size):
            return replace(info, alpha=ALPHA_IN_FRAMES)
        packets = AlphaPackets.from_lists(self.start, self.size, self.crc32, self.random_access)
        return replace(info, alpha=SEPARATE_ALPHA, alpha_packets=packets.encoded())

    @property
    def _has_planes(self) -> bool:
        return self.info.pixel_format == _FORMAT


def _has_additions(reader: RangeReader, end: int) -> bool:
    """Return whether BlockAdditions follow a block in the file, which PyAV does not report."""
    elements = ebml_elements(end, min(end + _SEARCH_BYTES, reader.length), reader.read_at)
    in_group = itertools.takewhile(lambda element: element.kind in _IN_BLOCK_GROUP, elements)
    return any(element.kind == _BLOCK_ADDITIONS for element in in_group)


def _alpha_of(packet: Packet[VideoStream]) -> bytes:
    """Return the bytes of a packet's alpha, empty where it has none."""
    if not (SHOWS_SIDE_DATA and packet.has_sidedata(_ADDITION)):
        return b""
    addition = bytes(packet.get_sidedata(_ADDITION))
    if int.from_bytes(addition[:_ADDITION_ID_BYTES], "big") != _ALPHA_ADDITION:
        return b""
    return addition[_ADDITION_ID_BYTES:]


def has_unreadable_alpha(info: SegmentInfo, reader: RangeReader) -> bool:
    """Return whether a segment has alpha in a track of its own, as AVIF sequences do."""
    return info.container.startswith("mov") and has_alpha_track(reader.length, reader.read_at)


class AlphaDecoder:
    """Decodes colours and alpha, and puts frames of both together. For one thread at a time.

    As libvpx's decoder in FFmpeg does, it gives no frame for a packet that has no alpha.

    Args:
        info: The segment.
        split: Where the parts of each packet are.
        max_pixels: The largest picture.

    Raises:
        UnsupportedMediaError: There is no decoder for the codec.
    """

    def __init__(self, info: SegmentInfo, split: AlphaSplit, max_pixels: int) -> None:
        self._uri = info.uri
        self._split = split
        self._color, self._alpha = (
            open_context(info, max_pixels=max_pixels, refuses_damage=True) for _ in range(2)
        )
        self._waiting: dict[int, dict[str, VideoFrame]] = {}

    def feed(self, encoded: EncodedPacket) -> list[VideoFrame]:
        """Feed a packet that was read with its alpha; return the frames that come out.

        Raises:
            CorruptMediaError: A decoder refuses it, or colours and alpha differ in size.
        """
        number = encoded.number
        data = memoryview(encoded.data)
        first, size = int(self._split.alpha_start[number]), int(self._split.alpha_size[number])
        colors = data[: int(self._split.color_size[number])]
        frames = self._put("color", feed_context(self._color, encoded._replace(data=colors), uri=self._uri))
        if size:
            alpha = encoded._replace(data=data[first : first + size])
            frames += self._put("alpha", feed_context(self._alpha, alpha, uri=self._uri))
        return frames

    def drain(self) -> list[VideoFrame]:
        """Return the frames that the decoder holds back; it must begin anew after that."""
        frames = self._put("color", drain_context(self._color, uri=self._uri))
        return frames + self._put("alpha", drain_context(self._alpha, uri=self._uri))

    def flush_buffers(self) -> None:
        """Reset both decoders, so that the next packet may be any random access point."""
        self._waiting.clear()
        for context in (self._color, self._alpha):
            context.flush_buffers()

    def _put(self, part: str, frames: list[VideoFrame]) -> list[VideoFrame]:
        """Return the frames whose colours and alpha are both decoded."""
        whole = []
        for frame in frames:
            if frame.pts is None:
                continue
            parts = self._waiting.setdefault(frame.pts, {})
            parts[part] = frame
            if len(parts) == 2:
                whole.append(self._merged(parts["color"], parts["alpha"]))
                self._waiting = {n: held for n, held in self._waiting.items() if n > frame.pts}
        return whole

    def _merged(self, color: VideoFrame, alpha: VideoFrame) -> VideoFrame:
        if (color.width, color.height) != (alpha.width, alpha.height) or color.format.name != _FORMAT:
            raise CorruptMediaError(
                f"expected alpha of the picture's size, found {color.width}x{color.height} "
                f"{color.format.name} with alpha of {alpha.width}x{alpha.height}",
                uri=self._uri,
            )
        merged = VideoFrame(color.width, color.height, _ALPHA_FORMAT)
        sources = [*color.planes, alpha.planes[0]]
        for target, source in zip(merged.planes, sources, strict=True):
            rows, columns = source.height, source.width
            _rows(target)[:rows, :columns] = _rows(source)[:rows, :columns]
        merged.pts = color.pts
        merged.colorspace, merged.color_range = color.colorspace, color.color_range
        return merged


def _rows(plane: Any) -> Any:
    """View a plane of bytes as its rows, padding included."""
    return np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)


Context = VideoCodecContext | AlphaDecoder
