"""Which container a file is, from its first bytes: never from its name, never by trying demuxers."""

from __future__ import annotations

from mediaref_ursa._errors import CorruptMediaError, UnsupportedMediaError

SNIFF_BYTES = 600
"""How many bytes :func:`sniff_container` wants to see."""

_MP4_BOXES = frozenset(
    {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx", b"uuid"}
)
_ASF_GUID = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
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
        raise CorruptMediaError("expected a video, found an empty file", uri=uri)
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
    raise UnsupportedMediaError(
        "expected a video (MP4, MOV, Matroska, WebM, AVI, MPEG-TS, MPEG-PS, FLV, Ogg, ASF, IVF, GIF), "
        f"found bytes that begin with {head[:16]!r}; a playlist, a script or text is not read as one",
        uri=uri,
    )


def _is_transport_stream(head: bytes) -> bool:
    for size, first in _TS_PACKET_BYTES:
        marks = head[first::size][:3]
        if len(marks) >= min(3, max(1, len(head) // size)) and set(marks) == {0x47}:
            return True
    return False
