"""Small video files made on the spot, each with a structure that breaks naive readers.

Nothing is encoded until a clip is asked for: tests parametrize over ``CLIP_NAMES`` and take the
``clip`` fixture, or call ``make_clip``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import _special_clips as special
from _encoding import Encoding, encode, make_picture, read_code
from _special_clips import COLOUR_PATCHES, H264_IDR, H264_NO_B, VP8, rgb_to_yuv, x264

__all__ = [
    "CLIP_NAMES",
    "CODED_CLIP_NAMES",
    "COLOUR_PATCHES",
    "NO_VIDEO_NAMES",
    "Clip",
    "describe_clip",
    "make_clip",
    "make_picture",
    "read_code",
    "rgb_to_yuv",
]


@dataclass(frozen=True)
class Clip:
    """One made file.

    Attributes:
        name: Its name in the registry.
        path: Where it lies.
        container: FFmpeg's name of the muxer that wrote it, e.g. ``"mp4"``.
        codec: The codec of its best video stream, e.g. ``"h264"``; empty if it has none.
    """

    name: str
    path: Path
    container: str
    codec: str


@dataclass(frozen=True)
class _Recipe:
    """How to make one clip, and what it is."""

    container: str
    suffix: str
    codec: str
    write: Callable[[Path], None]


def _recipe(encoding: Encoding, **changes: Any) -> _Recipe:
    changed = replace(encoding, **changes)
    return _Recipe(changed.container, changed.suffix, changed.codec, partial(encode, encoding=changed))


def _irregular_ms(number: int) -> int:
    """Milliseconds of a screen recorder that skips and hurries."""
    return 120 * (number // 6) + (0, 10, 33, 77, 80, 100)[number % 6]


_MUXERS = {"mkv": "matroska"}
_MP4 = {"container": "mp4", "suffix": "mp4"}
_MKV = {"container": "matroska", "suffix": "mkv"}
_WEBM = {"container": "webm", "suffix": "webm"}
_MOV = {"container": "mov", "suffix": "mov"}
_AVI = {"container": "avi", "suffix": "avi"}
_TS = {"container": "mpegts", "suffix": "ts"}


_X265_OPEN_GOP = "keyint=12:min-keyint=12:scenecut=0:bframes=4:b-adapt=0"


def _x265(parameters: str, **changes: Any) -> _Recipe:
    return _recipe(_x265_encoding(parameters), **changes)


def _x265_encoding(parameters: str) -> Encoding:
    """HEVC in MP4 with x265's own options."""
    options = {"crf": "20", "x265-params": f"log-level=none:pools=none:{parameters}"}
    return Encoding("libx265", "mp4", "mp4", "hevc", options)


def _plain(encoder: str, codec: str, target: Mapping[str, Any], **changes: Any) -> _Recipe:
    """An encoder of FFmpeg's own, with its usual settings."""
    return _recipe(Encoding(encoder, codec=codec, **target), **changes)


def _fine(encoder: str, target: Mapping[str, Any]) -> _Recipe:
    return _recipe(_fine_encoding(encoder, target))


def _fine_encoding(encoder: str, target: Mapping[str, Any]) -> Encoding:
    """MPEG-1, -2 or -4 with two B-frames between references, groups of 12, at a high quality."""
    options = {"qmin": "2", "qmax": "6"}
    return Encoding(encoder, codec=encoder, options=options, gop=12, b_frames=2, **target)


