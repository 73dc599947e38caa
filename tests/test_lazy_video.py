"""LazyVideo: windows and slices of one logical video, held against a linear decode."""

from __future__ import annotations

import copy
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import h5py
import lance
import numpy as np
import pytest
from _containers import MatroskaBlock, MatroskaTrack, write_matroska
from _encoding import encode
from _media import VP8, Clip
from _oracle import OracleFrame, linear_frames
from temporaldata import IrregularTimeSeries

from mediaref_ursa import (
    CorruptMediaError,
    FrameIndexInvalidError,
    FrameIndexStaleError,
    FrameOutsideVideoError,
    LanceFrameIndex,
    LazyVideo,
    MediaNotFoundError,
    MediaRef,
    OutsideRecordingWarning,
    UnsupportedMediaError,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa.store import LocalStore, MemoryStore, ObjectInfo

GetClip = Callable[[str], Clip]


class RecordingStore:
    """Notes what is asked of a store."""

    def __init__(self, inner: LocalStore | MemoryStore) -> None:
        self.inner = inner
        self.calls: list[str] = []

    def head(self, uri: str) -> ObjectInfo:
        self.calls.append("head")
        return self.inner.head(uri)

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        self.calls.append("get")
        return self.inner.get_range(uri, offset, length)

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.calls.append("get")
        return self.inner.get_ranges(uri, ranges)

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        self.calls.append("get")
        return self.inner.get(uri, max_bytes)


@pytest.fixture
def path(clip: GetClip, tmp_path: Path) -> str:
    return str(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "video.mp4"))


@pytest.fixture
def frames(path: str) -> list[OracleFrame]:
    return linear_frames(path)


@pytest.fixture
def video(path: str) -> LazyVideo:
    return LazyVideo(path, frame_index=write_frame_index(path), metadata={"subject": "m1"})


def stacked(frames: Sequence[OracleFrame], layout: str = "NCHW") -> np.ndarray:
    pixels = np.stack([frame.rgb for frame in frames])
    return pixels.transpose(0, 3, 1, 2) if layout == "NCHW" else pixels


def test_nothing_is_read_until_the_first_slice(path: str, frames: list[OracleFrame]) -> None:
    write_frame_index(path)
    store = RecordingStore(LocalStore())
    video = LazyVideo(path, store=store, frame_index=LanceFrameIndex.open(path))
    window = video.lazy_slice(0.2, 1.0).lazy_slice(0.3, 0.9)
    assert (len(video), video.frame_count) == (len(frames), len(frames))
    assert len(video.timestamps) == len(frames)
    assert repr(window).startswith("LazyVideo(")
    assert len(window.refs()) == len(window)
    assert store.calls == []
    window.slice(0.3, 0.9)
    assert "get" in store.calls


def test_a_whole_slice_is_the_linear_decode(video: LazyVideo, frames: list[OracleFrame]) -> None:
    series = video.slice(0.0, 100.0, reset_origin=False)
    assert isinstance(series, IrregularTimeSeries)
    assert np.array_equal(series.frames, stacked(frames))
    assert series.timestamps.tolist() == [float(frame.time) for frame in frames]
    assert series.metadata is video.metadata
    assert series.frames.dtype == np.uint8


@pytest.mark.parametrize(("start", "end"), [(0.1, 0.5), (0.0, 0.033), (0.5, 0.5), (-5.0, 0.2), (2.2, 9.0)])
def test_slices_are_half_open(start: float, end: float, video: LazyVideo, frames: list[OracleFrame]) -> None:
    covered = [frame for frame in frames if start <= float(frame.time) < end]
    relative = video.slice(start, end)
    absolute = video.slice(start, end, reset_origin=False)
    assert relative.frames.shape == (len(covered), 3, *frames[0].rgb.shape[:2])
    if covered:
        assert np.array_equal(relative.frames, stacked(covered))
    assert absolute.timestamps.tolist() == [float(frame.time) for frame in covered]
    assert relative.timestamps == pytest.approx(absolute.timestamps - start)
    assert len(video.lazy_slice(start, end)) == len(covered)


