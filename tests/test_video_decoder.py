"""The decoder classes: which frame each call gives, and what it answers where there is none."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _media import Clip
from _oracle import OracleFrame, linear_frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mediaref_ursa import (
    LanceFrameIndex,
    MediaNotFoundError,
    MediaRefError,
    batch_decode,
    cleanup_cache,
    write_frame_index,
)
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa.video_decoder import (
    BaseVideoDecoder,
    BatchDecodingStrategy,
    Frame,
    FrameBatch,
    PyAVVideoDecoder,
    VideoStreamMetadata,
)

GetClip = Callable[[str], Clip]


@pytest.fixture
def video(clip: GetClip) -> Path:
    return clip("h264_pyramid_mp4").path


@pytest.fixture
def decoder(video: Path) -> PyAVVideoDecoder:
    return PyAVVideoDecoder(video)


@pytest.fixture
def truth(video: Path) -> list[OracleFrame]:
    return linear_frames(video)


def nchw(frames: list[OracleFrame]) -> np.ndarray:
    return np.stack([frame.rgb.transpose(2, 0, 1) for frame in frames])


def assert_batch(batch: FrameBatch, expected: list[OracleFrame]) -> None:
    assert isinstance(batch, FrameBatch)
    assert batch.data.dtype == np.uint8
    assert batch.pts_seconds.dtype == batch.duration_seconds.dtype == np.float64
    assert np.array_equal(batch.data, nchw(expected))
    assert batch.pts_seconds.tolist() == [float(frame.time) for frame in expected]
    assert batch.duration_seconds.tolist() == [float(frame.duration * frame.time_base) for frame in expected]


def test_it_is_a_decoder_with_a_length(decoder: PyAVVideoDecoder, truth: list[OracleFrame]) -> None:
    assert isinstance(decoder, BaseVideoDecoder)
    assert len(decoder) == len(truth)
    assert repr(decoder).startswith("PyAVVideoDecoder('")
    assert "frames=48" in repr(decoder)


@pytest.mark.parametrize("index", [0, 1, 47, -1, -48, np.int64(7)])
def test_one_frame_by_number(decoder: PyAVVideoDecoder, truth: list[OracleFrame], index: int) -> None:
    expected = truth[int(index)]
    frame = decoder.get_frame_at(index)
    assert isinstance(frame, Frame)
    assert np.array_equal(frame.data, expected.rgb.transpose(2, 0, 1))
    assert frame.pts_seconds == float(expected.time)
    assert frame.duration_seconds == float(expected.duration * expected.time_base)
    assert np.array_equal(decoder[index], frame.data)


@pytest.mark.parametrize("index", [48, -49, 10**9])
def test_a_number_that_is_not_there(decoder: PyAVVideoDecoder, index: int) -> None:
    for call in (decoder.__getitem__, decoder.get_frame_at, lambda i: decoder.get_frames_at([0, i])):
        with pytest.raises(IndexError, match=rf"expected frames from -48 to 47 .*found {index}"):
            call(index)


@pytest.mark.parametrize("key", ["a", 1.0, None, [1]])
def test_a_key_that_is_no_number(decoder: PyAVVideoDecoder, key: Any) -> None:
    with pytest.raises(TypeError, match="expected an integer or a slice"):
        decoder[key]


@pytest.mark.parametrize("indices", [[1.5], ["a"], None, [None]])
def test_numbers_that_are_none(decoder: PyAVVideoDecoder, indices: Any) -> None:
    with pytest.raises(TypeError):
        decoder.get_frames_at(indices)


@pytest.mark.parametrize("strategy", [None, "separate", *BatchDecodingStrategy])
def test_many_frames_by_number(
    decoder: PyAVVideoDecoder, truth: list[OracleFrame], strategy: BatchDecodingStrategy | str | None
) -> None:
    wanted = [30, 3, 3, -1, 0, 17]
    assert_batch(decoder.get_frames_at(wanted, strategy=strategy), [truth[i] for i in wanted])


@pytest.mark.parametrize("kind", [tuple, range, np.array, iter])
def test_numbers_of_any_kind_of_sequence(
    decoder: PyAVVideoDecoder, truth: list[OracleFrame], kind: Callable[[Any], Any]
) -> None:
    numbers = range(2, 5) if kind is range else kind([2, 3, 4])
    assert_batch(decoder.get_frames_at(numbers), truth[2:5])
    assert_batch(decoder.get_frames_at(4), truth[4:5])


@given(start=st.integers(-60, 60), stop=st.integers(-60, 60), step=st.integers(-7, 7).filter(bool))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_slices_are_those_of_a_list(
    decoder: PyAVVideoDecoder, truth: list[OracleFrame], start: int, stop: int, step: int
) -> None:
    expected = truth[start:stop:step]
    found = decoder[start:stop:step]
    assert found.shape == (len(expected), 3, 64, 96)
    assert not expected or np.array_equal(found, nchw(expected))
    if step > 0:
        assert_range(decoder.get_frames_in_range(start, stop, step), expected)


def assert_range(batch: FrameBatch, expected: list[OracleFrame]) -> None:
    if expected:
        assert_batch(batch, expected)
    else:
        assert batch.data.shape == (0, 3, 64, 96)
        assert batch.pts_seconds.shape == batch.duration_seconds.shape == (0,)


@pytest.mark.parametrize("step", [0, -1])
def test_a_range_goes_forward(decoder: PyAVVideoDecoder, step: int) -> None:
    with pytest.raises(ValueError, match="expected a step of 1 or more"):
        decoder.get_frames_in_range(0, 5, step)


def test_iterating_gives_every_frame_in_order(decoder: PyAVVideoDecoder, truth: list[OracleFrame]) -> None:
    assert np.array_equal(np.stack(list(decoder)), nchw(truth))
    assert np.array_equal(decoder.get_all_frames().data, nchw(truth))


def test_nothing_asked_for_is_an_empty_batch(decoder: PyAVVideoDecoder) -> None:
    assert_range(decoder.get_frames_at([]), [])
    assert_range(decoder.get_frames_played_at([]), [])
    assert_range(decoder.get_frames_played_in_range(0.5, 0.5), [])
    small = PyAVVideoDecoder(decoder.source, resize=(10, 20), dimension_order="NHWC", colorspace="G")
    assert small.get_frames_at([]).data.shape == (0, 10, 20, 1)


@pytest.mark.parametrize("name", ["h264_29_97_mp4", "h264_vfr_mkv", "h264_late_start_mp4", "av1_mkv"])
def test_a_time_shows_the_frame_of_the_playback_rule(name: str, clip: GetClip) -> None:
    path = clip(name).path
    truth, decoder = linear_frames(path), PyAVVideoDecoder(path)
    starts = [float(frame.time) for frame in truth]
    assert_batch(decoder.get_frames_played_at(starts), truth)
    assert_batch(decoder.get_frames_played_at(np.array(starts[::-1])), truth[::-1])
    within = [frame.time + Fraction(1, 10_000) for frame in truth]
    assert_batch(decoder.get_frames_played_at(within), truth)
    assert decoder.get_frame_played_at(starts[2]).pts_seconds == starts[2]
    same = batch_decode([{"uri": str(path), "pts_ns": int(t * 1e9)} for t in starts], channel_format="NCHW")
    assert np.array_equal(np.stack(same), decoder.get_frames_played_at(starts).data)


@pytest.mark.parametrize("seconds", [-1, -0.001, 1.92, 1.93, 1e9, 1e300, -1e300])
def test_a_time_outside_the_video(decoder: PyAVVideoDecoder, seconds: float) -> None:
    for call in (decoder.get_frame_played_at, lambda t: decoder.get_frames_played_at([0.0, t])):
        for builtin in (IndexError, ValueError, MediaRefError):
            with pytest.raises(builtin, match="the time lies"):
                call(seconds)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -float("inf")])
def test_a_time_that_is_none(decoder: PyAVVideoDecoder, seconds: float) -> None:
    with pytest.raises(ValueError, match="expected finite seconds"):
        decoder.get_frames_played_at([seconds])
    with pytest.raises(ValueError, match="expected finite seconds"):
        decoder.get_frames_played_in_range(0.0, seconds)


@pytest.mark.parametrize(
    ("start", "stop", "frames"),
    [
        (0.0, 1.92, slice(0, 48)),
        (0.05, 0.21, slice(1, 6)),
        (0.04, 0.08, slice(1, 2)),
        (0.04, 0.0801, slice(1, 3)),
        (0.05, 0.06, slice(1, 2)),
        (1.90, 1.92, slice(47, 48)),
    ],
)
def test_a_range_of_times(
    decoder: PyAVVideoDecoder, truth: list[OracleFrame], start: float, stop: float, frames: slice
) -> None:
    assert_batch(decoder.get_frames_played_in_range(start, stop), truth[frames])


@pytest.mark.parametrize("name", ["h264_29_97_mp4", "h264_23_976_mp4", "h264_29_97_mkv"])
def test_a_range_ends_before_the_frame_that_its_end_means(name: str, clip: GetClip) -> None:
    path = clip(name).path
    truth, decoder = linear_frames(path), PyAVVideoDecoder(path)
    for first, last in ((0, 1), (1, 5), (7, 20), (3, len(truth) - 1)):
        start, stop = float(truth[first].time), float(truth[last].time)
        assert_batch(decoder.get_frames_played_in_range(start, stop), truth[first:last])


@pytest.mark.parametrize(("start", "stop"), [(0.3, 0.2), (-1, 1), (0, 100), (100, 101), (1.92, 1.92)])
def test_a_range_outside_the_video(decoder: PyAVVideoDecoder, start: float, stop: float) -> None:
    with pytest.raises(ValueError, match="expected a range"):
        decoder.get_frames_played_in_range(start, stop)


def test_a_range_at_another_rate(decoder: PyAVVideoDecoder, truth: list[OracleFrame]) -> None:
    batch = decoder.get_frames_played_in_range(0.05, 0.3, fps=50)
    times = [0.05 + i / 50 for i in range(13)]
    assert np.allclose(batch.pts_seconds, times, rtol=0, atol=1e-12)
    assert batch.duration_seconds.tolist() == [0.02] * 13
    assert np.array_equal(batch.data, nchw([truth[int((t + 1e-6) // 0.04)] for t in times]))
    assert len(decoder.get_all_frames(fps=2)) == 4
    assert len(decoder.get_frames_played_in_range(0.1, 0.1, fps=10)) == 0
    for fps in (0, -1):
        with pytest.raises(ValueError, match="expected fps above 0"):
            decoder.get_frames_played_in_range(0.1, 0.3, fps=fps)


def test_metadata_is_exact(clip: GetClip) -> None:
    path = clip("h264_29_97_mp4").path
    truth = linear_frames(path)
    metadata = PyAVVideoDecoder(path).metadata
    assert isinstance(metadata, VideoStreamMetadata)
    assert metadata.num_frames == len(truth)
    assert metadata.average_rate == Fraction(30000, 1001)
    assert metadata.average_fps == 30000 / 1001
    assert metadata.begin_stream_seconds == truth[0].time
    assert metadata.end_stream_seconds == truth[-1].end
    assert metadata.duration_seconds == truth[-1].end - truth[0].time
    assert (metadata.codec, metadata.pixel_format, metadata.rotation) == ("h264", "yuv420p", 0)
    assert (metadata.height, metadata.width) == truth[0].rgb.shape[:2]


def test_metadata_of_a_turned_video_is_that_of_its_frames(clip: GetClip) -> None:
    decoder = PyAVVideoDecoder(clip("rotated_90_mp4").path)
    metadata = decoder.metadata
    assert decoder[0].shape == (3, metadata.height, metadata.width)
    assert metadata.rotation in (90, 270)


def test_how_pixels_are_handed_out(video: Path, truth: list[OracleFrame]) -> None:
    nhwc = PyAVVideoDecoder(video, dimension_order="NHWC", colorspace="BGR")
    assert np.array_equal(nhwc[3], truth[3].rgb[..., ::-1])
    assert PyAVVideoDecoder(video, resize=(32, 40))[0].shape == (3, 32, 40)
    assert PyAVVideoDecoder(video, colorspace="G")[0].shape == (1, 64, 96)
    for wrong in ({"dimension_order": "CHW"}, {"colorspace": "YUV"}, {"resize": (0, 3)}, {"max_workers": 0}):
        with pytest.raises(ValueError, match="expected"):
            PyAVVideoDecoder(video, **wrong)


def test_sources_of_every_kind(video: Path, truth: list[OracleFrame]) -> None:
    data = video.read_bytes()
    with video.open("rb") as file, video.open("rb", buffering=0) as raw:
        for source in (str(video), video, video.as_uri(), data, bytearray(data), memoryview(data), file, raw):
            assert np.array_equal(PyAVVideoDecoder(source)[-5], truth[-5].rgb.transpose(2, 0, 1))
        assert not file.closed
    assert "<bytes>" in repr(PyAVVideoDecoder(data))


@pytest.mark.parametrize("source", [5, None, object()])
def test_a_source_that_is_none(source: Any) -> None:
    with pytest.raises(TypeError, match="expected a path"):
        PyAVVideoDecoder(source)


def test_sources_that_hold_no_video(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        PyAVVideoDecoder(tmp_path / "nothing.mp4")
    for data in (b"", b"abc" * 100):
        for source in (data, io.BytesIO(data)):
            with pytest.raises(MediaRefError):
                PyAVVideoDecoder(source)
    closed = io.BytesIO(b"abc")
    closed.close()
    with pytest.raises(MediaRefError, match="closed"):
        PyAVVideoDecoder(closed)


def test_the_index_that_a_caller_has(video: Path, truth: list[OracleFrame], tmp_path: Path) -> None:
    copied = tmp_path / "copy.mp4"
    copied.write_bytes(video.read_bytes())
    index = write_frame_index(copied)
    for given_index in (index, str(copied), LanceFrameIndex.open(copied)):
        decoder = PyAVVideoDecoder(copied, frame_index=given_index)
        assert_batch(decoder.get_frames_at([5]), truth[5:6])
    assert_batch(PyAVVideoDecoder(copied.read_bytes(), frame_index=index).get_frames_at([5]), truth[5:6])


def test_several_segments_are_one_video(clip: GetClip) -> None:
    paths = [clip(name).path for name in ("h264_pyramid_mp4", "h264_late_start_mp4")]
    truth = [linear_frames(path) for path in paths]
    index = scan_frame_index(paths[0], segment_uris=paths)
    decoder = PyAVVideoDecoder(paths[0], frame_index=index)
    both = [*truth[0], *truth[1]]
    assert len(decoder) == len(both)
    assert np.array_equal(np.stack(list(decoder)), nchw(both))
    batch = decoder.get_frames_at(range(len(both)))
    assert (np.diff(batch.pts_seconds) > 0).all()
    again = decoder.get_frames_played_at(batch.pts_seconds)
    assert np.array_equal(again.data, batch.data)
    metadata = decoder.metadata
    end = batch.pts_seconds[-1] + batch.duration_seconds[-1]
    assert float(metadata.end_stream_seconds or 0) == pytest.approx(end, abs=1e-9)


def test_another_stream_than_the_best(clip: GetClip) -> None:
    import av

    path = clip("two_videos_mp4").path
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        assert best is not None
        other = next(stream for stream in container.streams.video if stream.index != best.index)
        best_index, other_index = best.index, other.index
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(other)]
    decoder = PyAVVideoDecoder(path, stream_index=other_index, dimension_order="NHWC")
    assert decoder.stream_index == other_index
    assert np.array_equal(decoder.get_all_frames().data, np.stack(frames))
    assert np.array_equal(PyAVVideoDecoder(path, stream_index=best_index)[0], PyAVVideoDecoder(path)[0])
    with pytest.raises(MediaRefError):
        PyAVVideoDecoder(path, stream_index=99)
    with pytest.raises(ValueError, match="one stream"):
        PyAVVideoDecoder(path, stream_index=0, frame_index=scan_frame_index(path))


def test_closing(decoder: PyAVVideoDecoder) -> None:
    with decoder as same:
        assert same is decoder
        assert decoder[0].shape == (3, 64, 96)
    decoder.close()
    decoder.close()
    with pytest.raises(ValueError, match="closed"):
        decoder[0]
    assert repr(decoder) == "PyAVVideoDecoder(closed)"


def test_a_pickled_decoder_gives_the_same_frames(video: Path, truth: list[OracleFrame]) -> None:
    decoder = PyAVVideoDecoder(video, dimension_order="NHWC", colorspace="BGR")
    copied = pickle.loads(pickle.dumps(decoder))
    assert np.array_equal(copied[4], truth[4].rgb[..., ::-1])


def test_a_forked_child_decodes(decoder: PyAVVideoDecoder, truth: list[OracleFrame]) -> None:
    expected = decoder.get_frames_at(range(48)).data
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(_frames_in_child, [pickle.dumps(decoder)] * 4).get(timeout=60)
    assert all(np.array_equal(part, expected) for part in found)
    pid = os.fork()
    if pid == 0:  # the decoder itself, inherited
        os._exit(0 if np.array_equal(decoder[7], expected[7]) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _frames_in_child(data: bytes) -> np.ndarray:
    return pickle.loads(data).get_frames_at(range(48)).data


def test_threads_share_a_decoder(decoder: PyAVVideoDecoder, truth: list[OracleFrame]) -> None:
    wrong: list[int] = []

    def decode(first: int) -> None:
        for index in range(first, 48, 4):
            if not np.array_equal(decoder[index], truth[index].rgb.transpose(2, 0, 1)):
                wrong.append(index)

    threads = [threading.Thread(target=decode, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_workers_do_not_change_frames(video: Path, truth: list[OracleFrame]) -> None:
    for workers in (1, 2, 7):
        decoder = PyAVVideoDecoder(video, max_workers=workers)
        assert_batch(decoder.get_frames_at(range(47, -1, -1)), truth[::-1])
    PyAVVideoDecoder(video, max_workers=4).get_frames_at(range(48), strategy="separate")
    cleanup_cache()
    deadline = time.monotonic() + 5
    while left := [thread for thread in threading.enumerate() if thread.name.startswith("mediaref-decode")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_batches_guard_their_lengths() -> None:
    data, times = np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2)
    batch = FrameBatch(data, times, times)
    assert len(batch) == 2
    assert len(batch[:1]) == 1
    assert batch[0].data.shape == (3, 4, 4)
    assert [part.data.shape for part in batch] == [(3, 4, 4)] * 2
    assert len(batch[np.array([True, False])]) == 1
    assert "(2, 3, 4, 4)" in repr(batch)
    for wrong in ((data, times[:1], times), (data, times, np.zeros(3)), (np.zeros(3), times, times)):
        with pytest.raises(ValueError, match="expected"):
            FrameBatch(*wrong)
    pixels, pts, duration = Frame(data[0], 1, 2)
    assert (pixels.shape, pts, duration) == ((3, 4, 4), 1.0, 2.0)
    with pytest.raises(ValueError, match="three dimensions"):
        Frame(data, 0, 0)
