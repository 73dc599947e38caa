"""Videos that were damaged before they were indexed: one answer for each frame, whichever call asks."""

from __future__ import annotations

import json
import random
import shutil
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from _cli_runner import run
from _containers import Sample, remux
from _encoding import make_picture
from _media import CLIP_NAMES, Clip
from _oracle import linear_frames

from mediaref_ursa import (
    CorruptMediaError,
    DamagedMediaWarning,
    LanceFrameIndex,
    LazyVideo,
    MediaRef,
    MediaRefError,
    batch_decode,
    cleanup_cache,
    write_frame_index,
)
from mediaref_ursa._bitstream import Traits, inspector_for
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa._model.damage import damaged_frames
from mediaref_ursa.video_decoder import PyAVVideoDecoder

GetClip = Callable[[str], Clip]

CONCEALING = (
    "h264_idr_mp4",
    "h264_open_gop_mp4",
    "h264_baseline_mp4",
    "h264_mbaff_mp4",
    "h264_ts",
    "hevc_closed_gop_mp4",
    "hevc_open_gop_mp4",
    "mpeg4_avi",
    "mpeg4_mp4",
    "mpeg2_mp4",
    "mpeg2_ts",
    "mpeg1_mkv",
    "ffv1_mkv",
    "mjpeg_avi",
    "msmpeg4_avi",
    "flv1_flv",
    "vp8_webm",
    "vp8_hidden_webm",
    "vp9_alt_ref_webm",
    "av1_mp4",
)


KINDS = ("one bit", "zeros", "noise", "head")