def test_a_slice_is_a_real_temporaldata_object(video: LazyVideo, tmp_path: Path) -> None:
    series = video.slice(0.2, 1.2)
    assert sorted(series.keys()) == ["frames", "timestamps"]
    assert (series.domain.start[0], series.domain.end[0]) == pytest.approx((0.0, 1.0))
    part = series.slice(0.25, 0.5)
    assert np.array_equal(part.frames, video.slice(0.45, 0.7).frames)
    with h5py.File(tmp_path / "series.h5", "w") as file:
        series.to_hdf5(file)
    with h5py.File(tmp_path / "series.h5") as file:
        back = IrregularTimeSeries.from_hdf5(file)
        assert np.array_equal(back.frames, series.frames)
        assert np.array_equal(back.timestamps, series.timestamps)


def test_windows_of_windows_compose_and_share_their_tables(video: LazyVideo) -> None:
    outer = video.lazy_slice(0.2, 1.5)
    inner = outer.lazy_slice(0.0, 0.6)
    assert inner.timestamps.tolist() == video.lazy_slice(0.2, 0.6).timestamps.tolist()
    assert np.array_equal(inner[:], video.slice(0.2, 0.6).frames)
    assert inner._recording is video._recording
    assert len(outer.lazy_slice(1.5, 9.0)) == len(outer.lazy_slice(0.5, 0.5)) == 0
    assert outer.lazy_slice(5.0, 6.0)[:].shape[0] == 0


def test_indexing_and_iteration(video: LazyVideo, frames: list[OracleFrame]) -> None:
    window = video.lazy_slice(float(frames[10].time), float(frames[40].time))
    expected = stacked(frames[10:40])
    assert np.array_equal(window[3], expected[3])
    assert np.array_equal(window[np.int64(-1)], expected[-1])
    for key in (slice(2, 9), slice(None), slice(-5, None), slice(20, 3, -4), slice(5, 5)):
        assert np.array_equal(window[key], expected[key])
    assert all(np.array_equal(a, b) for a, b in zip(window, expected, strict=True))
    for place in (30, -31):
        with pytest.raises(IndexError, match="from -30 to 29"):
            window[place]
    with pytest.raises(TypeError):
        window["a"]


@pytest.mark.parametrize("name", ["h264_open_gop_mp4", "vp8_hidden_webm", "hevc_open_gop_mp4", "h264_ts"])
def test_iteration_holds_few_frames(name: str, clip: GetClip) -> None:
    path = str(clip(name).path)
    frames = linear_frames(path)
    found = list(LazyVideo(path, channel_format="NHWC"))
    assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True))


def test_layout_colour_and_size(path: str, frames: list[OracleFrame]) -> None:
    index = write_frame_index(path)
    last = LazyVideo(path, frame_index=index, channel_format="NHWC", colorspace="BGR")
    assert np.array_equal(last[:3], stacked(frames[:3], "NHWC")[..., ::-1])
    gray = LazyVideo(path, frame_index=index, colorspace="G", resize=(20, 30))
    assert gray.slice(0.0, 0.1).frames.shape == (3, 1, 20, 30)
    assert gray.slice(0.0, 0.0).frames.shape == (0, 1, 20, 30)
    with pytest.raises(ValueError, match="colorspace"):
        LazyVideo(path, frame_index=index, colorspace="YUV")


def test_from_uri_finds_the_index_and_scans_without_one(path: str, frames: list[OracleFrame]) -> None:
    store = RecordingStore(LocalStore())
    scanned = LazyVideo.from_uri(path, store=store)
    assert "get" in store.calls
    write_frame_index(path)
    store.calls.clear()
    indexed = LazyVideo.from_uri(path, store=store, metadata=7, channel_format="NHWC")
    assert store.calls == []
    assert np.array_equal(indexed[5], scanned[5].transpose(1, 2, 0))
    assert indexed.slice(0.0, 0.1).metadata == 7
    opened = LazyVideo(path, frame_index=f"{path}.lance")
    assert np.array_equal(opened[5], scanned[5])


