"""Each generated clip has the property it is for.

No test may rest on a fixture that lost its meaning with another encoder's version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from _media import (
    CLIP_NAMES,
    CODED_CLIP_NAMES,
    COLOUR_PATCHES,
    NO_VIDEO_NAMES,
    Clip,
    make_picture,
    read_code,
    rgb_to_yuv,
)
from _oracle import OracleFrame, RGBArray, best_video_stream, linear_frames, shown_at, to_rgb
from av.stream import Disposition
from av.video.frame import PictureType

GetClip = Callable[[str], Clip]

H264_IDR, H264_SLICE, H264_SEI = 5, 1, 6
HEVC_IDR, HEVC_CRA, HEVC_RASL = {19, 20}, 21, {8, 9}
COLOUR_NAMES = tuple(name for name in CLIP_NAMES if name.startswith("colour_"))


@dataclass(frozen=True)
class Packet:
    """What FFmpeg's demuxer says of one packet of the best video stream."""

    pts: int
    data: bytes
    is_keyframe: bool
    is_discard: bool
    position: int


def packets_of(clip: Clip) -> list[Packet]:
    with av.open(str(clip.path)) as container:
        stream = best_video_stream(container)
        return [
            Packet(p.pts, bytes(p), p.is_keyframe, p.is_discard, p.pos)
            for p in container.demux(stream)
            if p.size
        ]


def decode_from(clip: Clip, first: int, *, leave_out: frozenset[int] = frozenset()) -> dict[int, RGBArray]:
    """Decode from packet ``first`` on in a fresh decoder; ``{pts: rgb}`` of what comes out."""
    frames = []
    with av.open(str(clip.path)) as container:
        stream = best_video_stream(container)
        stream.thread_type = "NONE"
        packets = [p for p in container.demux(stream) if p.size]
        kept = [p for i, p in enumerate(packets) if i >= first and i not in leave_out]
        for packet in [*kept, None]:
            # Packets that make no sense without those before may be refused.
            with suppress(av.FFmpegError):
                frames += stream.codec_context.decode(packet)
        return {frame.pts: to_rgb(frame) for frame in frames}


def nal_units(data: bytes) -> Iterator[bytes]:
    """Split a packet as MP4 and Matroska store it: each unit after its length in four bytes."""
    start = 0
    while start + 4 <= len(data):
        end = start + 4 + int.from_bytes(data[start : start + 4], "big")
        yield data[start + 4 : end]
        start = end


def h264_types(packet: Packet) -> list[int]:
    return [unit[0] & 0x1F for unit in nal_units(packet.data)]


def hevc_types(packet: Packet) -> list[int]:
    return [unit[0] >> 1 & 0x3F for unit in nal_units(packet.data)]


def keyframes(packets: list[Packet]) -> list[int]:
    return [i for i, packet in enumerate(packets) if packet.is_keyframe]


def is_reordered(packets: list[Packet]) -> bool:
    pts = [packet.pts for packet in packets]
    return pts != sorted(pts)


def codes(frames: list[OracleFrame]) -> list[int]:
    return [read_code(frame.rgb) for frame in frames]


def differs_after(clip: Clip, first: int) -> bool:
    """Whether decoding from packet ``first`` gives other pixels, or none, for a frame not before it."""
    packets = packets_of(clip)
    decoded = decode_from(clip, first)
    wanted = [f for f in linear_frames(clip.path) if f.pts >= packets[first].pts]
    return any(f.pts not in decoded or not np.array_equal(f.rgb, decoded[f.pts]) for f in wanted)


def leading_pictures(packets: list[Packet], first: int) -> list[int]:
    return [p.pts for p in packets[first + 1 :] if p.pts < packets[first].pts]


# --- all clips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_codec_container_and_frames(clip: GetClip, name: str) -> None:
    made = clip(name)
    with av.open(str(made.path)) as container:
        assert best_video_stream(container).codec_context.codec.canonical_name == made.codec
        assert made.container in container.format.name.split(",")
    assert made.path.stat().st_size < 1_000_000
    frames = linear_frames(made.path)
    assert frames
    assert all(earlier.time < later.time for earlier, later in pairwise(frames))


@pytest.mark.parametrize("name", CODED_CLIP_NAMES)
def test_every_frame_says_which_it_is(clip: GetClip, name: str) -> None:
    found = codes(linear_frames(clip(name).path))
    assert len(set(found)) == len(found)
    if name not in {"h264_b_frames_avi", "h264_duplicate_pts_mkv"}:  # wrong and repeated pts
        assert found == list(range(found[0], found[0] + len(found)))


