"""Probe of a segment: its ``SegmentInfo``, from the container and the first frame."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import count

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._containers.sniff import find_container, is_cut_short
from mediaref_ursa._core.errors import CorruptMediaError, LimitExceededError, UnsupportedMediaError
from mediaref_ursa._model.pixels import MAX_PIXELS, PixelSpec
from mediaref_ursa._model.segment import EncodedPacket, SegmentInfo
from mediaref_ursa._model.stream_header import StreamHeader
from mediaref_ursa._pyav.codec import max_decoded, numbered_packet, open_context, use_one_thread
from mediaref_ursa._pyav.convert import FrameConverter, quarter_turns
from mediaref_ursa._pyav.demux import open_video, packets
from mediaref_ursa._pyav.errors import foreign_errors
from mediaref_ursa._pyav.palettes import SHOWS_SIDE_DATA, palette_of

_CANONICAL_NAMES = {"libdav1d": "av1", "libaom-av1": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}

_OWN_PALETTES = ("gif", "png", "apng", "zmbv")
"""Codecs whose packets contain their palettes."""


def probe_segment(
    reader: RangeReader,
    *,
    uri: str,
    etag: str | None,
    stream_index: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> SegmentInfo:
    """Return the ``SegmentInfo`` of a video stream.

    The first frame is decoded twice, by the container's own decoder and by one made from what is
    recorded; where they differ, the segment could not be read from its index.

    Raises:
        UnsupportedMediaError: No video, or a codec that cannot be decoded packet by packet.
        CorruptMediaError: No frame can be decoded.
        LimitExceededError: Frames of more than ``max_pixels`` pixels.
    """
    max_decoded_pixels = max_decoded(max_pixels)
    with open_video(reader, uri=uri, stream_index=stream_index, max_pixels=max_decoded_pixels) as (
        container,
        stream,
    ):
        _check_pixels(stream, max_pixels, uri)
        info = _describe(stream, container.format.name, reader, uri=uri, etag=etag)
        info = replace(info, stream_index=stream_index)
        try:
            theirs, ours = _first_frames(container, stream, info)
        except CorruptMediaError as error:
            if info.width * info.height:
                raise
            raise LimitExceededError(
                f"expected frames of at most {max_pixels} pixels, found none of a known size: they are "
                "larger, or damaged; allow more with max_pixels=",
                uri=uri,
            ) from error
    if not _same_picture(theirs, ours, uri):
        raise UnsupportedMediaError(
            f"{info.codec} in {info.container} cannot be decoded packet by packet here: "
            "the first frame differs from the container's own",
            uri=uri,
        )
    if theirs.format.name == "pal8" and not SHOWS_SIDE_DATA and info.codec not in _OWN_PALETTES:
        raise UnsupportedMediaError(
            "a video whose container has a palette needs PyAV 16 or later: pip install 'av>=16'", uri=uri
        )
    info = replace(info, rotation_by_frame=theirs.rotation == ours.rotation)
    return _with_first_frame(info, theirs)


def _check_pixels(stream: VideoStream, max_pixels: int, uri: str) -> None:
    """Refuse frames that are too large, and limit the container's decoder for later ones."""
    context = stream.codec_context
    if context is None:
        return
    if context.width * context.height > max_pixels:
        raise LimitExceededError(
            f"expected at most {max_pixels} pixels, found {context.width}x{context.height}; "
            "allow more with max_pixels=",
            uri=uri,
        )
    context.options = {**context.options, "max_pixels": str(max_decoded(max_pixels))}


def _describe(
    stream: VideoStream, container: str, reader: RangeReader, *, uri: str, etag: str | None
) -> SegmentInfo:
    context = stream.codec_context
    if context is None or context.codec is None:
        raise UnsupportedMediaError(
            "expected a codec that this FFmpeg decodes, found one it does not", uri=uri
        )
    time_base = stream.time_base
    if time_base is None or time_base <= 0:
        raise CorruptMediaError(f"expected a positive time base, found {time_base}", uri=uri)
    tag = context.codec_tag
    return SegmentInfo(
        uri=uri,
        length=reader.length,
        etag=etag,
        container=container,
        codec=_CANONICAL_NAMES.get(context.name, context.name),
        codec_tag=tag if tag.isprintable() and tag.isascii() else "",
        extradata=bytes(context.extradata or b""),
        time_base=Fraction(time_base.numerator, time_base.denominator),
        width=context.width,
        height=context.height,
        pixel_format=context.pix_fmt or "",
        colorspace=int(context.colorspace),
        color_range=int(context.color_range),
        rotation=0,
        addressable=False,
        bits_per_coded_sample=context.bits_per_coded_sample,
        cut_short=is_cut_short(find_container(reader.length, reader.read_at), reader.length, reader.read_at),
        reorder_depth=getattr(context, "reorder_depth", 0),
        header=_header(stream, context),
    )


def _header(stream: VideoStream, context: VideoCodecContext) -> StreamHeader:
    """Return the stream's header; a zero of FFmpeg mostly means that the container gives no value."""
    return StreamHeader(
        stream_index=stream.index,
        color_primaries=int(context.color_primaries),
        color_transfer=int(context.color_trc),
        sample_aspect_ratio=stream.sample_aspect_ratio or None,
        bit_rate=context.bit_rate or None,
        frame_rate=stream.base_rate or None,
        start_ticks=stream.start_time,
        duration_ticks=stream.duration if stream.duration and stream.duration > 0 else None,
        frames=stream.frames or None,
    )


def _first_frames(
    container: av.container.InputContainer, stream: VideoStream, info: SegmentInfo
) -> tuple[VideoFrame, VideoFrame]:
    """Decode until both decoders have given the first frame that is displayed."""
    own = open_context(info)
    use_one_thread(stream.codec_context)
    theirs: list[VideoFrame] = []
    ours: list[VideoFrame] = []
    discarded: set[int] = set()
    source = packets(container, stream, uri=info.uri)
    for number in count():
        packet = next(source, None)
        copy = None
        if packet is not None:
            palette = palette_of(packet)
            copy = numbered_packet(EncodedPacket(number, bytes(packet), packet.is_keyframe, palette))
            if packet.is_discard:
                discarded.add(number)
        with foreign_errors(f"decode the first {info.codec} frame", uri=info.uri):
            theirs += stream.codec_context.decode(packet)
            ours += own.decode(copy)
        ours = [frame for frame in ours if frame.pts not in discarded]
        if theirs and ours:
            return theirs[0], ours[0]
        if packet is None:
            break
    raise CorruptMediaError("expected a video, found no frame that can be decoded", uri=info.uri)


def _same_picture(first: VideoFrame, second: VideoFrame, uri: str) -> bool:
    if (first.width, first.height, first.format.name) != (second.width, second.height, second.format.name):
        return False
    convert = FrameConverter(
        PixelSpec(max_pixels=first.width * first.height)
    ).convert  # not to_ndarray, whose threads do not survive a fork
    return bool(np.array_equal(convert(first, 0, uri=uri), convert(second, 0, uri=uri)))


def _with_first_frame(info: SegmentInfo, frame: VideoFrame) -> SegmentInfo:
    """Return the info with values of the first frame in place of the container's."""
    return replace(
        info,
        width=frame.width,
        height=frame.height,
        pixel_format=frame.format.name,
        rotation=quarter_turns(frame.rotation),
    )
