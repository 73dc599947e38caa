"""Decoders of one video, with the calls of ``torchcodec.decoders.VideoDecoder`` and of MediaRef.

Which frame a call gives is decided by the frame index, so that all decoders name the same one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mediaref_ursa._core.extras import has_extra as _has_extra
from mediaref_ursa.video_decoder.base import BaseVideoDecoder
from mediaref_ursa.video_decoder.frame_batch import Frame, FrameBatch
from mediaref_ursa.video_decoder.types import BatchDecodingStrategy, VideoStreamMetadata

if TYPE_CHECKING:
    from mediaref_ursa.video_decoder.codec_decoder import CodecVideoDecoder
    from mediaref_ursa.video_decoder.pyav_decoder import PyAVVideoDecoder
    from mediaref_ursa.video_decoder.tensorcodec_decoder import TensorCodecVideoDecoder
    from mediaref_ursa.video_decoder.torchcodec_decoder import TorchCodecVideoDecoder

__all__ = [
    "BaseVideoDecoder",
    "BatchDecodingStrategy",
    "CodecVideoDecoder",
    "Frame",
    "FrameBatch",
    "PyAVVideoDecoder",
    "TensorCodecVideoDecoder",
    "TorchCodecVideoDecoder",
    "VideoStreamMetadata",
]

if not _has_extra("video"):  # so that a star import gives the names that exist
    __all__ = [name for name in __all__ if not name.endswith("VideoDecoder") or name.startswith("Base")]

_HOME_OF = {
    "CodecVideoDecoder": "codec_decoder",
    "PyAVVideoDecoder": "pyav_decoder",
    "TensorCodecVideoDecoder": "tensorcodec_decoder",
    "TorchCodecVideoDecoder": "torchcodec_decoder",
}


def __getattr__(name: str) -> object:
    """Load a decoder, and the libraries that it needs, on first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
