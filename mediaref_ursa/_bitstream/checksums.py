"""Checksums inside packets, for codecs whose decoders do not mark packets that fail them."""

from __future__ import annotations

import zlib

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_INIT = 0xFFFFFFFF
_FFV1_REFERENCES = (0, 0x7A8C4079)  # error correction 1 and 2 (RFC 9043, 4.9; FFmpeg's ffv1.h)
_FFV1_FOOTER_BYTES = 8


def ffv1_checksums_hold(data: bytes) -> bool:
    """Return whether a packet of FFV1 is made of slices whose CRC-32 is right (RFC 9043, 4.9).

    False also for a stream without such checksums: one packet for which they hold proves that it has some.
    """
    end = len(data)
    while end >= _FFV1_FOOTER_BYTES:
        footer = end - _FFV1_FOOTER_BYTES
        begin = footer - int.from_bytes(data[footer : footer + 3], "big")
        if begin < 0 or not any(_crc_is(data[begin:end], reference) for reference in _FFV1_REFERENCES):
            return False
        end = begin
    return end == 0 and len(data) > 0


def _crc_is(data: bytes, reference: int) -> bool:
    """Return whether data that ends with its CRC-32, high bit first, has the expected remainder."""
    start = int(f"{reference:032b}"[::-1], 2)
    return zlib.crc32(data.translate(_REVERSED_BITS), start ^ _INIT) ^ _INIT == start