def test_code_reader_refuses_what_is_no_code() -> None:
    assert [read_code(make_picture(n, 96, 64)) for n in (0, 77, 255)] == [0, 77, 255]
    with pytest.raises(ValueError, match="inverse"):
        read_code(np.full((64, 96, 3), 128, dtype=np.uint8))
    with pytest.raises(ValueError, match="inverse"):
        read_code(make_picture(3, 96, 64)[::-1])


# --- H.264 --------------------------------------------------------------------------------------


def test_idr_clip_has_only_idr_keyframes_and_b_frames(clip: GetClip) -> None:
    packets = packets_of(clip("h264_idr_mp4"))
    assert len(keyframes(packets)) == 4
    assert all(H264_IDR in h264_types(packets[i]) for i in keyframes(packets))
    assert is_reordered(packets)
    assert not any(leading_pictures(packets, i) for i in keyframes(packets))


@pytest.mark.parametrize("name", ["h264_pyramid_mp4", "h264_mov", "h264_mkv", "h264_fragmented_mp4"])
def test_pyramid_refers_to_b_frames(clip: GetClip, name: str) -> None:
    with av.open(str(clip(name).path)) as container:
        kinds = {
            frame.pts: PictureType(frame.pict_type)
            for frame in container.decode(best_video_stream(container))
        }
    reference_b = [
        p for p in packets_of(clip(name)) if kinds[p.pts] is PictureType.B and next(iter_slices(p))[0] & 0x60
    ]
    assert reference_b


def iter_slices(packet: Packet) -> Iterator[bytes]:
    return (unit for unit in nal_units(packet.data) if unit[0] & 0x1F in (H264_SLICE, H264_IDR))


@pytest.mark.parametrize("name", ["h264_open_gop_mp4", "h264_open_gop_mkv", "h264_edit_list_mp4"])
def test_open_gop_has_leading_pictures_after_recovery_points(clip: GetClip, name: str) -> None:
    packets = packets_of(clip(name))
    later = keyframes(packets)[1:]
    assert later
    frames = {f.pts: f.rgb for f in linear_frames(clip(name).path)}
    for first in later:
        assert H264_IDR not in h264_types(packets[first])
        assert H264_SEI in h264_types(packets[first])
        assert leading_pictures(packets, first)
        decoded = decode_from(clip(name), first)
        assert np.array_equal(decoded[packets[first].pts], frames[packets[first].pts])
        assert any(
            pts not in decoded or not np.array_equal(decoded[pts], frames[pts])
            for pts in leading_pictures(packets, first)
        )


@pytest.mark.parametrize(
    ("name", "count"), [("h264_all_intra_mp4", 48), ("h264_one_gop_mp4", 1), ("h264_one_frame_mp4", 1)]
)
def test_keyframe_counts(clip: GetClip, name: str, count: int) -> None:
    packets = packets_of(clip(name))
    assert len(keyframes(packets)) == count
    assert len(packets) == (1 if name == "h264_one_frame_mp4" else 48)


def test_intra_refresh_keyframes_recover_late(clip: GetClip) -> None:
    made = clip("h264_intra_refresh_mp4")
    packets = packets_of(made)
    later = keyframes(packets)[1:]
    assert later
    assert all(H264_IDR not in h264_types(packets[i]) for i in later)
    assert all(differs_after(made, i) for i in later)


@pytest.mark.parametrize("name", ["h264_vfr_mp4", "h264_vfr_mkv"])
def test_variable_frame_rate(clip: GetClip, name: str) -> None:
    frames = linear_frames(clip(name).path)
    gaps_ms = {round(1000 * (later.time - earlier.time)) for earlier, later in pairwise(frames)}
    assert gaps_ms == {10, 23, 44, 3, 20}


@pytest.mark.parametrize(("name", "rate"), [("h264_29_97_mp4", 30000), ("h264_23_976_mp4", 24000)])
def test_ntsc_times_are_no_whole_nanoseconds(clip: GetClip, name: str, rate: int) -> None:
    frames = linear_frames(clip(name).path)
    assert [f.time for f in frames] == [Fraction(1001 * i, rate) for i in range(70)]
    truncated = [int(float(f.time) * 1e9) for f in frames]
    assert any(Fraction(t, 10**9) < f.time for t, f in zip(truncated, frames, strict=True))
    assert [shown_at(frames, t) for t in truncated] == list(range(70))


