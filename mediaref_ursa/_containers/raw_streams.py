"""Streams without a container, and rarer containers: those for which FFmpeg gives times. Pure."""

from __future__ import annotations

from collections.abc import Callable

from mediaref_ursa._containers.range_file import ReadRange

_PNG = b"\x89PNG\r\n\x1a\n"
_MXF_PARTITION = bytes.fromhex("060e2b34020501010d0102010102")
_MXF_PARTITION_AT, _MXF_FOOTER_AT = 16, 24
_FLIC_MAGIC = (b"\x11\xaf", b"\x12\xaf")
_FLIC_CHUNKS = (b"\xfa\xf1", b"\x00\xf1")  # a frame, or the prefix of a file
_FLIC_HEADER_BYTES = 128
_DIF_BLOCK_BYTES = 80
_JPEG = b"\xff\xd8\xff"
_JPEG_FRAMES = frozenset({b"\xc0", b"\xc1", b"\xc2", b"\xc3"})
_MAX_PICTURE_BYTES = 4 << 20
_START_CODES = (b"\0\0\0\1", b"\0\0\1")
_H264_FIRST_UNITS = (1, 5, 6, 7, 8, 9)
_HEVC_FIRST_UNITS = (32, 33, 34, 35, 39)
_MAX_CHUNKS = 1 << 20


def raw_stream(head: bytes) -> str | None:
    """Return FFmpeg's name of the demuxer for a stream whose frames have times, or a constant rate.

    Args:
        head: The first bytes of a file, some hundreds.

    Returns:
        None where it is none of those known here.

    >>> raw_stream(bytes.fromhex("000001b3") + bytes(100))
    'mpegvideo'
    """
    for name, matches in (
        ("mpegvideo", head[:4] == b"\0\0\1\xb3"),
        ("m4v", _is_mpeg4_stream(head)),
        ("apng", _is_animated_png(head)),
        ("mxf", head.startswith(_MXF_PARTITION)),
        ("rm", head[:4] == b".RMF"),
        ("obu", head[:2] == b"\x12\0" and len(head) > 2 and head[2] >> 3 & 15 == 1),
        ("dv", _is_dv(head)),
        ("flic", _is_flic(head)),
    ):
        if matches:
            return name
    return None


def is_jpeg_stream(length: int, read_range: ReadRange) -> bool:
    """Whether a file is a stream of adjacent JPEG pictures of one size, and no photo with its preview.

    Args:
        length: Bytes of the file.
        read_range: Returns up to ``length`` bytes from ``offset`` on.
    """
    size, position = None, 0
    for _ in range(2):
        found = _jpeg_picture(read_range(position, min(_MAX_PICTURE_BYTES, length - position)))
        if found is None or (size is not None and found[0] != size):
            return False
        size, position = found[0], position + found[1]
    return True


def _jpeg_picture(data: bytes) -> tuple[bytes, int] | None:
    """Return the size of a JPEG picture as its frame header has it, and its length in bytes.

    None for what is no picture, and for a photo that says that others follow it (MPF, CIPA DC-007).
    """
    position, size = 2, None
    while data[:3] == _JPEG and data[position : position + 1] == b"\xff":
        marker, segment = data[position + 1 : position + 2], position + 2
        if marker in _JPEG_FRAMES:
            size = data[segment + 3 : segment + 7]
        if marker == b"\xe2" and data[segment + 2 : segment + 6] == b"MPF\0":
            return None
        position = segment + int.from_bytes(data[segment : segment + 2], "big")
        if marker == b"\xda":
            end = data.find(b"\xff\xd9", position)
            return None if size is None or end < 0 else (size, end + 2)
    return None


def stream_without_times(head: bytes) -> str | None:
    """Return the kind of a stream that has no frame times, None for other files."""
    code = next((code for code in _START_CODES if head.startswith(code)), None)
    if code is None or len(head) < len(code) + 2:
        return None
    first, second = head[len(code)], head[len(code) + 1]
    if first >> 7:  # the forbidden bit of both, set in start codes of MPEG
        return None
    if first >> 1 in _HEVC_FIRST_UNITS and second & 0xF8 == 0 and second & 7:
        return "raw HEVC (Annex B)"
    return "raw H.264 (Annex B)" if first & 31 in _H264_FIRST_UNITS else None


def _is_mpeg4_stream(head: bytes) -> bool:
    """Whether a visual object sequence begins, or a video object with its layer (ISO/IEC 14496-2, 6.2.2)."""
    if head[:4] == b"\0\0\1\xb0":
        return True
    is_object = head[:3] == b"\0\0\1" and head[3:4] < b"\x20" and len(head) > 8
    return is_object and head[4:7] == b"\0\0\1" and 0x20 <= head[7] <= 0x2F


def _is_animated_png(head: bytes) -> bool:
    """Whether acTL stands before the first IDAT (PNG third edition, 11.3.6.1)."""
    position = len(_PNG) if head.startswith(_PNG) else len(head)
    while position + 8 <= len(head):
        kind = head[position + 4 : position + 8]
        if kind in (b"acTL", b"IDAT"):
            return kind == b"acTL"
        position += 12 + int.from_bytes(head[position : position + 4], "big")
    return False


def _is_dv(head: bytes) -> bool:
    """Whether a header block of a DIF sequence is followed by one of subcode (IEC 61834-2, 11.4)."""
    if head[:3] != b"\x1f\x07\0" or len(head) <= _DIF_BLOCK_BYTES or head[3] & 0x7F != 0x3F:
        return False
    return head[_DIF_BLOCK_BYTES] >> 5 == 1


def _is_flic(head: bytes) -> bool:
    at = _FLIC_HEADER_BYTES
    return head[4:6] in _FLIC_MAGIC and head[at + 4 : at + 6] in _FLIC_CHUNKS


def _png_is_cut_short(length: int, read: ReadRange) -> bool:
    """Whether the file ends before the chunk IEND."""
    position = len(_PNG)
    for _ in range(_MAX_CHUNKS):
        if position + 12 > length:
            return True
        header = read(position, 8)
        position += 12 + int.from_bytes(header[:4], "big")
        if header[4:] == b"IEND":
            return False
    return False


def _mxf_is_cut_short(length: int, read: ReadRange) -> bool:
    """Whether the file ends before its footer partition, by the header's offset (SMPTE ST 377-1, 7.1)."""
    head = read(0, 64)
    extra = head[_MXF_PARTITION_AT] & 0x7F if head[_MXF_PARTITION_AT] & 0x80 else 0
    at = _MXF_PARTITION_AT + 1 + extra + _MXF_FOOTER_AT
    return int.from_bytes(head[at : at + 8], "big") >= length


def _flic_is_cut_short(length: int, read: ReadRange) -> bool:
    return int.from_bytes(read(0, 4), "little") > length


LENGTH_CHECKS: dict[str, Callable[[int, ReadRange], bool]] = {
    "apng": _png_is_cut_short,
    "mxf": _mxf_is_cut_short,
    "flic": _flic_is_cut_short,
}
"""Checks of truncation by format; see :func:`mediaref_ursa._containers.sniff.is_cut_short`."""
