"""Image formats by a file's first bytes, and images that are referred to as videos. Pure.

AVIF and HEIF files are ISO base media files, as MP4 is, and FFmpeg's demuxer gives each item of a still
picture as a video stream of one frame: of a picture that is stored as a grid of tiles, each tile.
"""

from __future__ import annotations

import re

from mediaref_ursa._containers.mp4 import read_box
from mediaref_ursa._containers.range_file import ReadRange
from mediaref_ursa._core.errors import UnsupportedMediaError

_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
    | {b"mif1", b"mif2", b"mif3", b"msf1"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_IMAGE_BRANDS = _HEIF_BRANDS | _AVIF_BRANDS | {b"miaf", b"jpeg", b"jpgs", b"vvic", b"vvis", b"j2ki", b"j2is"}
_MOVIE_BOXES = frozenset({b"moov", b"moof"})
_SIGNATURES: tuple[tuple[str, int, bytes], ...] = (
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("WebP", 8, b"WEBP"),
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
    ("JPEG XL", 0, b"\xff\x0a"),
    ("JPEG XL", 0, b"\0\0\0\x0cJXL \r\n\x87\n"),
    ("JPEG 2000", 0, b"\0\0\0\x0cjP  \r\n\x87\n"),
    ("JPEG 2000", 0, b"\xff\x4f\xff\x51"),
    ("QOI", 0, b"qoif"),
    ("BMP", 0, b"BM"),
    ("PSD", 0, b"8BPS"),
    ("OpenEXR", 0, b"\x76\x2f\x31\x01"),
)
_MAX_BOXES = 256
_MAX_MOVIE_BYTES = 64 << 20
_ALPHA_TRACK = re.compile(rb"hdlr.{8}auxv", re.DOTALL)


def image_format(head: bytes) -> str | None:
    r"""Return the name of the image format that a file of these first bytes has, None for others.

    AVIF and HEIF files may hold a sequence, which is a video: see :func:`refuse_still_image`.

    >>> image_format(b"\x89PNG\r\n\x1a\n" + bytes(8))
    'PNG'
    """
    brands = _brands(head)
    if brands & _AVIF_BRANDS:
        return "AVIF"
    if brands & _HEIF_BRANDS:
        return "HEIC"
    for name, at, signature in _SIGNATURES:
        if head[at : at + len(signature)] == signature:
            return name
    return None


def refuse_still_image(length: int, read_range: ReadRange, *, uri: str | None = None) -> None:
    """Refuse an AVIF or HEIF file that holds pictures and no movie.

    Args:
        length: Bytes of the file.
        read_range: Returns ``length`` bytes from ``offset`` on, within the file.
        uri: Named in the error.

    Raises:
        UnsupportedMediaError: It is a still picture.
    """
    if is_image_file(length, read_range) and _movie(length, read_range) is None:
        raise still_image_error(image_format(read_range(0, min(length, 256))) or "HEIF", uri=uri)


def still_image_error(name: str, *, uri: str | None = None) -> UnsupportedMediaError:
    """Return the error for an image that is referred to as a video."""
    return UnsupportedMediaError(
        f"expected a video, found an image ({name}); load it with a reference that has no pts_ns: "
        "MediaRef(uri)",
        uri=uri,
    )


def is_image_file(length: int, read_range: ReadRange) -> bool:
    """Return whether a file's brands are those of AVIF or HEIF, of a still picture or a sequence."""
    return bool(_brands(read_range(0, min(length, 256))) & _IMAGE_BRANDS)


def has_alpha_track(length: int, read_range: ReadRange) -> bool:
    """Return whether an AVIF or HEIF sequence has its alpha in a track of its own."""
    if not is_image_file(length, read_range):
        return False
    movie = _movie(length, read_range)
    if movie is None or movie[1] > _MAX_MOVIE_BYTES:
        return movie is not None
    return _ALPHA_TRACK.search(read_range(*movie)) is not None


def _brands(head: bytes) -> frozenset[bytes]:
    """Return the major and the compatible brands of a file's first box (ISO/IEC 14496-12, 4.3)."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return frozenset({head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))})


def _movie(length: int, read_range: ReadRange) -> tuple[int, int] | None:
    """Return offset and size of the first ``moov`` or ``moof`` box, None where there is none."""
    position = 0
    for _ in range(_MAX_BOXES):
        if position + 8 > length:
            return None
        box = read_box(read_range, position, length)
        if box.kind in _MOVIE_BOXES:
            return position, min(box.size or length, length - position)
        if box.size < 8:
            return None
        position += box.size
    return None
