"""Streams in which frames lack a time, or share one: what the decoder reports is what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from _containers import MatroskaBlock, MatroskaTrack, write_matroska
from _encoding import Encoding, RGBArray, encode, make_picture
from _oracle import best_video_stream, linear_frames, to_rgb
from _special_clips import H264_IDR, H264_NO_B, _encoded, x264
from _tables import segment_table

from mediaref_ursa import (
    FrameOutsideVideoError,
    LazyVideo,
    MediaRef,
    UnsupportedMediaError,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa._scan.missing_times import NO_PTS, frame_times
from mediaref_ursa.video_decoder import PyAVVideoDecoder

NS = 10**9
SMALL = {"options": {"crf": "45", "x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=2"}}


def output_of(path: Path) -> list[tuple[int | None, int, RGBArray]]:
    """Return time, duration and pixels of every frame of a linear decode, in the order of output."""
    with av.open(str(path)) as container:
        stream = best_video_stream(container)
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        return [(frame.pts, frame.duration, to_rgb(frame)) for frame in container.decode(stream)]


def assert_as_reported(path: Path) -> None:
    """Hold references, a video and a decoder against the frames that a linear decode gives a time."""
    frames = linear_frames(path)
    refs = [MediaRef(str(path), round(frame.time * NS)) for frame in frames]
    found = batch_decode(refs)
    assert [
        i for i, (a, b) in enumerate(zip(found, frames, strict=True)) if not np.array_equal(a, b.rgb)
    ] == []
    assert all(
        np.array_equal(ref.to_ndarray(), f.rgb) for ref, f in list(zip(refs, frames, strict=True))[::7]
    )
    video = LazyVideo(str(path), frame_index=scan_frame_index(path), channel_format="NHWC")
    assert len(video) == len(frames)
    assert np.array_equal(np.stack(list(video)), np.stack([frame.rgb for frame in frames]))
    with PyAVVideoDecoder(str(path)) as decoder:
        assert len(decoder) == len(frames)


@pytest.mark.parametrize(
    ("container", "codec", "b_frames"),
    [
        ("vob", "libx264", 0),
        ("vob", "libx264", 2),
        ("vob", "libx265", 0),
        ("vob", "libx265", 2),
        ("mpeg", "libx264", 0),
        ("mpeg", "libx264", 2),
        ("mpeg", "libx265", 0),
    ],
)
def test_times_of_a_program_stream_are_those_that_its_durations_add_up_to(
    container: str, codec: str, b_frames: int, tmp_path: Path
) -> None:
    """Such a stream says the time of the first frame that begins in each of its packs, and no other."""
    path = tmp_path / "sparse.mpg"
    options = {"crf": "45", "bf": str(b_frames), "x265-params": "log-level=none"}
    encode(path, Encoding(codec, container, "mpg", "h264", options, gop=12, count=90))
    frames = output_of(path)
    told = [i for i, (pts, _, _) in enumerate(frames) if pts is not None]
    assert 2 < len(told) < len(frames) / 2
    first, duration = frames[told[0]][0], frames[0][1]
    assert first is not None
    index = scan_frame_index(path)
    assert index.pts_table(0).tolist() == [first + (i - told[0]) * duration for i in range(len(frames))]
    refs = [MediaRef(str(path), round(Fraction(int(pts), 90_000) * NS)) for pts in index.pts_table(0)]
    for refs_now, wanted in ((refs, frames), (refs[::-1], frames[::-1])):
        found = batch_decode(refs_now)
        assert all(np.array_equal(a, b) for a, (_, _, b) in zip(found, wanted, strict=True))


def test_a_time_of_two_frames_is_that_of_the_second_in_decode_order() -> None:
    """FFmpeg's parser gives a pack's time to the packet before too, which a B-frame is output in front of."""
    info = segment_table([0]).info
    reported = np.array([100, NO_PTS, 120, 120, NO_PTS, NO_PTS, NO_PTS, 170, NO_PTS, NO_PTS])
    duration = np.full(10, 10)
    packet = np.array([0, 1, 3, 2, 4, 5, 6, 7, 8, 9])

    assert frame_times(reported, duration, packet, info).pts.tolist() == list(range(100, 200, 10))
    in_output_order = np.arange(10)
    with pytest.raises(UnsupportedMediaError, match="durations that do not give"):
        frame_times(reported, duration, in_output_order, info)


def test_times_that_durations_do_not_add_up_to_are_not_invented(tmp_path: Path) -> None:
    path = tmp_path / "sparse.mpg"
    encode(
        path,
        Encoding(
            "libx264",
            "vob",
            "mpg",
            "h264",
            {"crf": "45", "bf": "0"},
            gop=12,
            count=90,
            ticks=lambda i: i + i // 7,
        ),
    )
    with pytest.raises(UnsupportedMediaError, match="times"):
        scan_frame_index(path)


def without_pts(path: Path, frames: Sequence[int]) -> Path:
    """Take the times of some PES packets of a transport stream's video away, and stuff their headers."""
    data = bytearray(path.read_bytes())
    number = -1
    for start in range(0, len(data), 188):
        if not data[start + 1] & 0x40:
            continue
        at = start + 4 + (1 + data[start + 4] if data[start + 3] & 0x20 else 0)
        if data[at : at + 3] != b"\0\0\1" or data[at + 3] & 0xF0 != 0xE0:
            continue
        number += 1
        if number in frames:
            data[at + 7] &= 0x3F
            data[at + 9 : at + 9 + data[at + 8]] = b"\xff" * data[at + 8]
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video", "mpeg4"])
@pytest.mark.parametrize("missing", [(5,), (1, 2, 3), (0,), (20, 21, 30)])
def test_frames_of_a_transport_stream_without_a_time(
    codec: str, missing: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "some.ts"
    options = {"bf": "2", "x265-params": "log-level=none"}
    encode(path, Encoding(codec, "mpegts", "ts", codec, options, gop=12, count=40))
    assert_as_reported(without_pts(path, missing))


def test_a_time_at_which_a_frame_without_a_time_is_shown_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "some.ts"
    encode(path, Encoding("libx264", "mpegts", "ts", "h264", SMALL["options"], count=40))
    without_pts(path, [13])
    frames = output_of(path)
    lost = next(i for i, (pts, _, _) in enumerate(frames) if pts is None)
    before = frames[lost - 1]
    assert before[0] is not None
    shown_ns = [round(Fraction(before[0] + ticks, 90_000) * NS) for ticks in (0, before[1] - 1, before[1])]
    for _ in ("scanned", "read from its index"):
        refs = [MediaRef(str(path), t) for t in shown_ns]
        batch = batch_decode(refs, on_error="none")
        assert np.array_equal(batch[0], before[2])
        assert np.array_equal(batch[1], before[2])
        assert isinstance(batch.errors[2], FrameOutsideVideoError)
        assert "has no time" in str(batch.errors[2])
        with PyAVVideoDecoder(str(path)) as decoder, pytest.raises(LookupError, match="has no time"):
            decoder.get_frame_played_at(shown_ns[2] / NS)
        write_frame_index(path, overwrite=True)


def vfw(path: Path, encoding: Encoding, frame_ms: int = 40) -> Path:
    """Write Matroska in compatibility with Video for Windows: blocks say when they are decoded."""
    _, packets = _encoded(replace(encoding, container="avi", suffix="avi"), path)
    width, height = encoding.size
    head = (40).to_bytes(4, "little") + width.to_bytes(4, "little") + height.to_bytes(4, "little")
    head += b"\1\0\x18\0" + (b"H264" if encoding.codec == "h264" else b"XVID") + bytes(20)
    blocks = [MatroskaBlock(frame_ms * i, (data,), key) for i, (_, data, key) in enumerate(packets)]
    write_matroska(path, MatroskaTrack("V_MS/VFW/FOURCC", head, encoding.size, frame_ms), blocks)
    return path


LATE_B = x264("keyint=250:scenecut=0:bframes=0", count=60)


def test_matroska_that_says_when_frames_are_decoded(tmp_path: Path) -> None:
    path = vfw(tmp_path / "vfw.mkv", H264_IDR)
    untimed = sum(pts is None for pts, _, _ in output_of(path))
    if untimed == len(output_of(path)):
        with pytest.raises(UnsupportedMediaError, match="times"):
            scan_frame_index(path)
    else:
        assert_as_reported(path)


OPEN_GOP = x264("keyint=12:min-keyint=12:scenecut=0:open-gop=1:bframes=3:b-adapt=0")


@pytest.mark.parametrize("encoding", [H264_IDR, OPEN_GOP])
@pytest.mark.parametrize("container", ["avi", "vfw"])
def test_pictures_that_lead_an_open_gop_where_times_do_not_tell(
    container: str, encoding: Encoding, tmp_path: Path
) -> None:
    """AVI says when packets are decoded: the leading pictures seem to follow the first of their GOP."""
    path = tmp_path / "leading.avi"
    if container == "avi":
        encode(path, replace(encoding, container="avi", suffix="avi"))
    else:
        vfw(path, encoding)
    assert_as_reported(path)
    starts = np.unique(scan_frame_index(path).segment_table(0).start)
    assert len(starts) == 4


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video", "mpeg4"])
@pytest.mark.parametrize("kind", ["of decoding", "shuffled", "backwards"])
def test_times_that_cannot_be_those_of_presentation(kind: str, codec: str, tmp_path: Path) -> None:
    encoding = Encoding(codec, "matroska", "mkv", codec, gop=12, b_frames=2, count=48)
    path = tmp_path / "lying.mkv"
    private, packets = _encoded(encoding, path)
    by = np.random.default_rng(0).integers(-3, 4, len(packets)).tolist()
    new = {
        "of decoding": lambda place, ms: 40 * place,
        "shuffled": lambda place, ms: max(0, ms + 40 * by[place]),
        "backwards": lambda place, ms: 2000 - ms,
    }[kind]
    blocks = [MatroskaBlock(new(i, ms), (data,), key) for i, (ms, data, key) in enumerate(packets)]
    name = {"mpeg1video": "V_MPEG1", "mpeg2video": "V_MPEG2", "mpeg4": "V_MPEG4/ISO/ASP"}[codec]
    write_matroska(path, MatroskaTrack(name, private, encoding.size), blocks)
    assert_as_reported(path)


@pytest.mark.parametrize("kind", ["later", "negative", "none", "turned"])
def test_composition_offsets_of_flash_video(kind: str, tmp_path: Path) -> None:
    """Each tag says by how much its frame is shown after it is decoded; some say less than nothing."""
    path = tmp_path / "offsets.flv"
    encode(path, replace(H264_IDR, container="flv", suffix="flv"))
    data = bytearray(path.read_bytes())
    at = 13
    while at + 11 < len(data):
        if data[at] == 9 and data[at + 12] == 1:
            offset = int.from_bytes(data[at + 13 : at + 16], "big", signed=True)
            new = {"later": offset + 80, "negative": offset - 400, "none": 0, "turned": -offset}[kind]
            data[at + 13 : at + 16] = new.to_bytes(3, "big", signed=True)
        at += 11 + int.from_bytes(data[at + 1 : at + 4], "big") + 4
    path.write_bytes(bytes(data))
    assert_as_reported(path)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])