def damaged(clip: Clip, folder: Path, seed: int, *, keyframes: bool = True, kind: str = "one bit") -> Path:
    """Return a copy of a clip with damage in one packet, past the first one."""
    choose = random.Random(seed)
    with av.open(str(clip.path)) as container:
        packets = [p for p in container.demux(container.streams.best("video")) if p.size]
    offset, size = choose.choice([(p.pos, p.size) for p in packets if p.is_keyframe or not keyframes][1:])
    data = bytearray(clip.path.read_bytes())
    if kind == "one bit":
        data[offset + size // 3 + choose.randrange(size // 2)] ^= 1 << choose.randrange(8)
    elif kind == "zeros":
        data[offset + size // 2 : offset + size] = bytes(size - size // 2)
    elif kind == "noise":
        data[offset + size // 3 : offset + size // 3 + 16] = choose.randbytes(16)
    else:
        data[offset + 4 + choose.randrange(min(12, size // 2))] ^= 1 << choose.randrange(8)
    path = folder / f"{seed}-{clip.path.name}"
    path.write_bytes(data)
    return path


Answer = str | int


def answers(path: Path, batches: list[list[int]], **options: object) -> dict[int, Answer]:
    """Return what each time gives: the checksum of its pixels, or the name of an error's class."""
    cleanup_cache()
    found: dict[int, Answer] = {}
    for batch in batches:
        frames = batch_decode([MediaRef(str(path), t) for t in batch], on_error="none", **options)
        for place, (t, pixels) in enumerate(zip(batch, frames, strict=True)):
            found[t] = type(frames.errors[place]).__name__ if pixels is None else zlib.crc32(pixels.tobytes())
    return found


def check_one_answer(path: Path, seed: int) -> dict[int, Answer]:
    """Hold what all kinds of calls give against one another and against a linear decode."""
    try:
        linear = linear_frames(path)
    except av.error.FFmpegError:
        linear = []
    wanted = {-(-frame.time * 10**9 // 1): zlib.crc32(frame.rgb.tobytes()) for frame in linear}
    times = sorted(wanted)
    shuffled = random.Random(seed).sample(times, len(times))
    windows = [times[i : i + 8] for i in range(0, len(times), 3)]
    alone = answers(path, [[t] for t in times])
    wrong = {
        t: times.index(t)
        for t, answer in alone.items()
        if not isinstance(answer, str) and answer != wanted[t]
    }
    assert not wrong, f"{path.name} differ from a linear decode: {sorted(wrong.values())}"
    for batches, how in (
        ([times], "in one batch"),
        ([[t] for t in reversed(times)], "backwards"),
        ([[t] for t in shuffled], "in any order"),
        (windows, "in windows"),
    ):
        found = answers(path, batches)
        differ = {times.index(t): (found[t], alone[t]) for t in times if found[t] != alone[t]}
        assert not differ, f"{path.name} {how} other than alone: {differ}"
    return alone


@pytest.mark.parametrize("name", CONCEALING)
def test_one_flipped_bit_gives_one_answer_whichever_call_asks(
    name: str, clip: GetClip, tmp_path: Path
) -> None:
    for seed in range(6):
        path = damaged(clip(name), tmp_path, seed, keyframes=seed % 2 == 0)
        try:
            check_one_answer(path, seed)
        except MediaRefError as error:  # the whole video is refused, by every call
            assert isinstance(error, CorruptMediaError)


def times_of(path: Path) -> list[int]:
    return [-(-frame.time * 10**9 // 1) for frame in linear_frames(path)]


def marked_clip(clip: Clip, folder: Path) -> tuple[Path, dict[int, Answer]]:
    """Return a damaged copy of a clip that has frames which are errors, and what each time gives."""
    for seed in range(20):
        path = damaged(clip, folder, seed)
        found = answers(path, [times_of(clip.path)])
        if "CorruptMediaError" in found.values():
            return path, found
    raise AssertionError("expected damage that a decoder marks, found none")


@pytest.mark.parametrize("name", ["h264_idr_mp4", "mpeg4_avi", "mpeg2_mp4", "av1_mp4"])
def test_torchcodec_gives_the_same_errors(name: str, clip: GetClip, tmp_path: Path) -> None:
    pytest.importorskip("torchcodec")
    path, ours = marked_clip(clip(name), tmp_path)
    times = list(ours)
    windows = [times[i : i + 5] for i in range(0, len(times), 4)]
    for batches in ([times], [[t] for t in times[::-3]], windows):
        theirs = answers(path, batches, decoder="torchcodec")
        differ = [t for t, answer in theirs.items() if isinstance(answer, str) != isinstance(ours[t], str)]
        assert not differ


def test_lazy_videos_and_decoders_give_the_same_errors(clip: GetClip, tmp_path: Path) -> None:
    path, found = marked_clip(clip("h264_idr_mp4"), tmp_path)
    bad = [isinstance(answer, str) for answer in found.values()]
    first, last = bad.index(True), len(bad) - 1 - bad[::-1].index(True)
    video, decoder = LazyVideo(path), PyAVVideoDecoder(path)
    assert decoder.metadata.num_frames == len(bad)
    for number in range(len(bad)):
        for read in (lambda n: video[n : n + 1][:], lambda n: decoder[n]):
            if bad[number]:
                with pytest.raises(CorruptMediaError, match="damaged"):
                    read(number)
            else:
                read(number)
    assert len(video[:first][:]) == first
    assert len(video[last + 1 :][:]) == len(bad) - last - 1


def test_the_error_says_what_is_damaged_and_where(clip: GetClip, tmp_path: Path) -> None:
    path, found = marked_clip(clip("h264_baseline_mp4"), tmp_path)
    bad = [t for t, answer in found.items() if isinstance(answer, str)]
    with pytest.raises(CorruptMediaError, match=r"the frame of packet \d+ is damaged: its picture is") as own:
        batch_decode([MediaRef(str(path), bad[0])])
    assert own.value.pts_ns == bad[0]
    with pytest.raises(CorruptMediaError, match=r"refers to the picture of packet \d+, which is damaged"):
        batch_decode([MediaRef(str(path), bad[-1])])


@pytest.mark.parametrize("name", CONCEALING)
def test_an_index_made_by_decoding_tells_of_the_same_frames(name: str, clip: GetClip, tmp_path: Path) -> None:
    for seed in range(2):
        path = damaged(clip(name), tmp_path, seed)
        found = answers(path, [times_of(clip(name).path)])
        bad = [isinstance(answer, str) for answer in found.values()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamagedMediaWarning)
            index = write_frame_index(path, decode=True)
        table = LanceFrameIndex.open(path).segment_table(0)
        assert table.info.verified == index.segments[0].verified == "decoded"
        assert damaged_frames(table).tolist() == bad
        times = list(found)
        for batches in ([times], [[t] for t in times[::-3]]):
            again = answers(path, batches)
            assert {t: found[t] for t in again} == again


@pytest.mark.parametrize("name", [name for name in CLIP_NAMES if not name.startswith("colour_")])
def test_decoding_finds_no_damage_where_there_is_none(name: str, clip: GetClip) -> None:
    index = scan_frame_index(clip(name).path, decode=True)
    assert not index.segment_table(0).packets.is_corrupt.any()


def test_decoding_finds_frames_that_differ_from_a_linear_decode(
    clip: GetClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that is wrong of where decoding can begin is found out."""
    reader = type(inspector_for("mpeg4", b""))
    every_packet = Traits(random_access=True, discardable=False)
    monkeypatch.setattr(reader, "inspect", lambda self, data: every_packet)
    index = scan_frame_index(clip("mpeg4_mp4").path, decode=True)
    assert index.segment_table(0).packets.is_corrupt.sum() > 20


def test_index_decode_counts_damage_and_inspect_tells_of_it(clip: GetClip, tmp_path: Path) -> None:
    path, found = marked_clip(clip("h264_idr_mp4"), tmp_path)
    count = sum(isinstance(answer, str) for answer in found.values())
    assert run("index", path).stderr == ""
    before = json.loads(run("inspect", path, "--json").stdout)
    assert (before["verified"], before["damaged_frames"]) == ("full", 0)
    result = run("index", "--decode", path)
    said = f"{count} of {len(found)} frames are damaged, and each is an error when read"
    assert said in result.stderr
    assert ", decoded, " in result.stdout
    assert "fresh, kept" in run("index", "--decode", path).stdout
    after = json.loads(run("inspect", path, "--json").stdout)
    assert (after["verified"], after["damaged_frames"]) == ("decoded", count)
    assert f"1 packet damaged; {count} frames cannot be read for it" in run("inspect", path).stdout
    assert run("index", "--decode", "--strict", path).exit_code == 1


def test_a_damaged_picture_that_no_other_refers_to_costs_itself_alone(clip: GetClip, tmp_path: Path) -> None:
    whole = clip("h264_idr_mp4").path
    table = scan_frame_index(whole).segment_table(0)
    alone = np.flatnonzero(table.packets.is_reference == 0)
    for packet in alone[5:9].tolist():
        offset, size = int(table.packets.offset[packet]), int(table.packets.size[packet])
        data = bytearray(whole.read_bytes())
        data[offset + size // 2 : offset + size // 2 + 12] = bytes(12)
        path = tmp_path / f"{packet}.mp4"
        path.write_bytes(data)
        found = check_one_answer(path, packet)
        bad = [i for i, answer in enumerate(found.values()) if isinstance(answer, str)]
        assert bad in ([], [int(table.frame_of_packet[packet])])


def test_a_packet_that_is_refused_costs_only_what_refers_to_it(clip: GetClip, tmp_path: Path) -> None:
    """Also in a batch in which others follow it."""
    whole = clip("h264_idr_mp4").path
    table = scan_frame_index(whole).segment_table(0)
    packet = int(np.flatnonzero(table.packets.is_reference == 0)[6])
    path = Path(shutil.copy(whole, tmp_path))
    write_frame_index(path)
    data = bytearray(whole.read_bytes())
    data[int(table.packets.offset[packet]) + 6] ^= 1
    path.write_bytes(data)
    found = answers(path, [times_of(whole)])
    bad = [i for i, answer in enumerate(found.values()) if isinstance(answer, str)]
    assert bad == [int(table.frame_of_packet[packet])]


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_frames_that_never_come_out_end_their_run(suffix: str, tmp_path: Path) -> None:
    """Slices in the wrong order: a random access point gives no frame, and no error; other frames go on."""
    options = {"x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=3:open-gop=1:slices=3"}
    whole = tmp_path / "whole.mp4"
    with av.open(str(whole), "w") as output:
        stream = output.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(48):
            frame = av.VideoFrame.from_ndarray(make_picture(number, 96, 64), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))

    def reversed_units(sample: Sample) -> tuple[bytes, bool]:
        units, position = [], 0
        while position < len(sample.data):
            size = 4 + int.from_bytes(sample.data[position : position + 4], "big")
            units.append(sample.data[position : position + size])
            position += size
        return b"".join(units[::-1] if sample.number % 11 == 7 else units), sample.is_keyframe

    path = remux(whole, tmp_path / f"video.{suffix}", reversed_units)
    refs = [MediaRef(str(path), 40_000_000 * number) for number in range(48)]
    for first in range(0, 44, 4):
        frames = batch_decode(refs[first : first + 8], on_error="none")
        assert len(frames) == min(8, 48 - first)