def _h264_recipes() -> dict[str, _Recipe]:
    closed = "keyint=12:min-keyint=12:scenecut=0"
    open_gop = x264(f"{closed}:open-gop=1:bframes=3:b-adapt=0")
    pyramid = x264(f"{closed}:b-pyramid=normal:bframes=5:b-adapt=0")
    fragmented = {"movflags": "frag_keyframe+empty_moov"}
    return {
        "h264_idr_mp4": _recipe(H264_IDR),
        "h264_pyramid_mp4": _recipe(pyramid),
        "h264_open_gop_mp4": _recipe(open_gop),
        "h264_all_intra_mp4": _recipe(x264("keyint=1")),
        "h264_one_gop_mp4": _recipe(x264("keyint=250:scenecut=0:bframes=3")),
        "h264_intra_refresh_mp4": _recipe(x264("intra-refresh=1:keyint=20:bframes=0", count=70)),
        "h264_vfr_mp4": _recipe(H264_IDR, ticks=_irregular_ms, time_base=Fraction(1, 1000)),
        "h264_vfr_mkv": _recipe(H264_IDR, ticks=_irregular_ms, time_base=Fraction(1, 1000), **_MKV),
        "h264_29_97_mp4": _recipe(H264_IDR, ticks=_times_1001, time_base=Fraction(1, 30000), count=70),
        "h264_23_976_mp4": _recipe(H264_IDR, ticks=_times_1001, time_base=Fraction(1, 24000), count=70),
        "h264_29_97_mkv": _recipe(H264_IDR, ticks=_times_1001, time_base=Fraction(1, 30000), **_MKV),
        "h264_one_frame_mp4": _recipe(H264_IDR, count=1),
        "h264_10bit_mp4": _recipe(H264_IDR, pixel_format="yuv420p10le"),
        "h264_444_odd_mp4": _recipe(H264_IDR, pixel_format="yuv444p", size=(97, 65)),
        "h264_gbr_odd_mp4": _recipe(H264_IDR, encoder="libx264rgb", pixel_format="rgb24", size=(97, 65)),
        "h264_baseline_mp4": _recipe(x264(f"{closed}:bframes=0:cabac=0:8x8dct=0:weightp=0")),
        "h264_slices_mp4": _recipe(x264(f"{closed}:slices=4:bframes=3")),
        "h264_mbaff_mp4": _recipe(x264(f"{closed}:interlaced=1:bframes=3")),
        "h264_late_start_mp4": _recipe(H264_IDR, ticks=lambda i: i + 208),
        "h264_late_start_mkv": _recipe(H264_IDR, ticks=lambda i: i + 208, **_MKV),
        "h264_edit_list_mp4": _recipe(open_gop, ticks=lambda i: i - 6),
        "h264_mov": _recipe(pyramid, **_MOV),
        "h264_mkv": _recipe(pyramid, **_MKV),
        "h264_open_gop_mkv": _recipe(open_gop, **_MKV),
        "h264_avi": _recipe(H264_NO_B, **_AVI),
        "h264_b_frames_avi": _recipe(H264_IDR, **_AVI),
        "h264_ts": _recipe(pyramid, **_TS),
        "h264_open_gop_ts": _recipe(open_gop, **_TS),
        "h264_fragmented_mp4": _recipe(pyramid, muxer_options=fragmented),
        "h264_faststart_mp4": _recipe(pyramid, muxer_options={"movflags": "faststart"}),
    }


def _times_1001(number: int) -> int:
    return 1001 * number


def _hevc_recipes() -> dict[str, _Recipe]:
    layers = "keyint=16:min-keyint=16:scenecut=0:bframes=4:b-adapt=0:temporal-layers=3:b-pyramid=1"
    return {
        "hevc_open_gop_mp4": _x265(_X265_OPEN_GOP),
        "hevc_closed_gop_mp4": _x265(f"{_X265_OPEN_GOP}:open-gop=0"),
        "hevc_temporal_layers_mp4": _x265(layers),
        "hevc_10bit_mp4": _x265(_X265_OPEN_GOP, pixel_format="yuv420p10le"),
        "hevc_hvc1_mp4": _x265(_X265_OPEN_GOP, codec_tag="hvc1"),
        "hevc_mkv": _x265(_X265_OPEN_GOP, **_MKV),
        "hevc_ts": _x265(_X265_OPEN_GOP, **_TS),
    }