def test_avi_with_empty_chunks(codec: str, tmp_path: Path) -> None:
    """An empty chunk says that the frame before is shown once more; it moves those that follow."""
    path = tmp_path / "empty.avi"
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encode(path, Encoding(codec, "avi", "avi", codec, gop=12, pixel_format=pixels))
    data = path.read_bytes()
    movi, index = data.index(b"movi") + 4, data.index(b"idx1") + 8
    body, entries, at, number = b"", b"", movi, 0
    while data[at : at + 4] == b"00dc":
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        flags = data[index + 16 * number + 4 : index + 16 * number + 8]
        entries += b"00dc" + flags + (len(body) + 4).to_bytes(4, "little") + size.to_bytes(4, "little")
        body += data[at : at + 8 + size + size % 2]
        if number in (3, 10, 11, 30):
            entries += b"00dc" + bytes(4) + (len(body) + 4).to_bytes(4, "little") + bytes(4)
            body += b"00dc" + bytes(4)
        at += 8 + size + size % 2
        number += 1
    new = data[: movi - 8] + (len(body) + 4).to_bytes(4, "little") + b"movi" + body
    new += b"idx1" + len(entries).to_bytes(4, "little") + entries
    path.write_bytes(new[:4] + (len(new) - 8).to_bytes(4, "little") + new[8:])
    assert_as_reported(path)


