"""Bitstream readers: each packet's random access, display and reference flags, read from its own headers.

A container's keyframe flag is only a hint: some files flag every packet. Pure: bytes in, facts out. Written
by hand on purpose: a few bits of each packet are needed, bounded on hostile input and without decoding, and
FFmpeg's parsers, as PyAV offers them, do not report them.
"""

from __future__ import annotations

from collections.abc import Callable

from mediaref_ursa._bitstream.av1 import Av1Inspector
from mediaref_ursa._bitstream.h264 import H264Inspector
from mediaref_ursa._bitstream.hevc import HevcInspector
from mediaref_ursa._bitstream.intra import STATELESS_CODECS, JpegInspector, StatelessInspector
from mediaref_ursa._bitstream.mpeg import Mpeg2Inspector
from mediaref_ursa._bitstream.mpeg4 import Mpeg4Inspector
from mediaref_ursa._bitstream.traits import Inspector, Traits
from mediaref_ursa._bitstream.vpx import Ffv1Inspector, Vp8Inspector, Vp9Inspector

_INSPECTORS: dict[str, Callable[[bytes], Inspector]] = {
    "h264": H264Inspector,
    "hevc": HevcInspector,
    "av1": Av1Inspector,
    "vp8": Vp8Inspector,
    "vp9": Vp9Inspector,
    "mpeg1video": Mpeg2Inspector,
    "mpeg2video": Mpeg2Inspector,
    "mpeg4": Mpeg4Inspector,
    "ffv1": Ffv1Inspector,
    "mjpeg": JpegInspector,
    **dict.fromkeys(STATELESS_CODECS, StatelessInspector),
}


def inspector_for(codec: str, extradata: bytes) -> Inspector | None:
    """Return the bitstream reader of a codec, or None if there is none and the scan needs a trial decode.

    Args:
        codec: FFmpeg's canonical name of the codec.
        extradata: The container's codec configuration, may be empty.
    """
    make = _INSPECTORS.get(codec)
    return None if make is None else make(extradata)


__all__ = ["STATELESS_CODECS", "Inspector", "Traits", "inspector_for"]
