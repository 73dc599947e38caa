"""Streams that once came out wrong, each with what made it so."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from _encoding import make_picture
from _media import Clip
from _oracle import linear_frames

from mediaref_ursa import (
    CorruptMediaError,
    FrameIndexInvalidError,
    FrameIndexStaleError,
    InvalidReferenceError,
    LanceFrameIndex,
    LimitExceededError,
    MediaRef,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa.video_decoder import BatchDecodingStrategy

GetClip = Callable[[str], Clip]


def encode(path: Path, codec: str, *, group: int, b_frames: int, count: int = 60, **options: str) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.gop_size = group
        stream.codec_context.max_b_frames = b_frames
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(make_picture(number, 96, 64), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def assert_exact(path: Path) -> None:
    frames = linear_frames(path)
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    for strategy in BatchDecodingStrategy:
        found = batch_decode(refs, strategy)
        wrong = [
            i for i, (a, b) in enumerate(zip(found, frames, strict=True)) if not np.array_equal(a, b.rgb)
        ]
        assert not wrong, f"{strategy}: {wrong}"
    for i in random.Random(0).sample(range(len(frames)), 12):
        assert np.array_equal(batch_decode([refs[i]])[0], frames[i].rgb), i


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_a_decoder_that_reads_past_the_end_of_a_packet_finds_zeros(suffix: str, tmp_path: Path) -> None:
    """MPEG-4 does; what lay behind the packet in memory changed the picture."""
    assert_exact(encode(tmp_path / f"video.{suffix}", "mpeg4", group=9, b_frames=0, count=100))


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video"])
def test_interlaced_video_with_b_frames(codec: str, suffix: str, tmp_path: Path) -> None:
    """FFmpeg's MPEG-4 decoder scales field vectors by a time that it takes from the first B-VOP it meets."""
    path = tmp_path / f"video.{suffix}"
    assert_exact(encode(path, codec, group=12, b_frames=2, flags="+ilme+ildct"))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_lost_packets_are_concealed_as_in_a_linear_decode(codec: str, suffix: str, tmp_path: Path) -> None:
    """Concealment takes what was decoded last: packets that nobody refers to count after all."""
    whole = encode(tmp_path / "whole.mp4", codec, group=30, b_frames=3, **{"x265-params": "log-level=error"})
    has_gap = tmp_path / f"lossy.{suffix}"
    with av.open(str(whole)) as source, av.open(str(has_gap), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.dts is not None and number not in (28, 47):
                packet.stream = stream
                output.mux(packet)
    assert_exact(has_gap)


def test_transport_streams_laid_end_to_end(clip: GetClip, tmp_path: Path) -> None:
    """At the joint FFmpeg calls a packet corrupt, whose bytes are all there."""
    data = clip("h264_ts").path.read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(data + data)
    frames = linear_frames(path)
    found = batch_decode(
        [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames], on_error="none"
    )
    assert not found.errors
    assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True))


@pytest.mark.parametrize("name", ["flv1_flv", "wmv2_avi", "gif"])
def test_other_containers_cut_short(name: str, clip: GetClip, tmp_path: Path) -> None:
    whole = clip(name).path
    frames = linear_frames(whole)
    path = tmp_path / whole.name
    for tenth in range(2, 10):
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size * tenth // 10])
        refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
        batch = batch_decode(refs, on_error="none")
        assert all(a is None or np.array_equal(a, b.rgb) for a, b in zip(batch, frames, strict=True))


@pytest.mark.parametrize("strategy", list(BatchDecodingStrategy))
def test_a_bad_packet_costs_the_frames_that_need_it_and_no_others(
    strategy: BatchDecodingStrategy, clip: GetClip, tmp_path: Path
) -> None:
    path = Path(shutil.copy(clip("h264_idr_mp4").path, tmp_path))
    frames = linear_frames(path)
    table = write_frame_index(str(path)).segment_table(0)
    first, second = table.random_access_points[1:3].tolist()
    data = bytearray(path.read_bytes())
    data[int(table.packets.offset[first]) + 7] ^= 2
    path.write_bytes(data)
    batch = batch_decode(
        [MediaRef(str(path), round(f.time * 10**9)) for f in frames], strategy, on_error="none"
    )
    lost = np.flatnonzero((table.packet >= first) & (table.packet < second)).tolist()
    assert sorted(batch.errors) == lost
    assert all(isinstance(error, CorruptMediaError) for error in batch.errors.values())
    assert all(i in lost or np.array_equal(batch[i], frame.rgb) for i, frame in enumerate(frames))


def test_an_index_given_for_another_video_is_not_believed(clip: GetClip, tmp_path: Path) -> None:
    ours = Path(shutil.copy(clip("h264_idr_mp4").path, tmp_path / "ours.mp4"))
    others = Path(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "others.mp4"))
    index = write_frame_index(str(others))
    for given in (index, {str(ours): index}):
        with pytest.raises(FrameIndexStaleError):
            batch_decode([MediaRef(str(ours), 0)], frame_index=given)
    copied = shutil.copy(others, tmp_path / "copied.mp4")
    assert np.array_equal(
        batch_decode([MediaRef(str(copied), 0)], frame_index=index)[0], linear_frames(others)[0].rgb
    )


def test_an_index_cannot_lead_out_of_the_base_directory(clip: GetClip, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    secret = shutil.copy(clip("h264_idr_mp4").path, tmp_path / "secret.mp4")
    inside = shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "base" / "video.mp4")
    write_frame_index(str(inside), segment_uris=[str(secret)])
    assert batch_decode([MediaRef(str(inside), 0)])[0].shape
    with pytest.raises(InvalidReferenceError, match="leads out"):
        batch_decode([MediaRef("video.mp4", 0)], base_dir=tmp_path / "base")


def test_a_flipped_bit_in_the_index_is_found(clip: GetClip, tmp_path: Path) -> None:
    path = Path(shutil.copy(clip("h264_pyramid_mp4").path, tmp_path / "video.mp4"))
    index = write_frame_index(str(path))
    (file,) = (Path(f"{path}.lance") / "data").iterdir()
    whole = file.read_bytes()
    choose = random.Random(5)
    expected = index.segment_table(0).columns_crc32
    found = 0
    for _ in range(150):
        data = bytearray(whole)
        data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        file.write_bytes(data)
        try:
            table = LanceFrameIndex.open(str(path)).segment_table(0)
        except FrameIndexInvalidError:
            found += 1
        else:
            assert table.columns_crc32 == expected
    assert found > 20


def test_images_are_not_made_larger_than_allowed(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "small.png")
    with pytest.raises(LimitExceededError, match="max_pixels="):
        batch_decode([MediaRef(str(tmp_path / "small.png"))], resize=(100_000, 100_000))