def _av1_and_vpx_recipes() -> dict[str, _Recipe]:
    av1 = Encoding(
        "libsvtav1", "mp4", "mp4", "av1", {"preset": "10", "crf": "30", "g": "16", "svtav1-params": "lp=1"}
    )
    # libvpx-vp9 makes alt-ref frames in one pass only at the real-time deadline.
    alt_ref = {"auto-alt-ref": "1", "lag-in-frames": "20", "deadline": "realtime", "cpu-used": "6"}
    vp9 = Encoding("libvpx-vp9", "webm", "webm", "vp9", {**alt_ref, "b": "400k", "g": "32"}, count=70)
    layers = (
        "ts_number_layers=2:ts_target_bitrate=150,300:ts_rate_decimator=2,1:ts_periodicity=2:"
        "ts_layer_id=0,1:ts_layering_mode=2"
    )
    real_time = {"deadline": "realtime", "cpu-used": "6", "lag-in-frames": "0", "b": "300k", "g": "16"}
    layered = Encoding(
        "libvpx-vp9",
        "webm",
        "webm",
        "vp9",
        {**real_time, "error-resilient": "default", "ts-parameters": layers},
    )
    hidden = special.write_vp8_hidden
    return {
        "av1_mp4": _recipe(av1),
        "av1_mkv": _recipe(av1, **_MKV),
        "av1_webm": _recipe(av1, **_WEBM),
        "av1_10bit_mp4": _recipe(av1, pixel_format="yuv420p10le"),
        "vp8_webm": _recipe(VP8),
        "vp8_hidden_webm": _Recipe("webm", "webm", "vp8", partial(hidden, container="webm")),
        "vp8_hidden_mkv": _Recipe("matroska", "mkv", "vp8", partial(hidden, container="matroska")),
        "vp9_alt_ref_webm": _recipe(vp9),
        "vp9_alt_ref_mp4": _recipe(vp9, container="mp4", suffix="mp4"),
        "vp9_odd_webm": _recipe(vp9, size=(97, 65)),
        "vp9_temporal_layers_webm": _recipe(layered),
    }


def _older_recipes() -> dict[str, _Recipe]:
    """MPEG-2, MPEG-4, codecs of key frames only, and some that no bitstream parser knows."""
    mjpeg = {"pixel_format": "yuvj420p", "options": {"qmin": "2", "qmax": "4"}}
    coarse = {"options": {"qmin": "2", "qmax": "6"}, "gop": 12}
    return {
        "mpeg2_mp4": _fine("mpeg2video", _MP4),
        "mpeg2_mkv": _fine("mpeg2video", _MKV),
        "mpeg2_ts": _fine("mpeg2video", _TS),
        "mpeg4_avi": _fine("mpeg4", _AVI),
        "mpeg4_mp4": _fine("mpeg4", _MP4),
        "mpeg4_mkv": _fine("mpeg4", _MKV),
        "mjpeg_avi": _plain("mjpeg", "mjpeg", _AVI, **mjpeg),
        "mjpeg_mov": _plain("mjpeg", "mjpeg", _MOV, **mjpeg),
        "mjpeg_mkv": _plain("mjpeg", "mjpeg", _MKV, **mjpeg),
        "ffv1_mkv": _plain("ffv1", "ffv1", _MKV, gop=12),
        "ffv1_avi": _plain("ffv1", "ffv1", _AVI, gop=12),
        "ffv1_intra_mkv": _plain("ffv1", "ffv1", _MKV, gop=1),
        "mpeg1_mkv": _fine("mpeg1video", _MKV),
        "msmpeg4_avi": _plain("msmpeg4", "msmpeg4v3", _AVI, **coarse),
        "wmv2_avi": _plain("wmv2", "wmv2", _AVI, **coarse),
        "h263_mov": _plain("h263", "h263", _MOV, size=(128, 96), **coarse),
        "flv1_flv": _plain("flv", "flv1", {"container": "flv", "suffix": "flv"}, **coarse),
        "huffyuv_avi": _plain("huffyuv", "huffyuv", _AVI, pixel_format="yuv422p"),
        "prores_mov": _plain("prores_ks", "prores", _MOV, pixel_format="yuv422p10le"),
        "png_alpha_mov": _plain("png", "png", _MOV, pixel_format="rgba"),
        "qtrle_mov": _plain("qtrle", "qtrle", _MOV, pixel_format="rgb24", gop=12),
        "snow_avi": _plain("snow", "snow", _AVI, gop=12),
        "gif": _plain("gif", "gif", {"container": "gif", "suffix": "gif"}, pixel_format="gray"),
    }


