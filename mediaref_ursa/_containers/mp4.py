"""Boxes of MP4 and MOV files (ISO/IEC 14496-12, 4.2), and the extents of the media. Pure.

Written by hand on purpose: the walk stops after a fixed number of boxes and reads headers only, through any
store's byte ranges, which parsers of whole files do not do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mediaref_ursa._containers.range_file import ReadRange

Extents = tuple[tuple[int, int], ...]

HEADER_BYTES = 16
MAX_BOXES = 4096
"""The largest number of boxes in one walk."""
_MAX_TOP_BOXES = 256
_FRAGMENTS = frozenset({b"moof", b"mfra"})


class Box(NamedTuple):
    """The header of a box.

    Attributes:
        kind: Its four characters; fewer where the range ends.
        position: Where it begins.
        start: Where its content begins.
        end: Where it ends by its size, which may lie past the range, or before ``start``.
        size: Its bytes, as it says: 0 stands for all up to the end of the range.
    """

    kind: bytes
    position: int
    start: int
    end: int
    size: int

    @property
    def is_valid(self) -> bool:
        """Whether the box is at least as long as its header."""
        return self.end >= self.start


def read_box(read: ReadRange, position: int, stop: int) -> Box:
    """Return the box at a position of a range that ends at ``stop``."""
    header = read(position, min(HEADER_BYTES, max(0, stop - position)))
    size, start = int.from_bytes(header[:4], "big"), position + 8
    if size == 1:
        size, start = int.from_bytes(header[8:16], "big"), position + 16
    return Box(header[4:8], position, start, position + size if size else stop, size)


def iter_boxes(read: ReadRange, start: int, stop: int, max_boxes: int = MAX_BOXES) -> Iterator[Box]:
    """Yield the boxes of a range, one after another, up to one that is not valid; ``max_boxes`` at most.

    >>> file = bytes.fromhex("0000000c") + b"mdat1234" + bytes.fromhex("00000008") + b"moov"
    >>> [box.kind for box in iter_boxes(lambda at, length: file[at : at + length], 0, len(file))]
    [b'mdat', b'moov']
    """
    for _ in range(max_boxes):
        if start + 8 > stop:
            return
        box = read_box(read, start, stop)
        if not box.is_valid:
            return
        yield box
        start = box.end


def media_extents(length: int, read_range: ReadRange) -> Extents | None:
    """Return the extents of the ``mdat`` boxes of a file whose ``moov`` box describes all samples.

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
    end, has_moov = 0, False
    for box in iter_boxes(read_range, 0, length, _MAX_TOP_BOXES):
        if box.kind in _FRAGMENTS:
            return None
        has_moov |= box.kind == b"moov"
        if box.kind == b"mdat":
            media.append((box.start, box.end))
        end = box.end
    return tuple(media) if has_moov and end == length else None