@pytest.mark.parametrize(
    ("name", "pixel_format", "shape"),
    [
        ("h264_10bit_mp4", "yuv420p10le", (64, 96, 3)),
        ("h264_444_odd_mp4", "yuv444p", (65, 97, 3)),
        ("h264_gbr_odd_mp4", "gbrp", (65, 97, 3)),
        ("hevc_10bit_mp4", "yuv420p10le", (64, 96, 3)),
        ("av1_10bit_mp4", "yuv420p10le", (64, 96, 3)),
        ("vp9_odd_webm", "yuv420p", (65, 97, 3)),
        ("png_alpha_mov", "rgba", (64, 96, 3)),
        ("mjpeg_avi", "yuvj420p", (64, 96, 3)),
    ],
)
def test_pixel_formats_and_sizes(clip: GetClip, name: str, pixel_format: str, shape: tuple[int, ...]) -> None:
    first = linear_frames(clip(name).path)[0]
    assert (first.frame.format.name, first.rgb.shape) == (pixel_format, shape)


def test_slices_and_baseline(clip: GetClip) -> None:
    assert {len(list(iter_slices(p))) for p in packets_of(clip("h264_slices_mp4"))} == {4}
    baseline = packets_of(clip("h264_baseline_mp4"))
    assert not is_reordered(baseline)
    with av.open(str(clip("h264_baseline_mp4").path)) as container:
        assert container.streams.video[0].codec_context.profile in {"Baseline", "Constrained Baseline"}


def test_mbaff_frames_are_interlaced_and_share_a_packet(clip: GetClip) -> None:
    frames = linear_frames(clip("h264_mbaff_mp4").path)
    assert all(f.frame.interlaced_frame for f in frames)
    assert len(frames) == len(packets_of(clip("h264_mbaff_mp4")))


@pytest.mark.parametrize("name", ["h264_late_start_mp4", "h264_late_start_mkv"])
def test_late_start(clip: GetClip, name: str) -> None:
    assert linear_frames(clip(name).path)[0].time == Fraction(832, 100)


def test_edit_list_hides_the_first_keyframe_and_five_more(clip: GetClip) -> None:
    packets = packets_of(clip("h264_edit_list_mp4"))
    assert sum(p.is_discard for p in packets) == 6
    assert packets[0].is_keyframe
    assert packets[0].is_discard
    assert codes(linear_frames(clip("h264_edit_list_mp4").path))[0] == 6


def test_avi_does_not_know_the_pts_of_b_frames(clip: GetClip) -> None:
    found = codes(linear_frames(clip("h264_b_frames_avi").path))
    assert found != sorted(found)


def test_mp4_layouts(clip: GetClip) -> None:
    plain, fast, fragmented = (
        clip(f"h264_{kind}_mp4").path.read_bytes() for kind in ("pyramid", "faststart", "fragmented")
    )
    assert plain.index(b"mdat") < plain.index(b"moov")
    assert fast.index(b"moov") < fast.index(b"mdat")
    assert fragmented.count(b"moof") > 1


# --- other codecs -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hevc_open_gop_mp4", "hevc_mkv", "hevc_10bit_mp4", "hevc_hvc1_mp4"])
def test_hevc_open_gop_has_skipped_leading_pictures(clip: GetClip, name: str) -> None:
    types = Counter(kind for p in packets_of(clip(name)) for kind in hevc_types(p))
    assert types[HEVC_CRA] == 3
    assert sum(types[kind] for kind in HEVC_RASL) > 0


def test_hevc_closed_gop_has_only_idr(clip: GetClip) -> None:
    packets = packets_of(clip("hevc_closed_gop_mp4"))
    assert len(keyframes(packets)) == 4
    assert all(HEVC_IDR & set(hevc_types(packets[i])) for i in keyframes(packets))


def test_hevc_temporal_layers(clip: GetClip) -> None:
    packets = packets_of(clip("hevc_temporal_layers_mp4"))
    layers = {(u[1] & 7) - 1 for p in packets for u in nal_units(p.data) if u[0] >> 1 & 0x3F < 32}
    assert layers == {0, 1, 2}


def test_hvc1_keeps_parameter_sets_out_of_band(clip: GetClip) -> None:
    with av.open(str(clip("hevc_hvc1_mp4").path)) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


def test_av1_temporal_units_hold_hidden_frames(clip: GetClip) -> None:
    packets = packets_of(clip("av1_mp4"))
    assert len(keyframes(packets)) > 1
    assert max(sum(kind in {3, 6} for kind in av1_obu_types(p.data)) for p in packets) > 1


def av1_obu_types(data: bytes) -> Iterator[int]:
    """The types of a temporal unit's OBUs, each with a size field (AV1, 5.3)."""
    start = 0
    while start < len(data):
        yield data[start] >> 3 & 0xF
        cursor = start + 1 + (data[start] >> 2 & 1)
        size, shift = 0, 0
        while True:
            size |= (data[cursor] & 0x7F) << shift
            shift += 7
            cursor += 1
            if not data[cursor - 1] & 0x80:
                break
        start = cursor + size


