"""Container detection by a file's first bytes: never by its name, never by trying demuxers."""

from __future__ import annotations

from collections.abc import Callable

from mediaref_ursa._containers.broken_files import describe_no_media
from mediaref_ursa._containers.image_kinds import image_format, still_image_error
from mediaref_ursa._containers.mp4 import read_box
from mediaref_ursa._containers.range_file import ReadRange
from mediaref_ursa._containers.raw_streams import (
    LENGTH_CHECKS,
    is_jpeg_stream,
    raw_stream,
    stream_without_times,
)
from mediaref_ursa._containers.riff import iter_chunks
from mediaref_ursa._core.errors import CorruptMediaError, UnsupportedMediaError

SNIFF_BYTES = 600
"""The number of bytes that :func:`sniff_container` needs."""

_MP4_BOXES = frozenset(
    {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx", b"uuid"}
)
_TOP_BOXES = _MP4_BOXES | {b"emsg", b"prft", b"mfra", b"ssix", b"meta", b"udta", b"pdin"}
"""Boxes at the top level of a file, with which no file begins."""
_ASF_GUID = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_SMALLEST_BOX = 8
_MAX_BOXES = 1 << 20  # beyond that the answer is "not known": a file of tiny boxes is not worth hours
_EBML_ID_BYTES = 4
_MATROSKA_SEGMENT = b"\x18\x53\x80\x67"
_MATROSKA_CLUSTER = b"\x1f\x43\xb6\x75"
_CLUSTER_BEGINS_WITH = (0xE7, 0xBF, 0xEC)  # a timestamp, after a checksum or space at most
_TAIL_BYTES = 8 << 20
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_OGG_PAGE_BYTES = 1 << 16
_PACK_HEADER = b"\0\0\1\xba"
_PROGRAM_END = 0xB9
_FLV_TAGS = (8, 9, 18)
_WALK_BYTES = 1 << 16
_TS_PACKET_BYTES = ((188, 0), (192, 4), (204, 0))


def sniff_container(head: bytes, *, uri: str | None = None) -> str:
    """Return FFmpeg's name of the demuxer for a file that begins with ``head``.

    Args:
        head: The first ``SNIFF_BYTES`` bytes, fewer if the file is shorter.
        uri: Named in errors.

    Raises:
        CorruptMediaError: The file is empty.
        UnsupportedMediaError: The bytes are not those of a video container; playlists, scripts and
            text are refused here, whatever their name.

    >>> sniff_container(bytes.fromhex("1a45dfa3") + bytes(60))
    'matroska'
    """
    if not head:
        raise CorruptMediaError(
            "expected a video, found an empty file; the recorder did not finish, or the copy is incomplete",
            uri=uri,
        )
    name = known_container(head)
    if name is not None:
        return name
    image = image_format(head)
    if image is not None:
        raise still_image_error(image, uri=uri)
    without_times = stream_without_times(head)
    if without_times is not None:
        raise UnsupportedMediaError(
            f"expected a video whose frames have times, found {without_times}; put it into a container, for "
            "instance with: ffmpeg -i FILE -c copy FILE.mp4",
            uri=uri,
        )
    what = describe_no_media(head)
    if what is not None:
        raise UnsupportedMediaError(f"expected a video, found {what}", uri=uri)
    raise UnsupportedMediaError(
        "expected a video (MP4, MOV, Matroska, WebM, AVI, MPEG-TS, MPEG-PS, FLV, Ogg, ASF, IVF, GIF, or "
        "another of docs/containers.md), "
        f"found bytes that begin with {head[:16]!r}; a playlist, a script or text is not read as one",
        uri=uri,
    )


def known_container(head: bytes) -> str | None:
    """Return FFmpeg's name of the demuxer for a file that begins with ``head``, None for no video."""
    for name, matches in (
        ("mov", head[4:8] in _MP4_BOXES),
        ("matroska", head[:4] == b"\x1a\x45\xdf\xa3"),
        ("avi", head[:4] == b"RIFF" and head[8:11] == b"AVI"),
        ("flv", head[:4] == b"FLV\x01"),
        ("ogg", head[:4] == b"OggS"),
        ("ivf", head[:4] == b"DKIF"),
        ("gif", head[:6] in (b"GIF87a", b"GIF89a")),
        ("asf", head[:16] == _ASF_GUID),
        ("mpeg", head[:4] == b"\0\0\1\xba"),
        ("mpegts", _is_transport_stream(head)),
    ):
        if matches:
            return name
    return raw_stream(head)


def find_container(length: int, read_range: ReadRange, *, uri: str | None = None) -> str:
    """Return FFmpeg's name of the demuxer for a file, as :func:`sniff_container` does for its head.

    Args:
        length: Bytes of the file.
        read_range: Returns up to ``length`` bytes from ``offset`` on.
        uri: Named in errors.

    Raises:
        CorruptMediaError: The file is empty.
        UnsupportedMediaError: It is no video.
    """
    head = read_range(0, SNIFF_BYTES)
    if head[:3] == b"\xff\xd8\xff" and is_jpeg_stream(length, read_range):
        return "mjpeg"
    return sniff_container(head, uri=uri)


def is_cut_short(name: str, length: int, read_range: ReadRange) -> bool:
    """Return whether a container says that it is longer than the file that holds it.

    Args:
        name: As :func:`sniff_container` returns it.
        length: Bytes of the file.
        read_range: Returns ``length`` bytes from ``offset`` on, within the file.

    Returns:
        False also where the container does not say: a live recording that ends between two of its elements.
    """
    check = _LENGTH_CHECKS.get(name)
    return check is not None and check(
        length, lambda at, size: read_range(at, min(size, length - at)) if at < length else b""
    )


def _mp4_is_cut_short(length: int, read: ReadRange) -> bool:
    """Whether the last box ends after the file (ISO/IEC 14496-12, 4.2)."""
    position = 0
    for _ in range(_MAX_BOXES):
        if position >= length:
            break
        box = read_box(read, position, length)
        if box.size == 0:  # to the end of the file
            return False
        if box.size < _SMALLEST_BOX or box.kind not in _TOP_BOXES:
            return False  # something else follows the last box; it is no sign of a missing end
        position += box.size
    return position > length


def _matroska_is_cut_short(length: int, read: ReadRange) -> bool:
    """Compare the Segment's size with the file's (RFC 8794, 4 and 6)."""
    head = read(0, SNIFF_BYTES)
    ebml_size, start = _ebml_number(head, _EBML_ID_BYTES)
    if ebml_size is None or head[start + ebml_size :][:_EBML_ID_BYTES] != _MATROSKA_SEGMENT:
        return False
    size, position = _ebml_number(head, start + ebml_size + _EBML_ID_BYTES)
    if size is None:
        return _live_matroska_is_cut_short(length, read)
    return position + size > length


def _live_matroska_is_cut_short(length: int, read: ReadRange) -> bool:
    """Walk the elements of the last cluster of a Segment of unknown size (RFC 8794, 6.2)."""
    first = max(0, length - _TAIL_BYTES)
    tail = read(first, length - first)
    at = tail.rfind(_MATROSKA_CLUSTER)
    while at >= 0:
        size, position = _ebml_number(tail, at + _EBML_ID_BYTES)
        if position >= len(tail):
            return True
        if tail[position] in _CLUSTER_BEGINS_WITH:
            return _elements_are_cut_short(tail, position if size is None else position + size)
        at = tail.rfind(_MATROSKA_CLUSTER, 0, at)
    return False


def _elements_are_cut_short(data: bytes, position: int) -> bool:
    """Return whether the last of the elements from ``position`` on ends outside ``data``."""
    while position < len(data):
        position += 9 - data[position].bit_length()  # of the identifier, 1 to 4 bytes
        size, position = _ebml_number(data, position)
        if size is not None:
            position += size
        elif position >= len(data):
            return True
    return position > len(data)


def _ebml_number(data: bytes, position: int) -> tuple[int | None, int]:
    """Return a number of variable length, None where it stands for "unknown", and the position after it."""
    if position >= len(data) or not data[position]:
        return None, position
    width = 9 - data[position].bit_length()
    value = int.from_bytes(data[position : position + width], "big") & ~(1 << 7 * width)
    return None if value == (1 << 7 * width) - 1 else value, position + width


def _ogg_is_cut_short(length: int, read: ReadRange) -> bool:
    """The last page is whole and, if it ends the file, says that it ends its stream (RFC 3533, 6)."""
    first = max(0, length - 2 * _OGG_PAGE_BYTES)
    tail = read(first, length - first)
    at = tail.rfind(b"OggS\0")
    if at < 0 or at + 27 > len(tail):
        return True
    segments = tail[at + 27 : at + 27 + tail[at + 26]]
    end = at + 27 + tail[at + 26] + sum(segments)
    return end > len(tail) or (end == len(tail) and not tail[at + 5] & 4)


def _mpegps_is_cut_short(length: int, read: ReadRange) -> bool:
    """Walk the packets after the last pack header that leads to the end (ISO/IEC 13818-1, 2.5.3)."""
    first = max(0, length - 4 * _OGG_PAGE_BYTES)
    tail = read(first, length - first)
    at = tail.rfind(_PACK_HEADER)
    if at < 0:
        return False
    position = at
    while position + 6 <= len(tail):
        if tail[position : position + 3] != b"\0\0\1":
            return False  # stuffing, or a header of that look within a packet
        kind = tail[position + 3]
        if kind == _PROGRAM_END:
            return False
        position += _ps_packet_bytes(tail, position, kind)
    return position > len(tail) or bool(tail[position:].strip(b"\0"))


def _ps_packet_bytes(data: bytes, position: int, kind: int) -> int:
    if kind != _PACK_HEADER[3]:
        return 6 + int.from_bytes(data[position + 4 : position + 6], "big")
    if data[position + 4] >> 6 == 1:  # MPEG-2
        return 14 + (data[position + 13] & 7 if position + 13 < len(data) else 0)
    return 12


def _avi_is_cut_short(length: int, read: ReadRange) -> bool:
    """Walk the RIFF chunks of the file; those of a recorder that was cut off have no size yet."""
    position = 0
    for chunk in iter_chunks(read, 0, length, _MAX_BOXES):
        if chunk.kind != b"RIFF" or chunk.size in (0, 0xFFFFFFFF):
            return False
        position = chunk.end
    return position > length + 1


def _mpegts_is_cut_short(length: int, read: ReadRange) -> bool:
    """Whether the last packet of the transport stream, by its sync byte, is not whole."""
    head = read(0, SNIFF_BYTES)
    sizes = ((size, first) for size, first in _TS_PACKET_BYTES if set(head[first::size][:3]) == {0x47})
    size, first = next(sizes, _TS_PACKET_BYTES[0])
    rest = length % size
    return rest > 0 and (rest <= first or read(length - rest + first, 1) == b"\x47")


def _flv_is_cut_short(length: int, read: ReadRange) -> bool:
    """The file ends with the size of its last tag (Adobe FLV, annex E.3), or with what is no tag."""
    last = int.from_bytes(read(max(length - 4, 0), 4), "big")
    start = length - 4 - last
    tag = read(start, 4) if start > 0 else b""
    if len(tag) == 4 and tag[0] & 31 in _FLV_TAGS and int.from_bytes(tag[1:4], "big") + 11 == last:
        return False
    position = int.from_bytes(read(5, 4), "big") + 4
    while position < length:
        tag = read(position, 4)
        if tag[0] & 31 not in _FLV_TAGS:
            return False
        position += 11 + int.from_bytes(tag[1:4], "big") + 4
    return position > length


def _asf_is_cut_short(length: int, read: ReadRange) -> bool:
    """Compare the size that the file properties object gives with the file's (ASF, 3.2)."""
    head = read(0, 1 << 16)
    at = head.find(_ASF_FILE_PROPERTIES)
    return at >= 0 and int.from_bytes(head[at + 40 : at + 48], "little") > length


def _gif_is_cut_short(length: int, read: ReadRange) -> bool:
    """Walk the blocks of the file to its trailer (GIF89a, 17 to 27); what follows that is none of it."""
    position = 13 + _color_table_bytes(read(10, 1))
    while position < length:
        label = read(position, 1)
        if label == b"\x21":
            position += 2
        elif label == b"\x2c":
            position += 11 + _color_table_bytes(read(position + 9, 1))
        else:  # the trailer, or bytes after which no reader continues
            return False
        position = _after_sub_blocks(position, length, read)
    return True


def _color_table_bytes(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _after_sub_blocks(position: int, length: int, read: ReadRange) -> int:
    """Return what follows the sub-blocks at ``position``, the last of which is empty (GIF89a, 15 and 16)."""
    start, data = position, b""
    while position < length:
        if position - start >= len(data):
            start, data = position, read(position, _WALK_BYTES)
        size = data[position - start]
        position += 1 + size
        if not size:
            break
    return position


_LENGTH_CHECKS: dict[str, Callable[[int, ReadRange], bool]] = {
    "mov": _mp4_is_cut_short,
    "matroska": _matroska_is_cut_short,
    "avi": _avi_is_cut_short,
    "mpegts": _mpegts_is_cut_short,
    "flv": _flv_is_cut_short,
    "asf": _asf_is_cut_short,
    "gif": _gif_is_cut_short,
    "mpeg": _mpegps_is_cut_short,
    "ogg": _ogg_is_cut_short,
    **LENGTH_CHECKS,
}


def _is_transport_stream(head: bytes) -> bool:
    return any(head[first::size][:3] in (b"GG", b"GGG") for size, first in _TS_PACKET_BYTES)
