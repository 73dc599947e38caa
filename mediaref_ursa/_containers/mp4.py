"""Where the media of an MP4 or MOV file lies, and whether one box describes all of it. Pure."""

from __future__ import annotations

from mediaref_ursa._containers.range_file import ReadRange

Extents = tuple[tuple[int, int], ...]

_HEADER_BYTES = 16
_MAX_BOXES = 256
_FRAGMENTS = frozenset({b"moof", b"mfra"})


def media_extents(length: int, read_range: ReadRange) -> Extents | None:
    """Return what lies inside the ``mdat`` boxes of a file whose ``moov`` box describes all samples.

    Args:
        length: Bytes of the file.
        read_range: Returns ``length`` bytes from ``offset`` on, within the file.

    Returns:
        ``[begin, end)`` of each box's content, ascending; None where fragments describe samples too, where
        there is no ``moov`` box, or where the boxes do not end with the file (ISO/IEC 14496-12, 4.2).

    >>> file = bytes.fromhex("0000000c") + b"mdat1234" + bytes.fromhex("00000008") + b"moov"
    >>> media_extents(len(file), lambda offset, length: file[offset : offset + length])
    ((8, 12),)
    """
    media: list[tuple[int, int]] = []
    position, has_moov = 0, False
    for _ in range(_MAX_BOXES):
        if position >= length:
            return tuple(media) if has_moov and position == length else None
        header = read_range(position, min(_HEADER_BYTES, length - position))
        size, content = int.from_bytes(header[:4], "big"), 8
        if size == 1:
            size, content = int.from_bytes(header[8:16], "big"), 16
        kind, end = header[4:8], position + size if size else length
        if kind in _FRAGMENTS or end < position + content:
            return None
        has_moov |= kind == b"moov"
        if kind == b"mdat":
            media.append((position + content, end))
        position = end
    return None