@pytest.mark.parametrize("name", ["vp8_hidden_webm", "vp8_hidden_mkv"])
def test_vp8_hidden_packets_are_needed(clip: GetClip, name: str) -> None:
    packets = packets_of(clip(name))
    frames = linear_frames(clip(name).path)
    hidden = [i for i, p in enumerate(packets) if not p.data[0] & 0x10]
    assert len(packets) - len(frames) == len(hidden) == 5
    without = decode_from(clip(name), 0, leave_out=frozenset(hidden))
    assert any(not np.array_equal(f.rgb, without[f.pts]) for f in frames)


@pytest.mark.parametrize("name", ["vp9_alt_ref_webm", "vp9_alt_ref_mp4", "vp9_odd_webm"])
def test_vp9_superframes_hold_hidden_frames(clip: GetClip, name: str) -> None:
    packets = packets_of(clip(name))
    assert sum(p.data[-1] & 0xE0 == 0xC0 for p in packets) >= 2
    assert len(keyframes(packets)) == 3


@pytest.mark.parametrize("codec", ["mpeg2", "mpeg4"])
def test_mpeg_has_b_frames_and_several_groups(clip: GetClip, codec: str) -> None:
    made = clip(f"{codec}_mp4")
    assert len(keyframes(packets_of(made))) == 5
    kinds = Counter(PictureType(f.frame.pict_type) for f in linear_frames(made.path))
    assert kinds[PictureType.B] > 20


@pytest.mark.parametrize(
    "name",
    ["ffv1_mkv", "ffv1_avi", "msmpeg4_avi", "wmv2_avi", "h263_mov", "flv1_flv", "qtrle_mov", "snow_avi"],
)
def test_other_codecs_predict_from_earlier_frames(clip: GetClip, name: str) -> None:
    packets = packets_of(clip(name))
    assert len(keyframes(packets)) == 4
    assert differs_after(clip(name), 1)


@pytest.mark.parametrize(
    "name", ["ffv1_intra_mkv", "mjpeg_mkv", "huffyuv_avi", "prores_mov", "png_alpha_mov"]
)
def test_intra_codecs_start_anywhere(clip: GetClip, name: str) -> None:
    assert not differs_after(clip(name), 17)


# --- containers that lie or hide ----------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "h264_all_flagged_mkv",
        "hevc_all_flagged_mp4",
        "hevc_all_flagged_mkv",
        "mpeg4_all_flagged_mp4",
        "mpeg2_all_flagged_mp4",
    ],
)
def test_all_packets_are_flagged_but_few_can_start(clip: GetClip, name: str) -> None:
    packets = packets_of(clip(name))
    assert all(p.is_keyframe for p in packets)
    assert differs_after(clip(name), 5)


def test_h264_mp4_without_a_sync_table_calls_all_samples_sync(clip: GetClip) -> None:
    """FFmpeg's parser overrules the container here; the file itself still claims it."""
    assert b"stss" not in clip("h264_all_flagged_mp4").path.read_bytes()
    assert b"stss" in clip("h264_idr_mp4").path.read_bytes()


def test_two_videos_the_second_is_best(clip: GetClip) -> None:
    with av.open(str(clip("two_videos_mp4").path)) as container:
        assert len(container.streams.video) == 2
        assert best_video_stream(container).index == 1
    assert codes(linear_frames(clip("two_videos_mp4").path))[0] == 100


@pytest.mark.parametrize("name", ["cover_mp4", "cover_mkv"])
def test_cover_is_an_attached_picture(clip: GetClip, name: str) -> None:
    with av.open(str(clip(name).path)) as container:
        attached = [
            s for s in container.streams.video if Disposition.attached_pic in Disposition(s.disposition)
        ]
        assert [s.codec_context.name for s in attached] == ["mjpeg"]
        assert best_video_stream(container) not in attached


@pytest.mark.parametrize("name", ["audio_and_video_mp4", "audio_and_video_mkv"])
def test_audio_lies_between_video_packets(clip: GetClip, name: str) -> None:
    with av.open(str(clip(name).path)) as container:
        kinds = [p.stream.type for p in container.demux() if p.size]
    changes = sum(a != b for a, b in pairwise(kinds))
    assert changes > 4


def test_audio_only_has_no_video(clip: GetClip) -> None:
    assert NO_VIDEO_NAMES == ("audio_only_mp4",)
    with pytest.raises(LookupError, match="found none"):
        linear_frames(clip("audio_only_mp4").path)


