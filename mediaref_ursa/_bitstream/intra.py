"""Codecs of intra frames only: each packet is decoded alone, except for JPEG tables of earlier packets."""

from __future__ import annotations

from collections.abc import Iterator

from mediaref_ursa._bitstream.carried import CarriedHeaders
from mediaref_ursa._bitstream.traits import Traits

STATELESS_CODECS = frozenset(
    {
        *("dnxhd", "dvvideo", "ffvhuff", "huffyuv", "jpeg2000", "magicyuv", "prores", "utvideo"),
        *("r10k", "r210", "rawvideo", "v210", "v308", "v408", "v410", "y41p", "yuv4"),
        *("bmp", "dpx", "exr", "pam", "pbm", "pgm", "ppm", "qoi", "sgi", "targa", "tiff", "webp"),
    }
)
"""Codecs whose decoders remember nothing of earlier packets, and of which each packet gives a picture."""

_START_OF_SCAN, _QUANTISATION, _HUFFMAN, _COMMENT = 0xDA, 0xDB, 0xC4, 0xFE
_HEEDED_COMMENTS = (b"Intel(R) JPEG Library, version 1", b"Metasoft MJPEG Codec", b"CS=ITU601", b"AVID")
"""Comments by which FFmpeg's decoder turns pictures over or changes their colours, from then on."""
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xDA))  # restart markers, start and end of image, and TEM


class StatelessInspector:
    """Reader of :data:`STATELESS_CODECS`: every packet is a random access point, and no bits are read."""

    def __init__(self, extradata: bytes) -> None:
        del extradata

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        return Traits(random_access=True, displayed=len(data) > 0, discardable=True, restartable=True)


class JpegInspector:
    """Reads the tables of Motion JPEG (ITU-T T.81, B.2.4).

    A picture may use quantisation and Huffman tables of an earlier one, and decoders heed some comments for
    ever. A decoder that begins with it is fed them in front of it.
    """

    def __init__(self, extradata: bytes) -> None:
        self._carried = CarriedHeaders()
        self._carried.begin_packet(dict(_tables(extradata)))

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        picture = bytes(data)
        missing = self._carried.begin_packet(
            dict(_tables(picture)), before_use=dict(_tables(picture, first_scan_only=True))
        )
        self._carried.begin_at()
        return Traits(
            random_access=True,
            displayed=len(data) > 0,
            discardable=not self._carried.changed,
            restartable=self._carried.restartable,
            start_headers=b"".join(missing),
        )


def holds_all_tables(head: bytes) -> bool:
    """Whether the first bytes of a picture reach to its first scan, after all of its tables."""
    return any(marker == _START_OF_SCAN for marker, _ in _segments(head))


def _segments(picture: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the content of each segment; of scans the header only."""
    position = 0
    while 0 <= position < len(picture) - 3:
        marker = picture[position + 1]
        if picture[position] != 0xFF or marker in (0x00, 0xFF, *_WITHOUT_LENGTH):
            position = picture.find(b"\xff", position + 1)
            continue
        end = position + 2 + int.from_bytes(picture[position + 2 : position + 4], "big")
        yield marker, picture[position + 4 : end]
        position = end


def _tables(picture: bytes, *, first_scan_only: bool = False) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Yield the marker and the number of each table and heeded comment, and a segment that holds only that.

    A packet may hold two fields, and a picture several scans: each may bring tables.
    """
    for marker, content in _segments(picture):
        if marker in (_QUANTISATION, _HUFFMAN):
            yield from _tables_of_segment(marker, content)
        elif marker == _COMMENT and content.startswith(_HEEDED_COMMENTS):
            number = next(i for i, text in enumerate(_HEEDED_COMMENTS) if content.startswith(text))
            yield (marker, number), bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content
        elif marker == _START_OF_SCAN and first_scan_only:
            return


def _tables_of_segment(marker: int, content: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    position = 0
    while position < len(content):
        number = content[position]
        if marker == _QUANTISATION:
            size = 1 + (128 if number >> 4 else 64)
            number &= 15
        else:
            size = 17 + sum(content[position + 1 : position + 17])
        table = content[position : position + size]
        yield (marker, number), bytes([0xFF, marker]) + (len(table) + 2).to_bytes(2, "big") + table
        position += size
