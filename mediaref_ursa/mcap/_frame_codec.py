"""What the bytes of a frame are, and those that a video file can hold."""

from __future__ import annotations

from typing import NamedTuple

from mediaref_ursa._containers.image_kinds import image_format
from mediaref_ursa._core.errors import CorruptMediaError, UnsupportedMediaError
from mediaref_ursa._images.pillow import encode, is_deep, open_image
from mediaref_ursa.mcap._decode_message import EncodedFrame

_VIDEO_CODECS = {"h264": "h264", "h265": "hevc", "hevc": "hevc", "vp9": "vp9", "av1": "av1"}
_IMAGE_CODECS = {"JPEG": "mjpeg", "PNG": "png"}
IMAGE_CODECS = frozenset(_IMAGE_CODECS.values())
"""Codecs of which every frame can be decoded by itself."""

_SIGNATURE_BYTES = 64
_DEPTH_HEADER_BYTES = 12  # an enum and two floats, in front of images of the transport compressedDepth


class CodecFrame(NamedTuple):
    """A frame for a video file.

    Attributes:
        codec: FFmpeg's name.
        data: The packet.
        is_encoded_anew: Whether it was an image of another kind, and is a PNG of the same pixels now.
    """

    codec: str
    data: bytes
    is_encoded_anew: bool = False


def codec_frame(frame: EncodedFrame) -> CodecFrame:
    """Return the packet of a frame, and its codec: by the first bytes of images, by the format of video.

    Raises:
        UnsupportedMediaError: A format that no video file holds.
        CorruptMediaError: The message is empty, or an image of another kind is damaged.
    """
    if not frame.data:
        raise CorruptMediaError("expected the bytes of a frame, found none")
    if frame.is_video:
        return CodecFrame(_video_codec(frame), frame.data)
    data = _without_depth_header(frame)
    kind = image_format(data[:_SIGNATURE_BYTES])
    if kind in _IMAGE_CODECS:
        return CodecFrame(_IMAGE_CODECS[kind], data)
    if kind is None:
        return CodecFrame(_video_codec(frame), data)
    return CodecFrame("png", _as_png(data), is_encoded_anew=True)


def _video_codec(frame: EncodedFrame) -> str:
    codec = _VIDEO_CODECS.get(frame.format.strip().lower())
    if codec is None:
        expected = ", ".join(_VIDEO_CODECS) if frame.is_video else "an image, JPEG or PNG mostly"
        raise UnsupportedMediaError(
            f"expected {expected}, found the format {frame.format!r} and bytes that begin with "
            f"{frame.data[:8]!r}"
        )
    return codec


def _without_depth_header(frame: EncodedFrame) -> bytes:
    """Return the image of a message of ROS's compressedDepth transport, and of all others their bytes."""
    if "compressedDepth" not in frame.format:
        return frame.data
    if frame.format.strip().startswith("32FC1"):
        raise UnsupportedMediaError(
            "expected depth in whole millimetres (16UC1), found inverse depth of floating point (32FC1), "
            "whose scale differs from message to message; decode it with ROS"
        )
    return frame.data[_DEPTH_HEADER_BYTES:]


def _as_png(data: bytes) -> bytes:
    """Return an image as a PNG of the same pixels."""
    image = open_image(data)
    if is_deep(image) and image.mode != "I;16":
        raise UnsupportedMediaError(
            f"expected samples of 8 or 16 bits, which PNG keeps, found an image of Pillow's mode {image.mode}"
        )
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        raise UnsupportedMediaError(
            f"expected gray or RGB, which PNG keeps, found an image of Pillow's mode {image.mode}"
        )
    return encode(image, "png")
