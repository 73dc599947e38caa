"""What a packet's own bits say: whether decoding can begin there, whether it is displayed, who needs it.

A container's keyframe flag is only a hint: some files flag every packet. Pure: bytes in, facts out.
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
    """Return what reads a codec's packets, or None where only a trial decode shows it.

    Args:
        codec: FFmpeg's canonical name of the codec.
        extradata: The container's codec configuration, may be empty.
    """
    make = _INSPECTORS.get(codec)
    return None if make is None else make(extradata)


__all__ = ["STATELESS_CODECS", "Inspector", "Traits", "inspector_for"]
