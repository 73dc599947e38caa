"""Encrypted media, as containers declare them: decoders would make pictures of the ciphertext. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mediaref_ursa._containers.mp4 import Box, iter_boxes
from mediaref_ursa._containers.range_file import ReadRange
from mediaref_ursa._core.errors import UnsupportedMediaError

_MAX_BOXES = 4096
_ENCRYPTED_ENTRIES = {b"encv": "Common Encryption, encv", b"drmi": "FairPlay, drmi", b"enct": "enct"}
_STSD_HEADER_BYTES = 8

_SEGMENT, _TRACKS, _TRACK, _CLUSTER = 0x18538067, 0x1654AE6B, 0xAE, 0x1F43B675
_TRACK_TYPE, _VIDEO = 0x83, 1
_ENCRYPTION_PATH = (0x6D80, 0x6240, 0x5035)  # ContentEncodings, ContentEncoding, ContentEncryption

_ASF_ENCRYPTION = (  # Content Encryption Object and Extended Content Encryption Object (ASF, 3.14 and 3.15)
    bytes.fromhex("fbb31122 23bd d211 b4b7 00a0c955fc6e"),
    bytes.fromhex("14e68a29 2226 174c b935 dae07ee9289c"),
)
_ASF_HEADER_BYTES = 1 << 16

_TS_SYNC = 0x47
_TS_LAST_TABLE_PID, _TS_NULL_PID = 0x1F, 0x1FFF
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # bytes from one to the next, and before the first
_TS_PACKET_BYTES = 188
_SAMPLE_AES_VIDEO = 0xDB  # Apple, MPEG-2 Stream Encryption Format for HTTP Live Streaming
_TS_SAMPLED_BYTES = 1 << 21


class Element(NamedTuple):
    """An EBML element: its ID, and where its content begins and ends."""

    kind: int
    start: int
    end: int


def refuse_encrypted(
    container: str, stream_index: int, length: int, read_range: ReadRange, *, uri: str
) -> None:
    """Refuse a video that its container declares to be encrypted.

    Args:
        container: FFmpeg's name of the demuxer.
        stream_index: The stream that is to be decoded.
        length: Bytes of the file.
        read_range: Returns up to ``length`` bytes from ``offset`` on.
        uri: Named in the error.

    Raises:
        UnsupportedMediaError: It is encrypted; the message says how.
    """
    look = _CHECKS.get(container)
    how = None if look is None else look(stream_index, length, read_range)
    if how is not None:
        raise encryption_error(how, uri)


def encryption_error(how: str, uri: str) -> UnsupportedMediaError:
    """Return the error for an encrypted video."""
    return UnsupportedMediaError(
        f"expected a video in the clear, found one that is encrypted ({how}); decrypt it first", uri=uri
    )


def _mp4_encryption(stream_index: int, length: int, read: ReadRange) -> str | None:
    """Read the sample entries of a track (ISO/IEC 14496-12, 8.12): the n-th track is the n-th stream."""
    tracks = [
        track
        for moov in _boxes(b"moov", 0, length, read)
        for track in _boxes(b"trak", moov.start, moov.end, read)
    ]
    for track in tracks[stream_index : stream_index + 1]:
        found = [track]
        for kind in (b"mdia", b"minf", b"stbl", b"stsd"):
            found = [inner for box in found for inner in _boxes(kind, box.start, box.end, read)]
        for table in found:
            for entry in iter_boxes(read, table.start + _STSD_HEADER_BYTES, table.end):
                if entry.kind in _ENCRYPTED_ENTRIES:
                    return _ENCRYPTED_ENTRIES[entry.kind]
    return None


def _boxes(kind: bytes, start: int, end: int, read: ReadRange) -> Iterator[Box]:
    for box in iter_boxes(read, start, end):
        if box.kind == kind:
            yield box._replace(end=min(box.end, end))


def _matroska_encryption(stream_index: int, length: int, read: ReadRange) -> str | None:
    """Find ContentEncryption in video tracks (RFC 9559, 5.1.4.1.31)."""
    for segment in ebml_elements(0, length, read):
        if segment.kind != _SEGMENT:
            continue
        for part in ebml_elements(segment.start, segment.end, read):
            if part.kind == _CLUSTER:
                return None
            if part.kind == _TRACKS and any(
                _is_encrypted_video(track, read)
                for track in ebml_elements(part.start, part.end, read)
                if track.kind == _TRACK
            ):
                return "Matroska ContentEncryption"
    return None


def _is_encrypted_video(track: Element, read: ReadRange) -> bool:
    kinds = [e for e in ebml_elements(track.start, track.end, read) if e.kind == _TRACK_TYPE]
    if not any(read(e.start, e.end - e.start) == bytes([_VIDEO]) for e in kinds if e.end - e.start == 1):
        return False
    found = [track]
    for kind in _ENCRYPTION_PATH:
        found = [e for outer in found for e in ebml_elements(outer.start, outer.end, read) if e.kind == kind]
    return bool(found)


def ebml_elements(start: int, end: int, read: ReadRange) -> Iterator[Element]:
    """Yield the EBML elements in a range of the file (RFC 8794, 4 to 6); one of unknown size is the last."""
    for _ in range(_MAX_BOXES):
        head = read(start, 12) if start < end else b""
        width = 9 - head[0].bit_length() if head else 9
        if width > 4 or len(head) <= width or not head[width]:
            return
        size_width = 9 - head[width].bit_length()
        size = int.from_bytes(head[width : width + size_width], "big") & ~(1 << 7 * size_width)
        content = start + width + size_width
        is_unknown = size == (1 << 7 * size_width) - 1
        stop = end if is_unknown else min(content + size, end)
        yield Element(int.from_bytes(head[:width], "big"), content, stop)
        start = stop


def _asf_encryption(stream_index: int, length: int, read: ReadRange) -> str | None:
    header = read(0, min(length, _ASF_HEADER_BYTES))
    return "Windows Media DRM" if any(guid in header for guid in _ASF_ENCRYPTION) else None


def _mpegts_encryption(stream_index: int, length: int, read: ReadRange) -> str | None:
    """Read scrambling control bits (ISO/IEC 13818-1, 2.4.3.2 and 2.4.3.6) at the beginning of the file."""
    data = read(0, min(length, _TS_SAMPLED_BYTES))
    sizes = ((size, first) for size, first in _TS_PACKETS if set(data[first::size][:3]) == {_TS_SYNC})
    size, first = next(sizes, _TS_PACKETS[0])
    scrambled = {"packet": 0, "picture": 0}
    clear = {"packet": 0, "picture": 0}
    tables: set[int] = set()
    for at in range(first, len(data) - _TS_PACKET_BYTES + 1, size):
        packet = data[at : at + _TS_PACKET_BYTES]
        pid = int.from_bytes(packet[1:3], "big") & 0x1FFF
        if pid == 0:
            tables |= set(_program_map_pids(packet))
        elif pid in tables and _SAMPLE_AES_VIDEO in _stream_types(packet):
            return "HLS SAMPLE-AES"
        if packet[0] != _TS_SYNC or not packet[3] & 0x10 or not _TS_LAST_TABLE_PID < pid < _TS_NULL_PID:
            continue
        (scrambled if packet[3] & 0xC0 else clear)["packet"] += 1
        control = _pes_scrambling(packet)
        if control is not None:
            (scrambled if control else clear)["picture"] += 1
    is_scrambled = any(scrambled[kind] > clear[kind] for kind in scrambled)
    return "a scrambled transport stream" if is_scrambled else None


def _section(packet: bytes) -> bytes:
    """Return the table section that begins in a packet, without its CRC-32; empty where none does."""
    start = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
    if not packet[1] & 0x40 or start >= len(packet):
        return b""
    start += 1 + packet[start]
    length = int.from_bytes(packet[start + 1 : start + 3], "big") & 0xFFF
    return packet[start : start + 3 + length - 4]


def _program_map_pids(packet: bytes) -> Iterator[int]:
    """Yield the PIDs of program maps (ISO/IEC 13818-1, 2.4.4.3)."""
    section = _section(packet)
    for at in range(8, len(section) - 3, 4):
        yield int.from_bytes(section[at + 2 : at + 4], "big") & 0x1FFF


def _stream_types(packet: bytes) -> Iterator[int]:
    """Yield the stream types of a program map (ISO/IEC 13818-1, 2.4.4.8)."""
    section = _section(packet)
    at = 12 + (int.from_bytes(section[10:12], "big") & 0xFFF)
    while at + 5 <= len(section):
        yield section[at]
        at += 5 + (int.from_bytes(section[at + 3 : at + 5], "big") & 0xFFF)


def _pes_scrambling(packet: bytes) -> int | None:
    """Return PES_scrambling_control of a packet that begins a video's PES packet, None of others."""
    start = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
    head = packet[start : start + 7]
    if not packet[1] & 0x40 or len(head) < 7 or head[:3] != b"\0\0\1" or not 0xE0 <= head[3] <= 0xEF:
        return None
    return head[6] >> 4 & 3 if head[6] >> 6 == 2 else None


_CHECKS = {
    "mov": _mp4_encryption,
    "matroska": _matroska_encryption,
    "asf": _asf_encryption,
    "mpegts": _mpegts_encryption,
}
