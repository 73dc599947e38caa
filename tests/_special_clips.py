"""Clips that take more than an encoder's options: remuxed, altered or hand-made files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from _containers import (
    Attachment,
    MatroskaBlock,
    MatroskaTrack,
    set_mp4_rotation,
    write_matroska,
)
from _encoding import Encoding, RGBArray, add_stream, encode, make_picture, packets_of
from av.stream import Disposition

# An SEI NAL unit after its length: payload type 6, 2 bytes; recovery_frame_cnt 8 as ue(v) 0001001,
# exact_match_flag, broken_link_flag, changing_slice_group_idc, then stop bits (H.264, D.1.8).
_RECOVERY_IN_8_FRAMES = bytes.fromhex("00000006" + "06" + "0602" + "1210" + "80")
_VP8_SHOW_FRAME = 0x10  # RFC 6386, 9.1: bit 4 of a frame's first byte

_X264 = Encoding("libx264", "mp4", "mp4", "h264", {"crf": "20"})


def x264(parameters: str, **changes: Any) -> Encoding:
    """H.264 in MP4 with x264's own options, ``name=value`` joined by colons."""
    return replace(_X264, options={**_X264.options, "x264-params": parameters}, **changes)


H264_IDR = x264("keyint=12:min-keyint=12:scenecut=0:bframes=3")
H264_NO_B = x264("keyint=12:min-keyint=12:scenecut=0:bframes=0")
VP8 = Encoding(
    "libvpx",
    "webm",
    "webm",
    "vp8",
    {"b": "400k", "g": "20", "deadline": "good", "cpu-used": "4", "lag-in-frames": "0"},
)


def _encoded(encoding: Encoding, beside: Path) -> tuple[bytes, list[tuple[int, bytes, bool]]]:
    """Encode into a scratch file and return its extradata and ``(pts, bytes, is keyframe)`` packets."""
    scratch = beside.with_name(f"{beside.stem}.scratch.{encoding.suffix}")
    encode(scratch, encoding)
    with av.open(str(scratch)) as source:
        stream = source.streams.video[0]
        packets = [(p.pts * p.time_base, bytes(p), p.is_keyframe) for p in source.demux(stream) if p.size]
        extradata = bytes(stream.codec_context.extradata or b"")
    scratch.unlink()
    return extradata, [(round(seconds * 1000), data, key) for seconds, data, key in packets]


def write_all_flagged(path: Path, container: str, encoding: Encoding) -> None:
    """Remux a video so that the container calls every packet a keyframe."""
    scratch = path.with_name(f"{path.stem}.scratch.{encoding.suffix}")
    encode(scratch, encoding)
    with av.open(str(scratch)) as source, av.open(str(path), "w", format=container) as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                packet.is_keyframe = True
                output.mux(packet)
    scratch.unlink()


def write_all_recovery_points(path: Path, encoding: Encoding) -> None:
    """Write H.264 in Matroska, each packet flagged and announcing a recovery eight frames later.

    FFmpeg's parser overrules a Matroska file's flags for H.264, but takes any recovery point for a
    keyframe: this is how every packet of a file comes to be one.
    """
    private, packets = _encoded(encoding, path)
    blocks = [MatroskaBlock(ms, (_RECOVERY_IN_8_FRAMES + data,), True) for ms, data, _ in packets]
    write_matroska(path, MatroskaTrack("V_MPEG4/ISO/AVC", private, encoding.size), blocks)


def write_vp8_hidden(path: Path, container: str) -> None:
    """Write VP8 in which each eighth picture is announced by a hidden packet that later ones refer to.

    libvpx makes hidden frames only in a second pass, which PyAV cannot ask for; so a picture from
    four frames ahead is encoded as an ordinary frame and its ``show_frame`` bit taken away.
    """
    sequence = [
        (n, hidden) for i in range(40) for n, hidden in ([(i + 4, True)] * (i % 8 == 4) + [(i, False)])
    ]
    encoding = replace(
        VP8,
        count=len(sequence),
        time_base=Fraction(1, 1000),
        ticks=lambda k: 40 * sequence[k][0] - (160 if sequence[k][1] else 0) - sequence[k][1],
        picture=lambda k, width, height: make_picture(sequence[k][0], width, height),
        container=container,
    )
    with av.open(str(path), "w", format=container) as output:
        stream = add_stream(output, encoding)
        for index, packet in enumerate(packets_of(stream, encoding)):
            output.mux(_hide(packet) if sequence[index][1] else packet)