@pytest.mark.parametrize("name", ["h264_stripped_mkv", "h264_zlib_mkv"])
def test_compressed_tracks_do_not_store_the_packets_bytes(clip: GetClip, name: str) -> None:
    """A few stand there by chance: the bytes before a block may equal what was stripped from it."""
    content = clip(name).path.read_bytes()
    packets = packets_of(clip(name))
    assert sum(p.data in content for p in packets) < len(packets) / 2


def test_laced_packets_share_a_block(clip: GetClip) -> None:
    packets = packets_of(clip("h264_laced_mkv"))
    content = clip("h264_laced_mkv").path.read_bytes()
    assert all(p.data in content for p in packets)
    assert set(Counter(p.position for p in packets).values()) == {4}


def test_duplicate_pts_show_the_later_frame(clip: GetClip) -> None:
    made = clip("h264_duplicate_pts_mkv")
    repeated = [pts for pts, n in Counter(p.pts for p in packets_of(made)).items() if n > 1]
    assert repeated == [360, 800]
    shown = {f.pts: read_code(f.rgb) for f in linear_frames(made.path)}
    assert (shown[360], shown[800]) == (10, 22)


# --- colour and rotation ------------------------------------------------------------------------


@pytest.mark.parametrize("name", COLOUR_NAMES)
def test_colour_clips_are_tagged_and_hold_the_standards_values(clip: GetClip, name: str) -> None:
    _, standard, extent, _ = name.split("_")
    frame = linear_frames(clip(name).path)[0].frame
    assert int(frame.colorspace) == {"bt601": 6, "bt709": 1, "bt2020": 9}[standard]
    assert int(frame.color_range) == {"limited": 1, "full": 2}[extent]
    expected = rgb_to_yuv(COLOUR_PATCHES, standard, is_full_range=extent == "full")
    planes = frame.to_ndarray()  # (96, 96): luma, then both chroma planes at half the size
    luma = planes[:64][16::32, 12::24]
    chroma = planes[64:].reshape(2, 32, 48)[:, 8::16, 6::12]
    assert np.abs(luma - expected[..., 0]).max() < 1.5
    assert np.abs(chroma - np.moveaxis(expected[..., 1:], -1, 0)).max() < 1.5


@pytest.mark.parametrize("name", COLOUR_NAMES)
def test_oracle_gives_back_the_patches(clip: GetClip, name: str) -> None:
    rgb = linear_frames(clip(name).path)[0].rgb[16::32, 12::24]
    assert np.abs(rgb.astype(int) - COLOUR_PATCHES).max() <= 3


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_clips_lie_on_their_side(clip: GetClip, degrees: int) -> None:
    first = linear_frames(clip(f"rotated_{degrees}_mp4").path)[0]
    assert round(first.frame.rotation) % 360 == (-degrees) % 360
    assert (first.frame.height, first.frame.width) == (64, 96)
    assert first.rgb.shape == ((64, 96, 3) if degrees == 180 else (96, 64, 3))
    with pytest.raises(ValueError, match="inverse"):
        read_code(first.frame.to_ndarray(format="rgb24"))


# --- the oracle ---------------------------------------------------------------------------------


def test_shown_at_follows_the_rule(clip: GetClip) -> None:
    frames = linear_frames(clip("h264_late_start_mp4").path)
    first_ns, step_ns = 8_320_000_000, 40_000_000
    assert shown_at(frames, first_ns - 1000) == 0
    assert shown_at(frames, first_ns + step_ns - 1001) == 0
    assert shown_at(frames, first_ns + step_ns - 1000) == 1
    assert shown_at(frames, first_ns + 48 * step_ns - 1) == 47
    for t_ns in (first_ns - 1001, first_ns + 48 * step_ns, -1):
        with pytest.raises(LookupError):
            shown_at(frames, t_ns)


def test_clips_are_made_once(clip: GetClip, clips_dir: Path) -> None:
    before = clip("h264_one_frame_mp4").path.stat().st_mtime_ns
    assert clip("h264_one_frame_mp4").path.stat().st_mtime_ns == before
    assert clip("h264_one_frame_mp4").path.parent == clips_dir
    assert not list(clips_dir.glob("*scratch*"))


def test_half_of_a_stream_of_two_vp9_layers_can_be_left_out(clip: GetClip) -> None:
    from mediaref_ursa import plan_decode

    path = clip("vp9_temporal_layers_webm").path
    table = plan_decode([{"uri": str(path), "pts_ns": 0}]).segments[0]
    assert table.packets.is_reference.tolist() == [1, 0] * 24