def _special_recipes() -> dict[str, _Recipe]:
    own = special.write_own_matroska
    long_gop = x264("keyint=24:min-keyint=24:scenecut=0:bframes=3")
    recipes = {
        "h264_all_flagged_mkv": _h264("mkv", partial(special.write_all_recovery_points, encoding=long_gop)),
        **_all_flagged("h264_all_flagged_mp4", long_gop),
        **_all_flagged("hevc_all_flagged_mp4", _x265_encoding(_X265_OPEN_GOP)),
        **_all_flagged("hevc_all_flagged_mkv", _x265_encoding(_X265_OPEN_GOP)),
        **_all_flagged("mpeg4_all_flagged_mp4", _fine_encoding("mpeg4", _MP4)),
        **_all_flagged("mpeg2_all_flagged_mp4", _fine_encoding("mpeg2video", _MP4)),
        "h264_stripped_mkv": _h264("mkv", partial(own, compression="strip", per_block=1, encoding=long_gop)),
        "h264_zlib_mkv": _h264("mkv", partial(own, compression="zlib", per_block=1, encoding=long_gop)),
        "h264_laced_mkv": _h264("mkv", partial(own, compression=None, per_block=4, encoding=H264_NO_B)),
        "h264_duplicate_pts_mkv": _h264("mkv", special.write_duplicate_pts),
        "two_videos_mp4": _h264("mp4", special.write_two_videos),
        "cover_mp4": _h264("mp4", special.write_cover_mp4),
        "cover_mkv": _h264("mkv", special.write_cover_mkv),
        "audio_and_video_mp4": _h264("mp4", partial(special.write_with_audio, container="mp4")),
        "audio_and_video_mkv": _h264("mkv", partial(special.write_with_audio, container="matroska")),
        "audio_only_mp4": _Recipe("mp4", "mp4", "", special.write_audio_only),
    }
    for degrees in (90, 180, 270):
        write = partial(special.write_rotated, clockwise_degrees=degrees)
        recipes[f"rotated_{degrees}_mp4"] = _h264("mp4", write)
    for standard in ("bt601", "bt709", "bt2020"):
        for extent in ("limited", "full"):
            write = partial(special.write_colour, standard=standard, is_full_range=extent == "full")
            recipes[f"colour_{standard}_{extent}_mp4"] = _h264("mp4", write)
    return recipes


def _all_flagged(name: str, encoding: Encoding) -> dict[str, _Recipe]:
    """The recipe of a remux; what the name ends with is its container."""
    suffix = name.rpartition("_")[2]
    container = _MUXERS.get(suffix, suffix)
    write = partial(special.write_all_flagged, container=container, encoding=encoding)
    return {name: _Recipe(container, suffix, encoding.codec, write)}


def _h264(suffix: str, write: Callable[[Path], None]) -> _Recipe:
    return _Recipe(_MUXERS.get(suffix, suffix), suffix, "h264", write)


_RECIPES = {
    **_h264_recipes(),
    **_hevc_recipes(),
    **_av1_and_vpx_recipes(),
    **_older_recipes(),
    **_special_recipes(),
}

NO_VIDEO_NAMES = ("audio_only_mp4",)
"""Clips without a video stream."""

CLIP_NAMES = tuple(name for name in _RECIPES if name not in NO_VIDEO_NAMES)
"""All clips with a video stream."""

CODED_CLIP_NAMES = tuple(name for name in CLIP_NAMES if not name.startswith("colour_"))
"""All clips whose frames carry a number for ``read_code``."""


def describe_clip(name: str, directory: Path) -> Clip:
    """Return what a clip is and where ``make_clip`` puts it; the file need not exist."""
    recipe = _RECIPES[name]
    return Clip(name, directory / f"{name}.{recipe.suffix}", recipe.container, recipe.codec)


def make_clip(name: str, directory: Path) -> Path:
    """Make a clip in ``directory``, unless it lies there already, and return its path.

    The file appears under its name only when it is whole, so that processes may share a directory.

    Raises:
        KeyError: No clip has that name.
    """
    path = describe_clip(name, directory).path
    if not path.exists():
        partial_path = directory / f"{os.getpid()}.{path.name}"
        _RECIPES[name].write(partial_path)
        partial_path.replace(path)
    return path
