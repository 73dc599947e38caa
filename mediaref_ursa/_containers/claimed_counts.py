"""Counts that a container claims, checked against its file's length before a demuxer allocates for them.

A demuxer takes memory for as many samples as a table announces: 100 bytes of ``stsz`` or ``trun`` that
announce 80 million made FFmpeg 8 take 2.8 to 4.8 GB, 20 bytes of an FLV file's key frame list 2.1 GB, and
2.6 KB of an AVI file's index 0.26 GB. Each sample is a byte of the file at least. Matroska, IVF and GIF files
with forged sizes and counts took no more than honest ones.

Boxes are looked at as the demuxer comes to them, so that nothing is read which it does not read.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mediaref_ursa._containers.mp4 import read_box
from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._containers.riff import read_chunk
from mediaref_ursa._core.errors import LimitExceededError

_CONTAINERS = frozenset(
    {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"udta", b"edts", b"dinf"}
    | {b"sinf", b"schi", b"tref", b"wave", b"ilst", b"meta", b"gmhd", b"clip", b"cmov"}
)
_TOP_LEVEL = frozenset({b"moov", b"moof", b"meta", b"udta", b"trak", b"sidx", b"styp", b"free", b"mfra"})
_DEEPEST = 16
_MAX_BOXES = 1 << 22  # some days of fragments
_MAX_SEARCHED_BYTES = 1 << 16
_MAX_INFLATED_BYTES = 64 << 20
_FIELDS_OF_SAMPLE = (0x100, 0x200, 0x400, 0x800)  # of trun's flags (ISO/IEC 14496-12, 8.8.8)
_UNCOMPRESSED_SHARE = 64  # samples a byte of QuickTime's old audio codecs, which count what they decode to
_FLV_LISTS = (b"\x00\x05times\x0a", b"\x00\x0dfilepositions\x0a")
_INDEX_HEAD_BYTES = 24
_MAX_INDEX_SHARE = 4  # of a file's bytes, which several indexes may name at once
_FLV_VALUE_BYTES = 9  # a type and a double

ReadAt = Callable[[int, int], bytes]


class CheckedReader:
    """A file object for a demuxer that raises before the demuxer sees an impossible count.

    Belongs to one thread, as the reader does.

    Args:
        reader: The file.
        container: FFmpeg's name of its demuxer.
        uri: Named in errors.
    """

    def __init__(self, reader: RangeReader, container: str, uri: str) -> None:
        self._reader = reader
        self._check = _CHECKS.get(container, _NoCheck)(reader.read_at, reader.length, uri)

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes from the current position.

        Raises:
            LimitExceededError: They hold a count that the file cannot hold.
        """
        position = self._reader.tell()
        data = self._reader.read(size)
        if data:
            self._check.see(position, data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, as a file's ``seek`` does, and return it."""
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        """Return the current position in bytes."""
        return self._reader.tell()

    def seekable(self) -> bool:
        """Return True: any position can be reached."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True


class _NoCheck:
    """The check of containers whose counts make no demuxer allocate memory: none."""

    def __init__(self, read_at: ReadAt, length: int, uri: str) -> None:
        self._read_at, self._length, self._uri = read_at, length, uri

    def see(self, position: int, data: bytes) -> None:
        """Check bytes before the demuxer gets them."""

    def _refuse(self, what: str, count: int) -> None:
        if count > self._length:
            raise LimitExceededError(
                f"expected no more samples than bytes in a file of {self._length} bytes, found {what} that "
                f"announces {count}: the container is forged or damaged",
                uri=self._uri,
            )


class _Mp4Check(_NoCheck):
    """Checks the boxes of an MP4 or MOV file (ISO/IEC 14496-12) up to the position that was read."""

    def __init__(self, read_at: ReadAt, length: int, uri: str) -> None:
        super().__init__(read_at, length, uri)
        self._next = 0
        self._end_of_read = 0
        self._seen: set[int] = set()
        self._in_fragments = 0
        self._left_boxes = _MAX_BOXES
        self._is_audio = False
        self._share = 1

    def see(self, position: int, data: bytes) -> None:
        end = position + len(data)
        if position != self._end_of_read and data[4:8] in _TOP_LEVEL:  # a jump by an index of fragments
            self._next = position
        self._end_of_read = end
        while position <= self._next < end:
            self._next = self._box(self._read_at, self._next, self._length, 0)

    def _box(self, read: ReadAt, start: int, stop: int, depth: int) -> int:
        """Check one box and its content; return the position of the next."""
        self._left_boxes -= 1
        if self._left_boxes < 0:
            raise LimitExceededError(
                f"expected a movie of at most {_MAX_BOXES} boxes, found more: the container is forged "
                "or damaged",
                uri=self._uri,
            )
        box = read_box(read, start, stop)
        end = min(box.end, stop)
        if end < box.start:
            return stop
        if depth == 0 and start in self._seen:
            return end
        if depth == 0:
            self._seen.add(start)
        self._content(read, box.kind, box.start, end, depth)
        return end

    def _content(self, read: ReadAt, kind: bytes, start: int, end: int, depth: int) -> None:
        size = end - start
        if kind == b"trak":
            self._is_audio = False
        elif kind == b"hdlr":
            subtype = read(start + 8, 4) if size >= 12 else b""
            self._is_audio = subtype == b"soun" if subtype in (b"soun", b"vide") else self._is_audio
        elif kind == b"stbl":
            self._share = self._samples_of_a_byte(read, start, end)
        if kind in _CONTAINERS and depth < _DEEPEST:
            if kind == b"meta":
                start += max(0, read(start, min(256, size)).find(b"hdlr") - 4)
            while start + 8 <= end:
                start = self._box(read, start, end, depth + 1)
        elif kind in (b"stsz", b"trun"):
            self._table(kind, read(start, min(24, size)))
        elif kind == b"stsd":
            self._search(read(start, min(_MAX_SEARCHED_BYTES, size)))
        elif kind == b"cmvd":
            self._compressed(read(start, size))

    def _table(self, kind: bytes, head: bytes) -> None:
        """Check the count of one table; ``head`` begins with its version and flags."""
        if kind == b"stsz":
            each, count = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
            if each:  # else the table contains each size
                self._refuse("a table of sample sizes (stsz)", count // self._share)
            return
        flags, count = int.from_bytes(head[1:4], "big"), int.from_bytes(head[4:8], "big")
        bytes_each = 4 * sum(bool(flags & field) for field in _FIELDS_OF_SAMPLE)
        self._in_fragments += count
        self._refuse("a fragment (trun)", max(self._in_fragments, count * bytes_each))

    def _search(self, data: bytes) -> None:
        """Check tables within sample descriptions, where a demuxer accepts any box."""
        for kind in (b"stsz", b"trun"):
            at = data.find(kind)
            while at >= 0:
                self._table(kind, data[at + 4 : at + 28])
                at = data.find(kind, at + 1)

    def _compressed(self, data: bytes) -> None:
        """Check the content of a compressed movie box (QuickTime)."""
        try:
            movie = zlib.decompressobj().decompress(data[4:], _MAX_INFLATED_BYTES)
        except zlib.error:
            return
        position = 0
        while position + 8 <= len(movie):
            position = self._box(lambda at, size: movie[at : at + size], position, len(movie), 1)

    def _samples_of_a_byte(self, read: ReadAt, start: int, end: int) -> int:
        """Return the number of samples that one byte may stand for: one, except in some audio tracks.

        Where each sample lasts one tick, a demuxer takes audio by chunks, and some of QuickTime's codecs
        count what they decode to. Then it is the samples of the chunks that it takes memory for.
        """
        tables = _tables(read, start, end)
        if not self._is_audio or _numbers(read, tables.get(b"stts"), 2)[:2, 1:].tolist() != [[1]]:
            return 1
        rows = _numbers(read, tables.get(b"stsc"), 3)
        chunks = len(_numbers(read, tables.get(b"stco") or tables.get(b"co64"), 1))
        if len(rows) and chunks:
            following = np.append(rows[1:, 0], chunks + 1)
            spans = np.maximum(np.minimum(following, chunks + 1) - rows[:, 0], 0)
            samples = float((spans.astype(np.float64) * rows[:, 1]).sum())
            self._refuse("chunks (stsc)", int(samples / _UNCOMPRESSED_SHARE))
        return _UNCOMPRESSED_SHARE


def _tables(read: ReadAt, start: int, end: int) -> dict[bytes, tuple[int, int]]:
    """Yield the begin and end of the content of each box within another."""
    found: dict[bytes, tuple[int, int]] = {}
    while start + 8 <= end:
        header = read(start, 8)
        size = int.from_bytes(header[:4], "big")
        if size < 8:
            break
        found[header[4:8]] = start + 8, min(start + size, end)
        start += size
    return found


def _numbers(read: ReadAt, span: tuple[int, int] | None, columns: int) -> npt.NDArray[np.int64]:
    """Return the rows of a table of 32-bit numbers, as many as it holds."""
    if span is None or span[1] - span[0] < 8:
        return np.empty((0, columns), dtype=np.int64)
    count = int.from_bytes(read(span[0] + 4, 4), "big")
    count = min(count, (span[1] - span[0] - 8) // (4 * columns))
    data = read(span[0] + 8, 4 * columns * count)
    return np.frombuffer(data, ">u4").astype(np.int64).reshape(-1, columns)


class _FlvCheck(_NoCheck):
    """Checks lists of key frames in FLV script data, found by their names and the type of a list."""

    def __init__(self, read_at: ReadAt, length: int, uri: str) -> None:
        super().__init__(read_at, length, uri)
        self._overlap = max(map(len, _FLV_LISTS)) + 4

    def see(self, position: int, data: bytes) -> None:
        begin = max(0, position - self._overlap)
        around = self._read_at(begin, position - begin) + data
        around += self._read_at(position + len(data), 4)
        for name in _FLV_LISTS:
            at = around.find(name)
            while at >= 0:
                count = int.from_bytes(around[at + len(name) : at + len(name) + 4], "big")
                self._refuse("a list of key frames", count * _FLV_VALUE_BYTES)
                at = around.find(name, at + 1)


class _AviCheck(_NoCheck):
    """Checks the packet sizes in an AVI file's indexes, by which a demuxer splits packets into samples.

    One entry of ``idx1`` or of an OpenDML index that claims 512 MB made it take 12 MB for each audio stream.
    """

    def __init__(self, read_at: ReadAt, length: int, uri: str) -> None:
        super().__init__(read_at, length, uri)
        self._is_seen = False
        self._indexes: set[int] = set()
        self._left_bytes = _MAX_INDEX_SHARE * length

    def see(self, position: int, data: bytes) -> None:
        if self._is_seen:
            return
        self._is_seen = True
        start = 12
        while start + 8 <= self._length:
            chunk = read_chunk(self._read_at, start, self._length)
            if chunk.kind in (b"LIST", b"RIFF") and chunk.form != b"movi":
                start += 12
                continue
            if chunk.kind == b"idx1":
                size = min(chunk.size, self._length - chunk.start)
                self._entries(chunk.start, size, columns=4, of_sizes=3)
            elif chunk.kind == b"indx":
                self._index(chunk.start)
            start = chunk.end

    def _index(self, start: int, depth: int = 0) -> None:
        """Check the used entries of an OpenDML index, and the indexes they point to (OpenDML AVI 1.02, 3.0).

        A demuxer reads as many as the index says, wherever its chunk ends. What is only reserved, and may
        hold anything, it never reads.
        """
        head = self._read_at(start, _INDEX_HEAD_BYTES)
        in_use = int.from_bytes(head[4:8], "little")
        if head[3:4] == b"\x01":
            self._entries(start + _INDEX_HEAD_BYTES, 8 * in_use, columns=2, of_sizes=1)
        elif head[3:4] == b"\x00":
            if depth > _DEEPEST or (depth and start in self._indexes):
                self._refuse_index("indexes that point to one another")
            self._indexes.add(start)
            entries = self._take(start + _INDEX_HEAD_BYTES, 16 * in_use)
            for at in range(0, len(entries) - 15, 16):
                offset = int.from_bytes(entries[at : at + 8], "little")
                if offset + 8 < self._length:
                    self._index(offset + 8, depth + 1)

    def _entries(self, start: int, size: int, *, columns: int, of_sizes: int) -> None:
        data = self._take(start, size)
        data = data[: len(data) - len(data) % (4 * columns)]
        sizes = np.frombuffer(data, "<u4").reshape(-1, columns)[:, of_sizes] & 0x7FFFFFFF
        self._refuse("an index with a packet", int(sizes.max(initial=0)))

    def _take(self, start: int, size: int) -> bytes:
        """Return bytes of an index; the indexes together may take a few times the file's length."""
        size = max(0, min(size, self._length - start))
        self._left_bytes -= size
        if self._left_bytes < 0:
            self._refuse_index("indexes that together are larger")
        return self._read_at(start, size)

    def _refuse_index(self, what: str) -> None:
        raise LimitExceededError(
            f"expected an index of the packets of a file of {self._length} bytes, found {what}: "
            "the container is forged or damaged",
            uri=self._uri,
        )


_CHECKS: dict[str, type[_NoCheck]] = {"mov": _Mp4Check, "flv": _FlvCheck, "avi": _AviCheck}