@pytest.mark.parametrize("second", ["larger", "of another GOP", "on another PID"])
def test_a_transport_stream_that_changes_in_the_middle(second: str, tmp_path: Path) -> None:
    path, part = tmp_path / "two.ts", tmp_path / "one.ts"
    encode(path, replace(H264_IDR, container="mpegts", count=30))
    changes = {
        "larger": {"size": (128, 96)},
        "of another GOP": {"options": OPEN_GOP.options},
        "on another PID": {"muxer_options": {"mpegts_start_pid": "512"}},
    }
    later = replace(H264_IDR, container="mpegts", count=30, ticks=lambda i: i + 30)
    encode(part, replace(later, **changes[second]))
    path.write_bytes(path.read_bytes() + part.read_bytes())
    frames = linear_frames(path)
    found = batch_decode([MediaRef(str(path), round(frame.time * NS)) for frame in frames])
    assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True))
    index = scan_frame_index(path)
    assert index.pts_table(0).tolist() == [frame.pts for frame in frames]


def test_a_stream_in_which_no_frame_has_a_time_is_unsupported(tmp_path: Path) -> None:
    path = tmp_path / "some.ts"
    encode(path, Encoding("libx264", "mpegts", "ts", "h264", SMALL["options"], count=30))
    without_pts(path, range(100))
    with pytest.raises(UnsupportedMediaError, match="times"):
        batch_decode([MediaRef(str(path), 0)])