def test_references_lead_back_to_the_same_pixels(video: LazyVideo, path: str) -> None:
    window = video.lazy_slice(0.5, 1.0)
    refs = window.refs()
    assert all(isinstance(ref, MediaRef) and ref.uri == path for ref in refs)
    assert np.array_equal(np.stack(batch_decode(refs, channel_format="NCHW")), window[:])
    back, numbers = LazyVideo.from_refs(refs[::-1])
    assert back.timestamps.tolist() == window.timestamps.tolist()
    assert np.array_equal(video[numbers], window[:])
    with pytest.raises(ValueError, match="references"):
        LazyVideo.from_refs([])
    with pytest.raises(ValueError, match="images"):
        LazyVideo.from_refs([MediaRef(path)])
    with pytest.raises(ValueError, match="one video"):
        LazyVideo.from_refs([MediaRef(path, 0), MediaRef("other.mp4", 0)])
    with pytest.raises(FrameOutsideVideoError):
        LazyVideo.from_refs([MediaRef(path, 10**15)])


@pytest.fixture
def parts(clip: GetClip, tmp_path: Path) -> list[str]:
    names = ["h264_29_97_mp4", "hevc_mkv", "h264_ts", "vp9_alt_ref_webm"]
    return [shutil.copy(clip(name).path, tmp_path) for name in names]


def test_slices_across_segments(parts: list[str], tmp_path: Path) -> None:
    index = write_frame_index(str(tmp_path / "whole"), segments=parts)
    oracles = [linear_frames(part) for part in parts]
    frames = [frame for oracle in oracles for frame in oracle]
    for video in (
        LazyVideo(str(tmp_path / "whole"), frame_index=index),
        LazyVideo.from_segments(parts, uri=str(tmp_path / "scanned")),
        LazyVideo.from_segments(parts, uri=str(tmp_path / "whole")),
        LazyVideo.from_segments(parts, uri=str(tmp_path / "whole"), frame_index=None),
        LazyVideo(parts[0], segment_uris=parts[1:]),
        LazyVideo.from_uri(str(tmp_path / "whole")),
    ):
        assert len(video) == len(frames)
        border = len(oracles[0])
        start, end = video.timestamps[border - 4], video.timestamps[border + 5]
        assert np.array_equal(video.slice(start, end).frames, stacked(frames[border - 4 : border + 5]))
        assert np.array_equal(video[:], stacked(frames))
        assert all(np.array_equal(a, b.rgb.transpose(2, 0, 1)) for a, b in zip(video, frames, strict=True))
        counts = np.cumsum([0] + [len(oracle) for oracle in oracles])
        for number in (0, border - 1, border, len(frames) - 1):
            segment, local = video._segment_for_frame(number)
            assert counts[segment] + local == number
            assert 0 <= local < len(oracles[segment])
    refs = video.lazy_slice(start, end).refs()
    assert {ref.uri for ref in refs} == {parts[0], parts[1]}
    assert np.array_equal(np.stack(batch_decode(refs, channel_format="NCHW")), video.slice(start, end).frames)
    with pytest.raises(TypeError, match="without video=, found colorspace, resize with it"):
        LazyVideo.from_refs(refs, video=video, resize=(2, 2), colorspace="G")
    window, numbers = LazyVideo.from_refs(refs, video=video)
    assert np.array_equal(window[:], video[numbers])


def test_segments_of_different_sizes_need_a_size(clip: GetClip, tmp_path: Path) -> None:
    parts = [shutil.copy(clip(name).path, tmp_path) for name in ("h264_29_97_mp4", "h264_444_odd_mp4")]
    index = write_frame_index(str(tmp_path / "whole"), segments=parts)
    video = LazyVideo(str(tmp_path / "whole"), frame_index=index)
    assert video.slice(0.0, 0.1).frames.shape[0] == 3
    with pytest.raises(ValueError, match="resize="):
        video[:]
    sized = LazyVideo(str(tmp_path / "whole"), frame_index=index, resize=(32, 48))
    assert sized[:].shape == (len(video), 3, 32, 48)


