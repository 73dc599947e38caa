"""A run's packets as a small QuickTime movie, for decoders that take whole files. Pure.

The movie holds nothing but one video track whose samples are the run's packets, untouched. The first sample
is its only sync sample, so that no decoder seeks to a packet that a container merely calls a keyframe, and
each sample's time is the rank that its frame has in presentation order.

Boxes are those of ISO/IEC 14496-12; ``glbl``, which carries a codec's configuration as FFmpeg knows it, is
FFmpeg's own. Written by hand on purpose: a muxer of FFmpeg rewrites packets and chooses times, flags and edit
lists by rules of its own, and the decoder must see exactly the packets of the run.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._model.segment import SegmentInfo, SegmentTable

TICKS_PER_SECOND = 1000
"""Sample times are whole milliseconds, which a float64 of seconds keeps apart."""

_TAGS = {
    "av1": b"av01",
    "ffv1": b"FFV1",
    "flv": b"FLV1",
    "flv1": b"FLV1",
    "gif": b"gif ",
    "h263": b"h263",
    "h264": b"avc1",
    "hevc": b"hev1",
    "mjpeg": b"jpeg",
    "mpeg1video": b"m1v1",
    "mpeg2video": b"m2v1",
    "mpeg4": b"mp4v",
    "png": b"png ",
    "vp8": b"vp08",
    "vp9": b"vp09",
}
"""Sample entry types by which FFmpeg's QuickTime demuxer recognises codecs of any container."""

_UNSPECIFIED = 2  # AVColorPrimaries, AVColorTransferCharacteristic and AVColorSpace alike
_FULL_RANGE = 2  # AVColorRange
_QUARTER_TURNS = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}  # cosine and sine
_RESOLUTION = 72 << 16  # pixels an inch, 16.16
_MDAT_HEADER_BYTES = 16


