"""Containers written or altered by hand, where FFmpeg's muxers cannot make what a test needs.

Element numbers are those of RFC 9559 (Matroska); boxes those of ISO/IEC 14496-12.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av

_EBML, _SEGMENT, _INFO, _TRACKS, _CLUSTER, _ATTACHMENTS = (
    "1A45DFA3",
    "18538067",
    "1549A966",
    "1654AE6B",
    "1F43B675",
    "1941A469",
)
_CLUSTER_SPAN_MS = 1000
_KEYFRAME_FLAG = 0x80
_XIPH_LACING_FLAG = 0x02
_ZLIB, _HEADER_STRIPPING = 0, 3


@dataclass(frozen=True)
class MatroskaBlock:
    """The packets of one block: one, or several with Xiph lacing.

    Attributes:
        addition: What is stored beside the packet (BlockAdditional of BlockAddID 1), empty for none.
        is_addition_first: Whether that stands before the packet.
    """

    timestamp_ms: int
    packets: tuple[bytes, ...]
    is_keyframe: bool
    addition: bytes = b""
    is_addition_first: bool = False


@dataclass(frozen=True)
class MatroskaTrack:
    """One video track.

    Attributes:
        codec_id: Matroska's name, e.g. ``"V_MPEG4/ISO/AVC"``.
        private: The codec's extradata.
        size: ``(width, height)`` in pixels.
        frame_ms: Milliseconds a frame.
        compression: ``None``, ``"strip"`` (what all packets begin with is left out) or ``"zlib"``.
    """

    codec_id: str
    private: bytes
    size: tuple[int, int]
    frame_ms: int = 40
    compression: str | None = None


@dataclass(frozen=True)
class Attachment:
    """A file attached to a Matroska file; FFmpeg takes a picture for a cover."""

    name: str
    mimetype: str
    data: bytes


def write_matroska(
    path: Path,
    track: MatroskaTrack,
    blocks: Sequence[MatroskaBlock],
    attachment: Attachment | None = None,
    *,
    is_encrypted: bool = False,
    key_id: bytes = b"",
) -> None:
    """Write a Matroska file with one video track, without an index.

    Args:
        path: The file to write.
        track: What the packets are.
        blocks: In decode order; timestamps need not ascend.
        attachment: A file to store before the blocks.
        is_encrypted: Say that the track is encrypted; blocks are stored as they are given.
        key_id: Of the encryption.
    """
    packets = [packet for block in blocks for packet in block.packets]
    stripped = _common_start(packets) if track.compression == "strip" else b""
    head = _element(_INFO, _number("2AD7B1", 1_000_000) + _text("4D80", "test") + _text("5741", "test"))
    entry = _track_entry(track, stripped, _encryption(key_id) if is_encrypted else b"")
    body = head + _element(_TRACKS, entry)
    if attachment is not None:
        body += _element(_ATTACHMENTS, _attached_file(attachment))
    body += _clusters(track, stripped, blocks)
    path.write_bytes(_ebml_header() + _element(_SEGMENT, body))


def set_mp4_rotation(path: Path, clockwise_degrees: int) -> None:
    """Overwrite the display matrix of an MP4's first track: 90, 180 or 270 degrees.

    ``tkhd`` of version 0 holds the matrix 40 bytes after the version field: nine big-endian
    fixed-point numbers, by which ``(x, y)`` goes to ``(a x + c y, b x + d y)`` with y downwards.
    """
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[clockwise_degrees]
    one, unit = 1 << 16, 1 << 30
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, unit)
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4
    if content[start] != 0:
        raise ValueError(f"expected tkhd of version 0, found {content[start]}")
    content[start + 40 : start + 76] = matrix
    path.write_bytes(bytes(content))


def _common_start(packets: Sequence[bytes]) -> bytes:
    """Return the longest start that all packets share: that of the smallest and the largest."""
    smallest, largest = min(packets), max(packets)
    length = 0
    while length < len(smallest) and smallest[length] == largest[length]:
        length += 1
    return smallest[:length]


def _element(element_id: str, content: bytes) -> bytes:
    """An EBML element with an eight-octet size."""
    return bytes.fromhex(element_id) + (len(content) | 1 << 56).to_bytes(8, "big") + content


def _number(element_id: str, value: int) -> bytes:
    return _element(element_id, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _text(element_id: str, value: str) -> bytes:
    return _element(element_id, value.encode())


def _ebml_header() -> bytes:
    versions = b"".join(_number(i, v) for i, v in (("4286", 1), ("42F7", 1), ("42F2", 4), ("42F3", 8)))
    return _element(_EBML, versions + _text("4282", "matroska") + _number("4287", 4) + _number("4285", 2))


def _encryption(key_id: bytes) -> bytes:
    """ContentEncodings of one encryption by AES."""
    key = _element("47E2", key_id) if key_id else b""
    how = _element("5035", _number("47E1", 5) + key)
    return _element(
        "6D80", _element("6240", _number("5031", 0) + _number("5032", 1) + _number("5033", 1) + how)
    )


def _track_entry(track: MatroskaTrack, stripped: bytes, encodings: bytes = b"") -> bytes:
    width, height = track.size
    entry = _number("D7", 1) + _number("73C5", 1) + _number("83", 1) + _text("86", track.codec_id)
    entry += _number("23E383", track.frame_ms * 1_000_000) + _element("63A2", track.private)
    entry += _element("E0", _number("B0", width) + _number("BA", height))
    if track.compression is not None:
        entry += _content_encodings(track.compression, stripped)
    return _element("AE", entry + encodings)


def _content_encodings(compression: str, stripped: bytes) -> bytes:
    algorithm = {"zlib": _ZLIB, "strip": _HEADER_STRIPPING}[compression]
    settings = _element("4255", stripped) if stripped else b""
    how = _element("5034", _number("4254", algorithm) + settings)
    return _element(
        "6D80", _element("6240", _number("5031", 0) + _number("5032", 1) + _number("5033", 0) + how)
    )


def _attached_file(attachment: Attachment) -> bytes:
    described = _text("466E", attachment.name) + _text("4660", attachment.mimetype)
    return _element("61A7", described + _element("465C", attachment.data) + _number("46AE", 7))


def _clusters(track: MatroskaTrack, stripped: bytes, blocks: Sequence[MatroskaBlock]) -> bytes:
    """Lay out the blocks in decode order, a new cluster each second."""
    clusters: list[bytes] = []
    start, content = 0, b""
    for block in blocks:
        if content and block.timestamp_ms - start >= _CLUSTER_SPAN_MS:
            clusters.append(_element(_CLUSTER, _number("E7", start) + content))
            content = b""
        if not content:
            start = block.timestamp_ms
        content += _simple_block(track, stripped, block, block.timestamp_ms - start)
    return b"".join([*clusters, _element(_CLUSTER, _number("E7", start) + content)])


def _simple_block(track: MatroskaTrack, stripped: bytes, block: MatroskaBlock, offset_ms: int) -> bytes:
    packets = [packet[len(stripped) :] for packet in block.packets]
    if track.compression == "zlib":
        packets = [_deflate(packet) for packet in packets]
    flags = _KEYFRAME_FLAG * block.is_keyframe | _XIPH_LACING_FLAG * (len(packets) > 1)
    head = b"\x81" + struct.pack(">hB", offset_ms, flags)
    if not block.addition:
        return _element("A3", head + _lace(packets))
    parts = [
        _element("A1", head[:-1] + b"\0" + _lace(packets)),
        _element("75A1", _element("A6", _number("EE", 1) + _element("A5", block.addition))),
    ]
    return _element("A0", b"".join(parts[::-1] if block.is_addition_first else parts))


def _deflate(packet: bytes) -> bytes:
    """Compress in two blocks: deflate stores video as it is, and its bytes would lie there unbroken."""
    compressor, half = zlib.compressobj(), len(packet) // 2
    head = compressor.compress(packet[:half]) + compressor.flush(zlib.Z_FULL_FLUSH)
    return head + compressor.compress(packet[half:]) + compressor.flush()


def _lace(packets: Sequence[bytes]) -> bytes:
    """Join packets by Xiph lacing: their count less one, then all sizes but the last in steps of 255."""
    if len(packets) == 1:
        return packets[0]
    sizes = b"".join(b"\xff" * (len(p) // 255) + bytes([len(p) % 255]) for p in packets[:-1])
    return bytes([len(packets) - 1]) + sizes + b"".join(packets)


@dataclass(frozen=True)
class Sample:
    """One packet on its way into another file."""

    number: int
    data: bytes
    is_keyframe: bool


def remux(source: Path, target: Path, change: Callable[[Sample], tuple[bytes, bool]]) -> Path:
    """Copy the best video stream into a new file whose packets or keyframe flags differ.

    Args:
        source: A video.
        target: The file to write; its suffix chooses the container.
        change: Returns the bytes and the flag that a packet has in the new file.
    """
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.best("video")
        assert isinstance(stream, av.VideoStream)
        copy = new.add_stream_from_template(stream)
        packets = (packet for packet in old.demux(stream) if packet.size)
        for number, packet in enumerate(packets):
            data, is_keyframe = change(Sample(number, bytes(packet), packet.is_keyframe))
            changed = av.Packet(data)
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.duration, changed.is_keyframe, changed.stream = packet.duration, is_keyframe, copy
            new.mux(changed)
    return target


def length_prefixed(*nals: bytes) -> bytes:
    """Return NAL units as MP4 has them, each after its length in four bytes."""
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


def padded(source: Path, target: Path, size: int) -> Path:
    """Pad every H.264 packet with filler data, so that a small video is a large file."""

    def change(sample: Sample) -> tuple[bytes, bool]:
        filler = b"\x0c" + bytes(max(size - len(sample.data) - 5, 1))
        return sample.data + length_prefixed(filler), sample.is_keyframe

    return remux(source, target, change)
