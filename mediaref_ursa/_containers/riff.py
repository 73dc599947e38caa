"""Chunks of RIFF files: AVI. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mediaref_ursa._containers.range_file import ReadRange


class Chunk(NamedTuple):
    """The header of a chunk.

    Attributes:
        kind: Its four characters; fewer where the file ends.
        form: Those of a ``LIST`` or ``RIFF`` chunk's content.
        start: Where its content begins.
        size: Bytes of its content, as it says.
    """

    kind: bytes
    form: bytes
    start: int
    size: int

    @property
    def end(self) -> int:
        """Where the next chunk begins: chunks are padded to an even length."""
        return self.start + self.size + self.size % 2


def read_chunk(read: ReadRange, position: int, length: int) -> Chunk:
    r"""Return the chunk at a position of a file.

    >>> read_chunk(lambda offset, size: b"LIST\x05\0\0\0movi."[:size], 0, 13).end
    14
    """
    header = read(position, min(12, max(0, length - position)))
    return Chunk(header[:4], header[8:12], position + 8, int.from_bytes(header[4:8], "little"))


def iter_chunks(read: ReadRange, start: int, length: int, max_chunks: int) -> Iterator[Chunk]:
    r"""Yield the chunks of a file from a position on, up to a truncated header.

    Args:
        read: Returns bytes of the file.
        start: Where the first one begins.
        length: Bytes of the file.
        max_chunks: How many are yielded at most.

    >>> file = b"JUNK\x01\0\0\0aaidx1\0\0\0\0"
    >>> [chunk.kind for chunk in iter_chunks(lambda at, size: file[at : at + size], 0, len(file), 9)]
    [b'JUNK', b'idx1']
    """
    for _ in range(max_chunks):
        if start + 8 > length:
            return
        chunk = read_chunk(read, start, length)
        yield chunk
        start = chunk.end