class RunMovie:
    """A movie that is written sample by sample.

    Args:
        out: Where it is written to, from its start: a file open for reading and writing.
        info: What the samples are.
        rotation: Degrees counter-clockwise by which players turn the picture: 0, 90, 180 or 270.

    Raises:
        UnsupportedMediaError: A codec that QuickTime files have no name for.
    """

    def __init__(self, out: BinaryIO, info: SegmentInfo, rotation: int = 0) -> None:
        self._out = out
        self._rotation = rotation
        self._info = info
        self._tag = _tag(info)
        self._sizes: list[int] = []
        self._brand = _box(b"ftyp", b"qt  ", bytes(4), b"qt  ")
        out.write(self._brand + bytes(_MDAT_HEADER_BYTES))

    def add(self, data: bytes | memoryview) -> None:
        """Write the next sample."""
        self._out.write(data)
        self._sizes.append(len(data))

    def finish(self, ranks: Int64Array) -> None:
        """Write the sample tables; no sample can be added afterwards. May be called again.

        Args:
            ranks: int64 ``(n,)``, of each sample, where its frame stands in presentation order. No two
                are the same, and all are less than ``n``.
        """
        self._out.seek(len(self._brand) + _MDAT_HEADER_BYTES + sum(self._sizes))
        self._out.write(self._moov(ranks))
        self._out.truncate()
        self._out.seek(len(self._brand))
        self._out.write(struct.pack(">I4sQ", 1, b"mdat", _MDAT_HEADER_BYTES + sum(self._sizes)))
        self._out.seek(0)

    def time_of(self, rank: int) -> int:
        """Return the presentation time, in ticks, of the frame at a rank."""
        return rank + len(self._sizes)  # no sample may be displayed before it is decoded

    def _moov(self, ranks: Int64Array) -> bytes:
        ticks = len(self._sizes)
        header = _full_box(
            b"mvhd",
            struct.pack(">4xIIIIH10x", 0, TICKS_PER_SECOND, ticks, 0x10000, 0x100),
            _matrix(0),
            bytes(24),
            struct.pack(">I", 2),
        )
        return _box(b"moov", header, self._track(ranks, ticks))

    def _track(self, ranks: Int64Array, ticks: int) -> bytes:
        size = struct.pack(">II", self._info.width << 16 & 0xFFFFFFFF, self._info.height << 16 & 0xFFFFFFFF)
        turned = _matrix(self._rotation)
        header = _full_box(b"tkhd", struct.pack(">4xII4xI16x", 0, 1, ticks), turned, size, flags=3)
        media_header = _full_box(b"mdhd", struct.pack(">4xIIIHH", 0, TICKS_PER_SECOND, ticks, 0x55C4, 0))
        handler = _full_box(b"hdlr", b"mhlrvide", bytes(13))
        own_file = _full_box(b"dref", struct.pack(">I", 1), _full_box(b"url ", flags=1))
        media = _box(
            b"minf", _full_box(b"vmhd", bytes(8), flags=1), _box(b"dinf", own_file), self._samples(ranks)
        )
        return _box(b"trak", header, _box(b"mdia", media_header, handler, media))

    def _samples(self, ranks: Int64Array) -> bytes:
        count = len(self._sizes)
        delays = np.ones((count, 2), dtype=">u4")
        delays[:, 1] = ranks + count - np.arange(count)
        first = len(self._brand) + _MDAT_HEADER_BYTES
        return _box(
            b"stbl",
            _full_box(b"stsd", struct.pack(">I", 1), self._description()),
            _full_box(b"stts", struct.pack(">III", 1, count, 1)),
            _full_box(b"ctts", struct.pack(">I", count), delays.tobytes()),
            _full_box(b"stss", struct.pack(">II", 1, 1)),
            _full_box(b"stsz", struct.pack(">II", 0, count), np.array(self._sizes, dtype=">u4").tobytes()),
            _full_box(b"stsc", struct.pack(">IIII", 1, 1, count, 1)),
            _full_box(b"co64", struct.pack(">IQ", 1, first)),
        )

    def _description(self) -> bytes:
        info = self._info
        depth = info.bits_per_coded_sample or 24
        parts = [
            struct.pack(">6xH16x", 1),
            struct.pack(">HHII4xH32xHh", info.width, info.height, _RESOLUTION, _RESOLUTION, 1, depth, -1),
        ]
        if info.extradata:
            parts.append(_box(b"glbl", info.extradata))
        if info.colorspace != _UNSPECIFIED or info.color_range == _FULL_RANGE:
            full = 0x80 if info.color_range == _FULL_RANGE else 0
            colours = struct.pack(">HHHB", _UNSPECIFIED, _UNSPECIFIED, info.colorspace, full)
            parts.append(_box(b"colr", b"nclx", colours))
        return _box(self._tag, *parts)


def presentation_ranks(table: SegmentTable, packets: Int64Array) -> Int64Array:
    """Return the rank of each packet's frame among those of ``packets`` in presentation order.

    Packets without a frame stand before all others: a decoder that waits for a frame at its time or later
    then never takes theirs.

    Args:
        table: The segment.
        packets: int64 ``(m,)``, ascending.
    """
    order = np.lexsort((packets, table.frame_of_packet[packets]))
    ranks = np.empty(len(packets), dtype=np.int64)
    ranks[order] = np.arange(len(packets))
    return ranks


def _matrix(rotation: int) -> bytes:
    """Return the matrix that turns a picture counter-clockwise, 16.16 and in its last column 2.30."""
    cosine, sine = (part << 16 for part in _QUARTER_TURNS[rotation])
    return struct.pack(">9i", cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30)


def _tag(info: SegmentInfo) -> bytes:
    tag = _TAGS.get(info.codec)
    if tag is None and len(info.codec_tag) == 4 and info.codec_tag.isascii():
        tag = info.codec_tag.encode()
    if tag is None:
        raise UnsupportedMediaError(
            f"the codec {info.codec} cannot be handed to this decoder; use decoder='pyav'", uri=info.uri
        )
    return tag


def _box(kind: bytes, *parts: bytes) -> bytes:
    payload = b"".join(parts)
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def _full_box(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)