# --- frames that share a time --------------------------------------------------------------------


def tied(path: Path, encoding: Encoding, ties: dict[int, int]) -> Path:
    """Write Matroska in which the pictures named by ``ties``, in presentation order, take others' times."""
    private, packets = _encoded(encoding, path)
    order = sorted(ms for ms, _, _ in packets)
    new = {order[number]: order[other] for number, other in ties.items()}
    blocks = [MatroskaBlock(new.get(ms, ms), (data,), key) for ms, data, key in packets]
    codec = {"h264": "V_MPEG4/ISO/AVC", "hevc": "V_MPEGH/ISO/HEVC", "mpeg4": "V_MPEG4/ISO/ASP"}
    codec |= {"mpeg2video": "V_MPEG2", "vp8": "V_VP8"}
    write_matroska(path, MatroskaTrack(codec[encoding.codec], private, encoding.size), blocks)
    return path


PYRAMID = x264("keyint=12:min-keyint=12:scenecut=0:b-pyramid=normal:bframes=5:b-adapt=0")
TIED = [
    (H264_IDR, {3: 4}),
    (H264_IDR, {4: 3}),
    (H264_IDR, {9: 10, 10: 9, 11: 10, 25: 24}),
    (PYRAMID, {2: 3, 7: 6, 30: 31}),
    (PYRAMID, {1: 0, 2: 0, 3: 0, 4: 0, 47: 46}),
    (H264_NO_B, {10: 9, 21: 20, 22: 20}),
    (
        Encoding(
            "libx265", "mp4", "mp4", "hevc", {"x265-params": "log-level=none:keyint=12:bframes=4:b-adapt=0"}
        ),
        {3: 4, 5: 4, 18: 17},
    ),
    (Encoding("mpeg4", "mkv", "mkv", "mpeg4", gop=12, b_frames=2), {2: 3, 6: 5, 16: 15}),
    (Encoding("mpeg2video", "mkv", "mkv", "mpeg2video", gop=12, b_frames=2), {2: 3, 6: 5, 16: 15}),
]


@pytest.mark.parametrize("case", range(len(TIED)))
def test_of_frames_with_one_time_the_last_in_the_order_of_output_is_shown(case: int, tmp_path: Path) -> None:
    encoding, ties = TIED[case]
    if encoding.container == "mkv":
        encoding = replace(encoding, container="matroska")
    path = tied(tmp_path / "tied.mkv", encoding, ties)
    reported = [pts for pts, _, _ in output_of(path)]
    assert len(set(reported)) < len(reported)
    assert_as_reported(path)


@pytest.mark.parametrize("encoding", [H264_IDR, PYRAMID])
def test_times_that_change_places(encoding: Encoding, tmp_path: Path) -> None:
    assert_as_reported(tied(tmp_path / "swapped.mkv", encoding, {3: 4, 4: 3, 20: 22, 22: 20}))


def test_a_tie_across_a_joint_shows_what_was_put_out_last(tmp_path: Path) -> None:
    """Two recordings laid end to end: every time of the second is one of the first."""
    path, part = tmp_path / "two.ts", tmp_path / "one.ts"
    for first in (0, 100):
        moved = replace(
            H264_IDR,
            container="mpegts",
            suffix="ts",
            count=30,
            picture=lambda n, w, h, by=first: make_picture(n + by, w, h),
        )
        encode(part, moved)
        path.write_bytes((path.read_bytes() if first else b"") + part.read_bytes())
    assert_as_reported(path)
