"""Bits of a header, and the two ways in which NAL units are packed."""

from __future__ import annotations

from collections.abc import Iterator

Buffer = bytes | memoryview


class BitReader:
    """Reads big-endian bit fields and Exp-Golomb codes; past the end it reads zeros.

    >>> reader = BitReader(bytes([0b1010_0110]))
    >>> reader.bits(1), reader.ue(), reader.bits(2)
    (1, 1, 1)
    """

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    @property
    def bits_left(self) -> int:
        """Bits that have not been read, negative once the reader ran past the end."""
        return self._left

    def bits(self, count: int) -> int:
        """Return the next ``count`` bits as an unsigned number."""
        self._left -= count
        if self._left < 0:
            return (self._value << -self._left) & ((1 << count) - 1) if self._left > -count else 0
        return (self._value >> self._left) & ((1 << count) - 1)

    def ue(self) -> int:
        """Return the next unsigned Exp-Golomb code (ITU-T H.264, 9.1)."""
        zeros = 0
        while zeros < 32 and not self.bits(1):
            zeros += 1
        return (1 << zeros) - 1 + self.bits(zeros)

    def se(self) -> int:
        """Return the next signed Exp-Golomb code (ITU-T H.264, 9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def unescape(nal: Buffer) -> bytes:
    """Remove emulation prevention bytes (ITU-T H.264, 7.3.1)."""
    return bytes(nal).replace(b"\0\0\3", b"\0\0")


def length_prefixed_nals(data: memoryview, length_size: int) -> Iterator[memoryview]:
    """Yield the NAL units of an MP4 or Matroska packet, stopping at a length that cannot be true."""
    position, end = 0, len(data)
    while position + length_size < end:
        size = int.from_bytes(data[position : position + length_size], "big")
        position += length_size
        if size > end - position:
            return
        if size:
            yield data[position : position + size]
        position += size


def annex_b_nals(data: memoryview) -> Iterator[memoryview]:
    """Yield the NAL units between start codes (ITU-T H.264, annex B)."""
    raw = bytes(data)
    start = raw.find(b"\0\0\1")
    while start >= 0:
        start += 3
        following = raw.find(b"\0\0\1", start)
        end = len(raw) if following < 0 else following
        while end > start and raw[end - 1] == 0:
            end -= 1
        if end > start:
            yield data[start:end]
        start = following