def test_a_segment_that_fails_is_named(parts: list[str], tmp_path: Path) -> None:
    index = write_frame_index(str(tmp_path / "whole"), segments=parts)
    video = LazyVideo(str(tmp_path / "whole"), frame_index=index)
    data = bytearray(Path(parts[1]).read_bytes())
    data[int(index.segment_table(1).packets.offset[3]) + 9] ^= 4
    Path(parts[1]).write_bytes(data)
    with pytest.raises(CorruptMediaError, match=Path(parts[1]).name):
        video[:]
    Path(parts[2]).unlink()
    with pytest.raises(MediaNotFoundError, match=Path(parts[2]).name):
        LazyVideo(str(tmp_path / "whole"), frame_index=index)[:]
    assert len(video[: index.segment_frame_counts()[0]]) == index.segment_frame_counts()[0]


def test_a_stale_index_is_found_at_the_first_slice(path: str) -> None:
    write_frame_index(path)
    video = LazyVideo.from_uri(path)
    with Path(path).open("ab") as file:
        file.write(b"more")
    with pytest.raises(FrameIndexStaleError):
        video[0]


def test_segments_can_be_elsewhere_than_the_index_says(path: str, tmp_path: Path) -> None:
    write_frame_index(path)
    moved = shutil.move(path, tmp_path / "moved.mp4")
    video = LazyVideo.from_segments([moved], uri=path, frame_index=f"{path}.lance")
    assert np.array_equal(video[:], stacked(linear_frames(moved)))
    with pytest.raises(ValueError, match="segment_uris="):
        LazyVideo(path, frame_index=f"{path}.lance", segment_uris=[str(moved)])


@pytest.mark.parametrize("base_only", [False, True])
def test_a_clock_that_runs_backwards_is_sorted_with_its_frames(
    base_only: bool, path: str, frames: list[OracleFrame]
) -> None:
    write_frame_index(path)
    table = lance.dataset(f"{path}.lance").to_table()
    clock = 100.0 + np.random.default_rng(3).permutation(len(frames)) / 10
    at = table.schema.get_field_index("timestamp")
    table = table.set_column(at, "timestamp", [clock])
    if base_only:
        columns = ["segment_idx", "local_frame_idx", "pts", "timestamp"]
        table = table.select(columns).replace_schema_metadata(None)
        shutil.rmtree(f"{path}.lance")
    lance.write_dataset(table, f"{path}.lance", mode="create" if base_only else "overwrite")
    video = LazyVideo.from_uri(path)
    order = np.argsort(clock)
    assert video.timestamps.tolist() == np.sort(clock).tolist()
    assert np.array_equal(video[:], stacked([frames[i] for i in order]))
    assert all(np.array_equal(a, frames[i].rgb.transpose(2, 0, 1)) for a, i in zip(video, order, strict=True))
    assert video._segment_for_frame(0) == (0, int(order[0]))
    assert np.array_equal(
        video.slice(101.0, 102.0, reset_origin=False).timestamps, np.arange(1010, 1020) / 10
    )
    refs = video.lazy_slice(101.0, 102.0).refs()
    assert np.array_equal(
        np.stack(batch_decode(refs, channel_format="NCHW")), video.slice(101.0, 102.0).frames
    )


def test_scanned_videos_join_and_run_on(parts: list[str]) -> None:
    oracles = [linear_frames(part) for part in parts]
    joined = LazyVideo.concat([LazyVideo(part) for part in parts])
    assert np.array_equal(joined[:], stacked([frame for oracle in oracles for frame in oracle]))
    first = len(oracles[0])
    assert joined.timestamps[:first] == pytest.approx([float(frame.time) for frame in oracles[0]])
    assert joined.timestamps[first] == pytest.approx(float(oracles[0][-1].end + oracles[1][0].time))
    assert (np.diff(joined.timestamps) > 0).all()
    again = LazyVideo.concat([joined])
    assert np.array_equal(again[5], joined[5])


