"""The header of a frame: where it is that of another frame, so are size and pixel format."""

from __future__ import annotations

from mediaref_ursa._bitstream.bits import annex_b_nals

_APP14, _START_OF_SCAN = 0xEE, 0xDA
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_H264_SPS, _HEVC_SPS = 7, 33
_IHDR = slice(16, 29)


def frame_header(codec: str, data: bytes) -> bytes | None:
    """Return the bytes of a frame that its size and pixel format follow from.

    It is much cheaper to compare them than to read every frame with FFmpeg, which decodes it.

    Args:
        codec: FFmpeg's name.
        data: A frame with which decoding can begin.

    Returns:
        None where they are not found, or the codec has none that are simple to find.

    >>> frame_header("png", bytes(16) + b"0123456789abc" + bytes(9))
    b'0123456789abc'
    """
    if codec == "png":
        return data[_IHDR] or None
    if codec == "mjpeg":
        return _jpeg_header(data) or None
    if codec == "h264":
        sets = [nal for nal in annex_b_nals(memoryview(data)) if nal[0] & 31 == _H264_SPS]
    elif codec == "hevc":
        sets = [nal for nal in annex_b_nals(memoryview(data)) if (nal[0] >> 1) & 63 == _HEVC_SPS]
    else:
        return None
    return b"".join(sets) or None


def _jpeg_header(data: bytes) -> bytes:
    """Return the start of frame, and what says how colours are stored (ITU-T T.81, B.2.2)."""
    found = b""
    position = 2
    while data[position : position + 1] == b"\xff" and position + 4 <= len(data):
        marker = data[position + 1]
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _APP14 or marker in _START_OF_FRAME:
            found += data[position:end]
        if marker in _START_OF_FRAME or marker == _START_OF_SCAN:
            return found if marker in _START_OF_FRAME else b""
        position = end
    return b""
