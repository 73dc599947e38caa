"""Packets to frames: a codec context made from the index, without a container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av
from av.codec.context import ThreadType
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from mediaref_ursa._core.errors import CorruptMediaError, UnsupportedMediaError
from mediaref_ursa._model.pixels import MAX_PIXELS
from mediaref_ursa._model.segment import EncodedPacket, SegmentInfo
from mediaref_ursa._pyav.errors import FOREIGN_ERRORS, foreign_errors, known_error
from mediaref_ursa._pyav.palettes import give_palette

_DECODERS = {"av1": "libdav1d"}
"""Decoders to use where FFmpeg's own of that name needs hardware."""

_LEAVE_HOLES = frozenset({"hevc", "mjpeg"})
"""Decoders that output partly unwritten pictures, unmarked, and refuse them when configured
to.

Those of lossless codecs and of VP8 do the same and cannot be configured: only a check by decoding finds that.
"""


def max_decoded(max_pixels: int) -> int:
    """Return the limit of pixels for a decoder's allocations, given the limit of output pixels.

    It takes some more: rows and columns are filled up to whole blocks.
    """
    return max(MAX_PIXELS, max_pixels) * 9 // 8


def open_context(
    info: SegmentInfo,
    *,
    max_pixels: int | None = None,
    codec_threads: int = 1,
    refuses_damage: bool = False,
) -> VideoCodecContext:
    """Return a codec context for a segment, single-threaded, for the calling thread.

    Args:
        info: What the segment is.
        max_pixels: The largest picture; 8K, or the segment's own size where that is larger and was checked.
        codec_threads: FFmpeg's own threads within the decoder. With several, it must not be alive at a fork.
        refuses_damage: Let decoders refuse a damaged packet that leave parts of its picture as they find
            the memory, and do not mark it. All others mark what they make up.

    Raises:
        UnsupportedMediaError: This FFmpeg has no decoder for the codec.
    """
    with foreign_errors(f"make a decoder for {info.codec}", uri=info.uri):
        context = av.CodecContext.create(_DECODERS.get(info.codec, info.codec), "r")
    if not isinstance(context, VideoCodecContext):
        raise UnsupportedMediaError(f"expected a video codec, found {info.codec!r}", uri=info.uri)
    with foreign_errors(f"configure the {info.codec} decoder", uri=info.uri):
        if codec_threads == 1:
            use_one_thread(context)
        else:
            context.thread_count = codec_threads
            # Rows of blocks of one picture at once where streams allow that, as x265's do; else pictures.
            context.thread_type = ThreadType.SLICE if info.codec == "hevc" else ThreadType.FRAME
        context.extradata = info.extradata or None
        context.width, context.height = info.width, info.height
        context.colorspace, context.color_range = info.colorspace, info.color_range
        if info.bits_per_coded_sample:
            context.bits_per_coded_sample = info.bits_per_coded_sample
        if info.reorder_depth and hasattr(context, "reorder_depth"):
            context.reorder_depth = info.reorder_depth
        if info.codec == "rawvideo":
            context.pix_fmt = info.pixel_format
        if len(info.codec_tag) == 4 and info.codec_tag.isprintable():
            context.codec_tag = info.codec_tag
        options = {"max_pixels": str(max_decoded(max_pixels or info.width * info.height))}
        if refuses_damage and info.codec in _LEAVE_HOLES:
            options["err_detect"] = "explode"
        context.options = options
    return context


def use_one_thread(context: VideoCodecContext) -> None:
    """Disable FFmpeg's own threads: a forked child hangs on a context that has them."""
    context.thread_count = 1
    context.thread_type = ThreadType.NONE


def decode_packets(
    context: VideoCodecContext, packets: Iterable[EncodedPacket], info: SegmentInfo, refused: set[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """Feed packets in decode order and yield ``(number, frame)`` as frames come out, all of them.

    A packet's number travels through the decoder in place of its pts, so that each frame is known by
    its packet even where pts are missing, repeated or wrong. Where the decoder refuses a packet, it is fed
    the next, as players do.

    Args:
        context: A context of :func:`open_context` that nothing has been fed to.
        packets: In decode order, from the first packet of the segment or a random access point on.
        info: The segment.
        refused: Takes the numbers of packets that the decoder refuses.
    """
    last = -1
    for encoded in packets:
        fed = encoded.as_first_of(info) if last < 0 else encoded
        last = encoded.number
        try:
            yield from _numbered(feed_context(context, fed, uri=info.uri))
        except CorruptMediaError:
            refused.add(last)
    try:
        yield from _numbered(drain_context(context, uri=info.uri))
    except CorruptMediaError:
        refused.add(last)


def feed_context(context: VideoCodecContext, encoded: EncodedPacket, *, uri: str) -> list[VideoFrame]:
    """Feed one packet and return the frames that come out, whose pts are numbers of packets.

    Raises:
        CorruptMediaError: The decoder refuses it.
    """
    try:
        return context.decode(numbered_packet(encoded))
    except FOREIGN_ERRORS as error:
        raise known_error(error, f"decode packet {encoded.number}", uri=uri) from error


def drain_context(context: VideoCodecContext, *, uri: str) -> list[VideoFrame]:
    """Return the frames that a context holds back. It must be flushed after that.

    Raises:
        CorruptMediaError: The decoder refuses.
    """
    try:
        return context.decode(None)
    except FOREIGN_ERRORS as error:
        raise known_error(error, "decode the last packets", uri=uri) from error


def numbered_packet(encoded: EncodedPacket) -> Packet[Stream]:
    """Return a packet whose pts is its number, with the container's keyframe flag.

    Decoders may read past the end of a packet, so that FFmpeg wants zeros there. ``Packet(bytes)`` gives
    it the bytes as they are, followed by whatever memory follows; a packet of a given size has the zeros.
    """
    packet: Packet[Stream] = Packet(len(encoded.data))
    packet.update(encoded.data)  # type: ignore[arg-type]  # it takes any buffer
    packet.pts = packet.dts = encoded.number
    if encoded.is_keyframe:
        packet.is_keyframe = True
    if encoded.palette is not None:
        give_palette(packet, encoded.palette)
    return packet


def _numbered(frames: list[VideoFrame]) -> Iterator[tuple[int, VideoFrame]]:
    for frame in frames:
        if frame.pts is not None:
            yield frame.pts, frame