def _hide(packet: Any) -> Any:
    """Copy a VP8 packet without its ``show_frame`` bit."""
    data = bytearray(bytes(packet))
    data[0] &= ~_VP8_SHOW_FRAME
    hidden = av.Packet(bytes(data))
    hidden.pts, hidden.dts, hidden.time_base = packet.pts, packet.dts, packet.time_base
    hidden.is_keyframe = packet.is_keyframe
    hidden.stream = packet.stream
    return hidden


def write_own_matroska(path: Path, compression: str | None, per_block: int, encoding: Encoding) -> None:
    """Write H.264 with the test suite's own muxer: compressed tracks, or several packets in a block."""
    private, packets = _encoded(encoding, path)
    groups = [packets[i : i + per_block] for i in range(0, len(packets), per_block)]
    blocks = [MatroskaBlock(g[0][0], tuple(data for _, data, _ in g), g[0][2]) for g in groups]
    track = MatroskaTrack("V_MPEG4/ISO/AVC", private, encoding.size, compression=compression)
    write_matroska(path, track, blocks)


def write_duplicate_pts(path: Path) -> None:
    """Write H.264 without B-frames in which pictures 9 and 10, and 20 to 22, share a timestamp."""
    private, packets = _encoded(H264_NO_B, path)
    same = {10: 9, 21: 20, 22: 20}
    blocks = [MatroskaBlock(40 * same.get(i, i), (data,), key) for i, (_, data, key) in enumerate(packets)]
    write_matroska(path, MatroskaTrack("V_MPEG4/ISO/AVC", private, H264_NO_B.size), blocks)


def write_two_videos(path: Path) -> None:
    """Write two video streams; the second is the default one and shows the pictures from 100 on."""
    first = replace(H264_IDR, count=40)
    second = replace(
        first, picture=lambda n, width, height: make_picture(n + 100, width, height), size=(128, 96)
    )
    with av.open(str(path), "w", format="mp4") as output:
        streams = [add_stream(output, encoding) for encoding in (first, second)]
        streams[1].disposition = Disposition.default.value
        _interleave(output, *(packets_of(s, e) for s, e in zip(streams, (first, second), strict=True)))


def write_with_audio(path: Path, container: str) -> None:
    """Write video and audio, interleaved as a muxer does it."""
    encoding = replace(H264_IDR, container=container)
    with av.open(str(path), "w", format=container) as output:
        audio = _add_audio(output)
        video = add_stream(output, encoding)
        _interleave(output, _audio_packets(audio, encoding.count / 25), packets_of(video, encoding))


def write_audio_only(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as output:
        audio = _add_audio(output)
        _interleave(output, _audio_packets(audio, 1.0))


def _interleave(output: Any, *sources: Iterator[Any]) -> None:
    """Mux packets of several streams; the muxer sorts them by time."""
    for source in sources:
        for packet in source:
            output.mux(packet)


def _add_audio(output: Any) -> Any:
    return output.add_stream("aac", rate=48000, layout="mono")


def _audio_packets(stream: Any, seconds: float) -> Iterator[Any]:
    """Encode a tone in AAC frames of 1024 samples."""
    for start in range(0, round(seconds * 48000), 1024):
        tone = 0.2 * np.sin(np.arange(start, start + 1024) / 17).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None, :], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _jpeg_cover() -> bytes:
    """A JPEG of picture 200."""
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt = 64, 48, "yuvj420p"
    context.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(make_picture(200, 64, 48), format="rgb24").reformat(format="yuvj420p")
    frame.pts = 0
    return b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)])


def write_cover_mp4(path: Path) -> None:
    """Write a cover picture as the first stream and the video as the second."""
    with av.open(str(path), "w", format="mp4") as output:
        cover = output.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic.value
        video = add_stream(output, H264_IDR)
        packet = av.Packet(_jpeg_cover())
        packet.pts, packet.dts, packet.time_base, packet.stream = 0, 0, Fraction(1, 25), cover
        packet.is_keyframe = True
        _interleave(output, iter([packet]), packets_of(video, H264_IDR))


