"""Causes why a file cannot be read as a video: another kind of file, or a missing part. Pure.

A demuxer only says that data are invalid. These are the frequent cases: recordings and copies that
were not finished, and files that were never the video.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mediaref_ursa._containers.mp4 import HEADER_BYTES, read_box
from mediaref_ursa._containers.range_file import ReadRange
from mediaref_ursa._containers.riff import iter_chunks

_MAX_BOXES = 4096
_SAMPLE_BYTES = 1 << 16
_WHAT_TO_DO = (
    "the recorder did not finish, or the copy is incomplete; copy it anew, let the recorder finish it, or "
    "repair it with a tool that makes the index of a recording from the media"
)
_TEXT_KINDS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (
        re.compile(rb"version https://git-lfs\.github\.com/spec/"),
        "a Git LFS pointer and not the file that it stands for; fetch that with: git lfs pull",
    ),
    (
        re.compile(rb"(\.\./)*(\.git)?/annex/objects/"),
        "a git-annex pointer and not the file that it stands for; fetch that with: git annex get",
    ),
    (
        re.compile(rb"\s*(<!--.*?-->\s*)?<(!doctype\s+html|html|head|body)", re.IGNORECASE | re.DOTALL),
        "an HTML page, such as a server's error or sign-in page, saved under this name; download it anew",
    ),
    (
        re.compile(rb"\s*<(\?xml|Error>)"),
        "an XML document, such as the error of an object store, saved under this name; download it anew",
    ),
    (
        re.compile(rb'\s*\{\s*"'),
        "a JSON document, such as the error of a server, saved under this name; download it anew",
    ),
)
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PK\3\4", "a ZIP archive; unpack it first"),
    (b"\x1f\x8b", "data compressed by gzip; unpack them first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"%PDF", "a PDF document"),
)


def describe_no_media(head: bytes) -> str | None:
    """Return the kind of a file that is no media, by its first bytes, and a remedy; None if not known.

    >>> describe_no_media(b"<!DOCTYPE html><html>404")[:12]
    'an HTML page'
    """
    head = head.removeprefix(b"\xef\xbb\xbf")
    if len(head) >= 16 and not any(head):
        return "zeros only: room was made for a file that was never written; copy or download it anew"
    for signature, what in _SIGNATURES:
        if head.startswith(signature):
            return what
    for pattern, what in _TEXT_KINDS:
        if pattern.match(head):
            return what
    return None


def missing_part(container: str, length: int, read_range: ReadRange) -> str | None:
    """Return the part that an unreadable container lacks, and a remedy; None if not known.

    Args:
        container: FFmpeg's name of the demuxer.
        length: Bytes of the file.
        read_range: Returns up to ``length`` bytes from ``offset`` on.
    """
    look = _LOOKS.get(container)
    return None if look is None else look(length, read_range)


def _missing_in_mp4(length: int, read: ReadRange) -> str | None:
    """Return the advice for a file without ``moov``, which has the frames' offsets (14496-12, 8.2.1)."""
    position, kinds = 0, []
    for _ in range(_MAX_BOXES):
        if position + 8 > length:
            break
        box = read_box(read, position, length)
        size = box.size
        if not any(read(position, HEADER_BYTES)):
            return (
                f"the file is zeros from byte {position} on, where its index (moov) should be: {_WHAT_TO_DO}"
            )
        if box.kind == b"moov":
            if position + size <= length:
                return None
            return (
                f"the index of the file (moov) is cut off: it takes {size} bytes from byte {position} on, "
                f"and the file has {length}: {_WHAT_TO_DO}"
            )
        kinds.append(box.kind.decode("latin-1"))
        if size < 8:
            break
        position += size
    return (
        f"the index of the file (its moov box) is missing, found only {', '.join(kinds[:8])}: {_WHAT_TO_DO}"
    )


def _missing_in_matroska(length: int, read: ReadRange) -> str | None:
    """Return the advice for a file without a Cluster, the element of frames (RFC 9559, 5.1.3)."""
    for start in range(0, length, _SAMPLE_BYTES):
        if b"\x1f\x43\xb6\x75" in read(start, min(_SAMPLE_BYTES + 3, length - start)):
            return None
    return f"the file has a header and no cluster, that is no frame: {_WHAT_TO_DO}"


def _missing_in_avi(length: int, read: ReadRange) -> str | None:
    """Return the advice for a file without the list ``movi``, which contains the frames."""
    for chunk in iter_chunks(read, 12, length, _MAX_BOXES):
        if chunk.kind == b"LIST" and chunk.form == b"movi":
            has_frames = chunk.start + 12 <= length
            return None if has_frames else f"the file ends where its frames begin: {_WHAT_TO_DO}"
    return f"the file has a header and no list of frames (movi): {_WHAT_TO_DO}"


_LOOKS: dict[str, Callable[[int, ReadRange], str | None]] = {
    "mov": _missing_in_mp4,
    "matroska": _missing_in_matroska,
    "avi": _missing_in_avi,
}
