"""A reader of bit fields, and the two packings of NAL units: length-prefixed and Annex B."""

from __future__ import annotations

from collections.abc import Iterator

Buffer = bytes | memoryview

_START_CODE = b"\0\0\1"


class BitReader:
    """Reads big-endian bit fields and Exp-Golomb codes; past the end it reads zeros.

    >>> reader = BitReader(bytes([0b1010_0110]))
    >>> reader.bits(1), reader.ue(), reader.bits(2)
    (1, 1, 1)
    """

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

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


def escape(nal: Buffer) -> bytes:
    """Insert emulation prevention bytes (ITU-T H.264, 7.4.1).

    >>> unescape(escape(bytes([0, 0, 1, 0, 0, 0]))).hex()
    '000001000000'
    """
    escaped = bytearray()
    zeros = 0
    for byte in bytes(nal):
        if zeros == 2 and byte <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(escaped)


def length_prefixed_nals(data: memoryview, length_size: int) -> Iterator[memoryview]:
    """Yield the NAL units of an MP4 or Matroska packet, stopping at a length that cannot be true.

    A start code inside a unit ends it, and what follows is a unit of its own, up to the end that the length
    field says: some cameras put several units under one length, and decoders split them so.
    """
    position, end = 0, len(data)
    while position + length_size < end:
        size = int.from_bytes(data[position : position + length_size], "big")
        position += length_size
        if size > end - position:
            return
        if size:
            yield from _split_at_start_codes(data[position : position + size])
        position += size


def _split_at_start_codes(unit: memoryview) -> Iterator[memoryview]:
    raw = bytes(unit)
    first = raw.find(_START_CODE)
    if first < 0:
        yield unit
        return
    if _without_trailing_zeros(raw, 0, first):
        yield unit[: _without_trailing_zeros(raw, 0, first)]
    yield from annex_b_nals(unit[first:])


def annex_b_nals(data: memoryview) -> Iterator[memoryview]:
    """Yield the NAL units between start codes (ITU-T H.264, annex B)."""
    raw = bytes(data)
    start = raw.find(_START_CODE)
    while start >= 0:
        start += len(_START_CODE)
        following = raw.find(_START_CODE, start)
        end = _without_trailing_zeros(raw, start, len(raw) if following < 0 else following)
        if end > start:
            yield data[start:end]
        start = following


def _without_trailing_zeros(raw: bytes, start: int, end: int) -> int:
    while end > start and raw[end - 1] == 0:
        end -= 1
    return end