def write_cover_mkv(path: Path) -> None:
    """Write a cover picture as an attached file, which FFmpeg shows as a stream."""
    private, packets = _encoded(H264_IDR, path)
    blocks = [MatroskaBlock(ms, (data,), key) for ms, data, key in packets]
    track = MatroskaTrack("V_MPEG4/ISO/AVC", private, H264_IDR.size)
    write_matroska(path, track, blocks, Attachment("cover.jpg", "image/jpeg", _jpeg_cover()))


def write_rotated(path: Path, clockwise_degrees: int) -> None:
    """Write pictures lying on their side, and a display matrix that sets them upright."""

    def lying(number: int, width: int, height: int) -> RGBArray:
        upright = (width, height) if clockwise_degrees == 180 else (height, width)
        return np.ascontiguousarray(np.rot90(make_picture(number, *upright), clockwise_degrees // 90))

    encode(path, replace(H264_IDR, picture=lying))
    set_mp4_rotation(path, clockwise_degrees)


# --- colour -------------------------------------------------------------------------------------

COLOUR_PATCHES: RGBArray = np.array(
    [
        [[200, 30, 40], [30, 180, 60], [40, 50, 210], [128, 128, 128]],
        [[235, 235, 235], [20, 20, 20], [220, 200, 30], [30, 190, 200]],
    ],
    dtype=np.uint8,
)
"""What the ``colour_*`` clips show: ``(2, 4, 3)`` RGB, each a flat patch of 24 x 32 pixels."""

# Kr and Kb of the standards, and FFmpeg's numbers for matrix, transfer and primaries.
_STANDARDS = {
    "bt601": (0.299, 0.114, 6, 6, 6),
    "bt709": (0.2126, 0.0722, 1, 1, 1),
    "bt2020": (0.2627, 0.0593, 9, 14, 9),
}
_LIMITED, _FULL = 1, 2


def rgb_to_yuv(rgb: npt.ArrayLike, standard: str, is_full_range: bool) -> npt.NDArray[np.float64]:
    """Convert 8-bit R'G'B' to Y'CbCr as ITU-R BT.601, BT.709 and BT.2020 define it.

    Args:
        rgb: ``(..., 3)``, 0 to 255.
        standard: ``"bt601"``, ``"bt709"`` or ``"bt2020"``.
        is_full_range: Whether luma spans 0 to 255 rather than 16 to 235.

    Returns:
        ``(..., 3)`` float64, 8-bit code values, not rounded.
    """
    kr, kb = _STANDARDS[standard][:2]
    red, green, blue = np.moveaxis(np.asarray(rgb, dtype=np.float64) / 255, -1, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = [(blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))]
    black, luma_span, chroma_span = (0, 255, 255) if is_full_range else (16, 219, 224)
    return np.stack([black + luma_span * luma, *(128 + chroma_span * c for c in chroma)], axis=-1)


def write_colour(path: Path, standard: str, is_full_range: bool) -> None:
    """Write flat patches, converted without FFmpeg's help and tagged as what they are."""
    patches = np.rint(rgb_to_yuv(COLOUR_PATCHES, standard, is_full_range)).astype(np.uint8)
    luma = patches[..., 0].repeat(32, axis=0).repeat(24, axis=1)
    cb, cr = (patches[..., i].repeat(16, axis=0).repeat(12, axis=1) for i in (1, 2))
    planes = np.concatenate([plane.ravel() for plane in (luma, cb, cr)]).reshape(96, 96)
    encoding = replace(x264("keyint=5"), options={"crf": "4"})
    with av.open(str(path), "w", format="mp4") as output:
        stream = add_stream(output, encoding)
        context = stream.codec_context
        context.colorspace, context.color_trc, context.color_primaries = _STANDARDS[standard][2:]
        context.color_range = _FULL if is_full_range else _LIMITED
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, encoding.time_base
            frame.colorspace, frame.color_range = context.colorspace, context.color_range
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