def test_indexed_videos_merge_in_the_order_of_their_clock(parts: list[str]) -> None:
    videos, expected = [], []
    for number, part in enumerate(parts):
        oracle = linear_frames(part)
        clock = 1000.0 * number + np.arange(len(oracle)) / 25
        videos.append(LazyVideo(part, frame_index=write_frame_index(part, timestamps=clock)))
        expected += oracle
    merged = LazyVideo.concat(videos)
    assert np.array_equal(merged[:], stacked(expected))
    assert merged.slice(1000.0, 1000.2).frames.shape[0] == 5
    windows = LazyVideo.concat([videos[0].lazy_slice(0.2, 0.6), videos[2].lazy_slice(2000.0, 2000.2)])
    assert np.array_equal(
        windows[:], np.concatenate([videos[0].slice(0.2, 0.6).frames, videos[2].slice(2000.0, 2000.2).frames])
    )
    assert np.array_equal(LazyVideo.concat(videos[::-1])[:], merged[:])
    with pytest.raises(ValueError, match="different recordings"):
        LazyVideo.concat([videos[0], videos[0]])


def test_videos_that_do_not_join(parts: list[str]) -> None:
    first = LazyVideo(parts[0])
    with pytest.raises(ValueError, match="at least one"):
        LazyVideo.concat([])
    for options in ({"resize": (8, 8)}, {"colorspace": "G"}, {"channel_format": "NHWC"}):
        with pytest.raises(ValueError, match="resize, colorspace and channel_format"):
            LazyVideo.concat([first, LazyVideo(parts[1], **options)])
    with pytest.raises(ValueError, match="frame indexes"):
        LazyVideo.concat([first, LazyVideo(parts[1], frame_index=write_frame_index(parts[1]))])


def test_pickled_and_copied_videos_decode_on(video: LazyVideo, parts: list[str]) -> None:
    window = video.lazy_slice(0.3, 0.8)
    expected = window[:]
    for twin in (pickle.loads(pickle.dumps(window)), copy.deepcopy(window), copy.copy(window)):
        assert np.array_equal(twin[:], expected)
        assert twin.metadata == video.metadata
    memory = MemoryStore({"memory://a": Path(parts[0]).read_bytes()})
    held = LazyVideo("memory://a", store=memory)
    assert np.array_equal(pickle.loads(pickle.dumps(held))[:4], held[:4])


def test_from_memory_the_frames_are_the_same(clip: GetClip) -> None:
    for name in ("h264_29_97_mp4", "h264_ts", "vp8_hidden_webm"):
        path = clip(name).path
        video = LazyVideo("anything", store=MemoryStore({"anything": path.read_bytes()}))
        assert np.array_equal(video[:], stacked(linear_frames(path)))


def test_joins_of_joins_and_of_windows_run_on(parts: list[str], tmp_path: Path) -> None:
    a, b = LazyVideo(parts[0]), LazyVideo(parts[1])
    flat = LazyVideo.concat([a, b, a])
    nested = LazyVideo.concat([LazyVideo.concat([a, b]), a])
    assert np.array_equal(nested[:], flat[:])
    assert nested.timestamps.tolist() == flat.timestamps.tolist()
    whole = LazyVideo.from_segments(parts[:2], uri=str(tmp_path / "whole"))
    border = float(whole.timestamps[len(a)])
    windows = [whole.lazy_slice(border - 0.3, border + 0.3), a.lazy_slice(0.0, 0.5)]
    assert np.array_equal(LazyVideo.concat(windows)[:], np.concatenate([window[:] for window in windows]))


def test_references_to_joined_windows_of_one_file_lead_back(video: LazyVideo, path: str) -> None:
    scanned = LazyVideo(path)
    for whole in (video, scanned):
        joined = LazyVideo.concat([whole.lazy_slice(0.2, 0.6), whole.lazy_slice(1.0, 1.5)])
        window, numbers = LazyVideo.from_refs(joined.refs(), video=joined)
        assert numbers == slice(0, len(joined))
        assert np.array_equal(window[:], joined[:])
        last, _ = LazyVideo.from_refs(joined.refs()[-2:-1], video=joined)
        assert np.array_equal(last[0], joined[-2])


def test_the_index_of_one_file_stands_for_it_wherever_it_is(path: str, clip: GetClip, tmp_path: Path) -> None:
    index = write_frame_index(path)
    memory = MemoryStore({"memory://a": Path(path).read_bytes()})
    video = LazyVideo("memory://a", store=memory, frame_index=index)
    assert np.array_equal(video[:4], stacked(linear_frames(path)[:4]))
    assert {ref.uri for ref in video.refs()} == {"memory://a"}
    other = shutil.copy(clip("h264_idr_mp4").path, tmp_path / "other.mp4")
    with pytest.raises(FrameIndexStaleError):
        LazyVideo(other, frame_index=index)[0]


def test_what_is_shared_cannot_be_changed(video: LazyVideo) -> None:
    with pytest.raises(ValueError, match="read-only"):
        video.timestamps[0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        LanceFrameIndex.open(video.uri).pts_table(0)[0] = 5


def test_edges_of_windows(video: LazyVideo, parts: list[str], clip: GetClip, tmp_path: Path) -> None:
    assert video.slice(0, 1).domain.start.dtype == np.float64
    assert video.slice(0, 1).slice(0.0, 0.5).metadata is video.metadata
    assert len(video.lazy_slice(-np.inf, np.inf)) == len(video)
    for start, end in ((0.0, np.nan), (np.nan, 1.0)):
        with pytest.raises(ValueError, match="seconds"):
            video.lazy_slice(start, end)
    with pytest.raises(ValueError, match="finite"):
        video.slice(-np.inf, 1.0)
    empty = LazyVideo.concat([video.lazy_slice(5.0, 5.0), video.lazy_slice(6.0, 6.0)])
    assert empty[:].shape == (0, 3, 64, 96)
    odd = shutil.copy(clip("h264_444_odd_mp4").path, tmp_path)
    with pytest.raises(ValueError, match="resize="):
        list(LazyVideo(parts[0], segment_uris=[odd]))


def test_a_slice_that_ends_before_it_starts_is_an_error(video: LazyVideo) -> None:
    for cut in (video.slice, video.lazy_slice, video.lazy_slice(0.1, 1.0).slice):
        with pytest.raises(ValueError, match=r"end not before the start, found 1.0 s to 0.2 s"):
            cut(1.0, 0.2)


@pytest.mark.parametrize(("start", "end"), [(99.0, 100.0), (-3.0, -1.0), (1e9, 2e9)])
def test_a_slice_outside_the_recording_is_empty_and_says_so_once(
    start: float, end: float, path: str, clip: GetClip
) -> None:
    video = LazyVideo(path, frame_index=write_frame_index(path))
    with pytest.warns(OutsideRecordingWarning, match=f"from {start} s to {end} s.*from 0.0 s to 2.3"):
        assert video.slice(start, end).frames.shape == (0, 3, 64, 96)
    assert len(video.lazy_slice(0.1, 0.4).slice(start, end)) == 0  # warnings are errors in tests
    video.lazy_slice(0.1, 0.4).slice(1.0, 1.5)  # within the recording, if not within the window
    late = LazyVideo(str(clip("h264_late_start_mp4").path))
    with pytest.warns(OutsideRecordingWarning):
        late.slice(0.0, float(late.timestamps[0]))


def test_the_end_of_the_last_frame_is_the_end_of_the_recording(path: str, frames: list[OracleFrame]) -> None:
    video = LazyVideo(path, frame_index=write_frame_index(path))
    assert len(video.slice(float(frames[-1].time), float(frames[-1].end))) == 1
    assert len(video.slice(float(frames[-1].end) - 1e-4, 99.0)) == 0  # the last frame is shown, none begins


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("base_only", [False, True])
def test_timestamps_of_an_index_that_are_no_times(wrong: float, base_only: bool, path: str) -> None:
    write_frame_index(path)
    table = lance.dataset(f"{path}.lance").to_table()
    clock = table["timestamp"].to_numpy().copy()
    clock[7] = wrong
    table = table.set_column(table.schema.get_field_index("timestamp"), "timestamp", [clock])
    if base_only:
        columns = ["segment_idx", "local_frame_idx", "pts", "timestamp"]
        table = table.select(columns).replace_schema_metadata(None)
        shutil.rmtree(f"{path}.lance")
    lance.write_dataset(table, f"{path}.lance", mode="create" if base_only else "overwrite")
    with pytest.raises(FrameIndexInvalidError, match=r"video.mp4.*finite timestamps") as caught:
        LazyVideo.from_uri(path).slice(0.0, 1.0)
    assert caught.value.uri == path


@pytest.mark.parametrize("read", ["v[:]", "v.slice(0.0, 9.0)", "v.as_series().frames"])
def test_a_picture_that_changes_its_size_is_one_of_our_errors(read: str, tmp_path: Path) -> None:
    path = str(tmp_path / "sizes.mkv")
    blocks = []
    for part, size in enumerate([(96, 64), (64, 48)]):
        source = tmp_path / f"{part}.webm"
        encode(source, replace(VP8, size=size, count=20))
        with av.open(str(source)) as container:
            for packet in container.demux(video=0):
                if packet.size:
                    blocks.append(MatroskaBlock(40 * len(blocks), (bytes(packet),), packet.is_keyframe))
    write_matroska(Path(path), MatroskaTrack("V_VP8", b"", (96, 64)), blocks)
    assert {frame.rgb.shape for frame in linear_frames(path)} == {(64, 96, 3), (48, 64, 3)}
    with pytest.raises(UnsupportedMediaError, match=r"sizes.mkv.*resize=\(height, width\)"):
        eval(read, {"v": LazyVideo(path)})
    assert LazyVideo(path, resize=(32, 48))[:].shape == (40, 3, 32, 48)
    expected = [frame.rgb.transpose(2, 0, 1) for frame in linear_frames(path)]
    assert all(np.array_equal(a, b) for a, b in zip(LazyVideo(path), expected, strict=True))
    assert np.array_equal(LazyVideo(path)[25:40], stacked(linear_frames(path)[25:40]))


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("base_dir", [False, True])
def test_references_of_a_video_opened_by_a_relative_path_are_relative(
    indexed: bool, base_dir: bool, parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(Path(part).relative_to(tmp_path)) for part in parts[:2]]
    options = {"base_dir": str(tmp_path)} if base_dir else {}
    monkeypatch.chdir(tmp_path)
    if indexed:
        write_frame_index(names[0], segment_uris=names[1:])
        write_frame_index("whole", segments=names)
    monkeypatch.chdir("/" if base_dir else tmp_path)
    videos = [LazyVideo.from_uri(names[0], segment_uris=names[1:], **options)]
    if indexed:
        videos += [LazyVideo.from_uri(name, **options) for name in (names[0], "whole")]
    for video in videos:
        refs = video.refs()
        assert list(dict.fromkeys(ref.uri for ref in refs)) == names
        window, _ = LazyVideo.from_refs(refs[60:90], video=video)
        assert np.array_equal(
            np.stack(batch_decode(refs[60:90], channel_format="NCHW", **options)), window[:]
        )
        joined = LazyVideo.concat([video.lazy_slice(0.0, 0.5), video.lazy_slice(2.4, 2.6)])
        assert {ref.uri for ref in joined.refs()} == set(names)
