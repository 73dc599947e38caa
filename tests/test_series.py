"""A lazy video within temporaldata and torch_brain: selected without decoding, saved as references."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from _media import Clip
from _oracle import OracleFrame, linear_frames

import mediaref_ursa
from mediaref_ursa import LazyVideo, MediaRefError, counters, write_frame_index
from mediaref_ursa._lazy.series import PACKAGES
from mediaref_ursa.store import MemoryStore

GetClip = Callable[[str], Clip]


@pytest.fixture
def path(clip: GetClip, tmp_path: Path) -> str:
    return str(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "video.mp4"))


@pytest.fixture
def frames(path: str) -> list[OracleFrame]:
    return linear_frames(path)


@pytest.fixture
def video(path: str) -> LazyVideo:
    return LazyVideo(path, frame_index=write_frame_index(path), metadata={"subject": "m1"})


def shown(frames: list[OracleFrame]) -> np.ndarray:
    return np.stack([frame.rgb.transpose(2, 0, 1) for frame in frames])


@contextmanager
def nothing_decoded() -> Iterator[None]:
    before = counters()
    yield
    after = counters()
    assert (after.packets_decoded, after.frames) == (before.packets_decoded, before.frames)


def session(td: ModuleType, camera: Any) -> Any:
    spikes = td.IrregularTimeSeries(timestamps=np.arange(0.0, 2.0, 0.1), domain=td.Interval(0.0, 3.0))
    return td.Data(camera=camera, spikes=spikes, name="s1", domain=td.Interval(0.0, 3.0))


def test_it_is_the_packages_own_class(
    video: LazyVideo, package: str, td: ModuleType, frames: list[OracleFrame]
) -> None:
    with nothing_decoded():
        series = video.as_series(package)
        assert isinstance(series, td.IrregularTimeSeries)
        assert sorted(series.keys()) == ["frames", "timestamps"]
        assert series.timestamps.tolist() == [float(frame.time) for frame in frames]
        assert isinstance(series.domain, td.Interval)
        assert series.domain.start.tolist() == [float(frames[0].time)]
        assert series.domain.end == pytest.approx([float(frames[-1].end)])
        assert "decoded when read" in repr(series)
        assert len(series) == len(frames)
        assert (series.metadata, series.frame_indices.tolist()) == (video.metadata, list(range(len(frames))))
    assert isinstance(series.frames, np.ndarray)
    assert np.array_equal(series.frames, shown(frames))
    assert "decoded when read" not in repr(series)


SELECTIONS: dict[str, Callable[[Any, ModuleType], Any]] = {
    "slice": lambda series, td: series.slice(0.3, 1.1),
    "slice without a new origin": lambda series, td: series.slice(0.3, 1.1, reset_origin=False),
    "slice of a slice": lambda series, td: series.slice(0.1, 1.5).slice(0.2, 0.9),
    "interval": lambda series, td: series.select_by_interval(
        td.Interval(start=np.array([0.1, 0.9]), end=np.array([0.4, 1.2]))
    ),
    "mask": lambda series, td: series.select_by_mask(np.arange(len(series)) % 3 == 1),
    "mask of a slice": lambda series, td: series.slice(0.3, 1.1).select_by_mask(np.arange(24) % 5 == 0),
    "deepcopy": lambda series, td: copy.deepcopy(series),
    "copy": lambda series, td: copy.copy(series),
    "pickle": lambda series, td: pickle.loads(pickle.dumps(series)),
    "pickle of a slice": lambda series, td: pickle.loads(pickle.dumps(series.slice(0.3, 1.1))),
    "a slice within Data": lambda series, td: session(td, series).slice(0.3, 1.1).camera,
    "an interval within Data": lambda series, td: (
        session(td, series).select_by_interval(td.Interval(0.3, 1.1)).camera
    ),
    "pickled Data": lambda series, td: pickle.loads(pickle.dumps(session(td, series))).slice(0.3, 1.1).camera,
    "copied Data": lambda series, td: copy.deepcopy(session(td, series)).slice(0.3, 1.1).camera,
    "nothing": lambda series, td: series.slice(0.5, 0.5),
}


@pytest.mark.parametrize("way", SELECTIONS)
def test_selecting_decodes_nothing_and_reading_gives_the_frames(
    way: str, video: LazyVideo, package: str, td: ModuleType, frames: list[OracleFrame]
) -> None:
    """Held against the package's own series of decoded frames."""
    whole = td.IrregularTimeSeries(
        timestamps=np.array([float(frame.time) for frame in frames]),
        frames=shown(frames),
        domain=video.as_series(package).domain,
    )
    expected = SELECTIONS[way](whole, td)
    with nothing_decoded():
        series = SELECTIONS[way](video.as_series(package), td)
        assert isinstance(series, td.IrregularTimeSeries)
        assert np.array_equal(series.timestamps, expected.timestamps)
        assert np.array_equal(series.domain.start, expected.domain.start)
        assert np.array_equal(series.domain.end, expected.domain.end)
        assert len(series.frame_indices) == len(series)
    assert np.array_equal(series.frames, expected.frames)
    assert np.array_equal(series.frames, shown(frames)[series.frame_indices])


def test_series_that_are_joined(
    video: LazyVideo, package: str, td: ModuleType, frames: list[OracleFrame]
) -> None:
    series = video.as_series(package)
    parts = [series.slice(0.8, 1.1, reset_origin=False), series.slice(0.2, 0.5, reset_origin=False)]
    joined = td.concat(parts)
    expected = np.concatenate([parts[1].frames, parts[0].frames])
    assert isinstance(joined, td.IrregularTimeSeries)
    assert np.array_equal(joined.frames, expected)
    with nothing_decoded():
        lazy = LazyVideo.concat([LazyVideo.from_series(part) for part in parts]).as_series(package)
        assert np.array_equal(lazy.timestamps, joined.timestamps)
    assert np.array_equal(lazy.frames, expected)


def test_materialized_frames_are_kept_and_saved_as_references(
    video: LazyVideo, package: str, td: ModuleType, frames: list[OracleFrame], tmp_path: Path
) -> None:
    data = session(td, video.as_series(package))
    with nothing_decoded():
        data = data.slice(0.3, 1.1)
    assert data.materialize() is data
    with nothing_decoded():
        series = data.camera
        assert np.array_equal(series.frames, shown(frames)[series.frame_indices])
        assert np.array_equal(series.slice(0.1, 0.2).frames, series.frames[3:6])
        with h5py.File(tmp_path / "data.h5", "w") as file:
            data.to_hdf5(file)
    with pytest.raises(ValueError, match="read-only"):
        series.frames[0] = 0
    with h5py.File(tmp_path / "data.h5") as file:
        assert "frames" not in file["camera"]


def test_frames_that_a_caller_sets_are_saved_as_pixels(
    video: LazyVideo, package: str, td: ModuleType, tmp_path: Path
) -> None:
    series = video.as_series(package).slice(0.1, 0.3)
    series.frames = series.frames // 2
    with h5py.File(tmp_path / "data.h5", "w") as file:
        series.to_hdf5(file)
    with h5py.File(tmp_path / "data.h5") as file:
        assert np.array_equal(td.IrregularTimeSeries.from_hdf5(file).frames, series.frames)


@pytest.mark.parametrize("lazy", [False, True], ids=["in memory", "lazy"])
def test_a_file_holds_references_and_gives_the_video_again(
    lazy: bool, package: str, td: ModuleType, path: str, frames: list[OracleFrame], tmp_path: Path
) -> None:
    write_frame_index(path)
    video = LazyVideo.from_uri(path, channel_format="NHWC", colorspace="BGR", resize=(20, 30))
    with nothing_decoded():
        data = session(td, video.as_series(package)).slice(0.3, 1.1, reset_origin=False)
        with h5py.File(tmp_path / "data.h5", "w") as file:
            data.to_hdf5(file)
        with h5py.File(tmp_path / "data.h5") as file:
            camera = td.Data.from_hdf5(file, lazy=lazy).camera
            assert isinstance(camera, td.IrregularTimeSeries)
            again = LazyVideo.from_series(camera)
            sized = LazyVideo.from_series(
                td.Data.from_hdf5(file, lazy=lazy).slice(0.4, 0.6).camera, resize=(8, 8)
            )
        assert again.uri == path
        assert np.array_equal(again.timestamps, data.camera.timestamps)
        assert again.refs() == video.lazy_slice(0.3, 1.1).refs()
    assert np.array_equal(again[:], video.lazy_slice(0.3, 1.1)[:])
    assert np.array_equal(again.as_series(package).frames, data.camera.frames)
    assert sized[:].shape == (6, 8, 8, 3)


def test_the_package_reads_the_file_without_this_library(
    video: LazyVideo, package: str, path: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        video.as_series(package).slice(0.0, 0.2).to_hdf5(file)
    code = (
        f"import sys, h5py, {PACKAGES[package]} as td\n"
        f"series = td.IrregularTimeSeries.from_hdf5(h5py.File({str(tmp_path / 'data.h5')!r}))\n"
        "assert not [name for name in sys.modules if name.startswith('mediaref')]\n"
        "print(series.uri[0].decode(), series.pts_ns[1], len(series))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [path, str(video.refs()[1].pts_ns), "6"], done.stderr


def test_a_series_gives_its_video_again(
    video: LazyVideo, package: str, td: ModuleType, frames: list[OracleFrame]
) -> None:
    with nothing_decoded():
        series = video.as_series(package)
        again = LazyVideo.from_series(series)
        assert again._recording is video._recording
        assert again.metadata is video.metadata
        assert again.timestamps.tolist() == video.timestamps.tolist()
        masked = LazyVideo.from_series(series.select_by_mask(np.arange(len(series)) % 4 == 2))
        moved = LazyVideo.from_series(series.slice(0.5, 1.0))
        assert moved.timestamps[0] < 0.1
        assert len(LazyVideo.from_series(series.slice(0.5, 0.5))) == 0
    assert np.array_equal(masked[:], shown(frames[2::4]))
    assert np.array_equal(moved[:], video.lazy_slice(0.5, 1.0)[:])
    assert np.array_equal(LazyVideo.from_series(series, channel_format="NHWC")[3], frames[3].rgb)


def test_frames_that_stand_twice_in_a_series(package: str, td: ModuleType, path: str, tmp_path: Path) -> None:
    video = LazyVideo.from_segments([path, path], uri="session")
    series = video.as_series(package)
    mask = np.arange(len(series)) % (len(series) // 2) < 3
    twice = series.select_by_mask(mask)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        twice.to_hdf5(file)
    with h5py.File(tmp_path / "data.h5") as file:
        again = LazyVideo.from_series(td.IrregularTimeSeries.from_hdf5(file))
    assert again.uri == "session"
    assert np.array_equal(again[:], twice.frames)
    assert np.array_equal(again.timestamps, twice.timestamps)


def test_several_files_with_an_index_and_odd_names(
    package: str, td: ModuleType, path: str, clip: GetClip, tmp_path: Path
) -> None:
    other = str(shutil.copy(clip("hevc_mkv").path, tmp_path / "prise n°2 'a\"b'.mkv"))
    name = str(tmp_path / "séance")
    count = len(linear_frames(path)) + len(linear_frames(other))
    write_frame_index(name, segments=[path, other], timestamps=50 + np.arange(count) / 10)
    video = LazyVideo.from_uri(name, resize=(16, 16))
    part = video.as_series(package).slice(55.0, 60.0, reset_origin=False)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        part.to_hdf5(file)
    with h5py.File(tmp_path / "data.h5") as file, nothing_decoded():
        again = LazyVideo.from_series(td.IrregularTimeSeries.from_hdf5(file))
        assert again._recording.index.segment_frame_counts().sum() == count  # its index was used
    assert (again.uri, np.unique([ref.uri for ref in again.refs()]).tolist()) == (name, sorted({path, other}))
    assert np.array_equal(again[:], part.frames)
    assert np.array_equal(again.timestamps, part.timestamps)


def test_a_relative_path_stays_relative(
    package: str, td: ModuleType, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    video = LazyVideo("video.mp4")
    with h5py.File("data.h5", "w") as file:
        video.as_series(package).to_hdf5(file)
    with h5py.File("data.h5") as file:
        series = td.IrregularTimeSeries.from_hdf5(file)
    assert set(series.uri.tolist()) == {b"video.mp4"}
    again = LazyVideo.from_series(series)
    masked = LazyVideo.from_series(video.as_series(package).select_by_mask(np.arange(len(video)) % 2 == 0))
    joined = LazyVideo.concat([video.lazy_slice(0.0, 0.5), video.lazy_slice(1.0, 1.5)])
    for found in (again, masked, joined):
        assert {ref.uri for ref in found.refs()} == {"video.mp4"}


def test_references_to_a_store_of_the_callers(
    package: str, td: ModuleType, path: str, tmp_path: Path
) -> None:
    store = MemoryStore({"memory://a": Path(path).read_bytes()})
    video = LazyVideo("memory://a", store=store)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        video.to_hdf5(file)
    with h5py.File(tmp_path / "data.h5") as file:
        series = td.IrregularTimeSeries.from_hdf5(file)
        with pytest.raises(MediaRefError):
            LazyVideo.from_series(series)
        assert np.array_equal(LazyVideo.from_series(series, store=store)[4:9], video[4:9])
    turned = LazyVideo.from_series(video.as_series(package), channel_format="NHWC")
    assert np.array_equal(turned[4].transpose(2, 0, 1), video[4])


def test_what_holds_no_references_is_refused(
    video: LazyVideo, package: str, td: ModuleType, tmp_path: Path
) -> None:
    for series in (
        video.slice(0.1, 0.3),
        td.IrregularTimeSeries(timestamps=np.zeros(2), domain=td.Interval(0.0, 1.0)),
    ):
        with pytest.raises(ValueError, match="as_series"):
            LazyVideo.from_series(series)
    series = video.as_series(package)
    series.uri = np.zeros(len(series))
    with h5py.File(tmp_path / "data.h5", "w") as file, pytest.raises(ValueError, match="uri"):
        series.to_hdf5(file)
    for options in ('{"resize": null}', "no json", '["resize"]'):
        columns = {"uri": np.array([b"a"]), "pts_ns": np.zeros(1, np.int64), "options": np.array([options])}
        series = td.IrregularTimeSeries(timestamps=np.zeros(1), **columns, domain=td.Interval(0.0, 1.0))
        with pytest.raises(ValueError, match="options"):
            LazyVideo.from_series(series)
    with pytest.raises(ValueError, match="package"):
        video.as_series("pynapple")


def test_a_video_within_data_is_cut_and_saved_like_its_other_fields(
    video: LazyVideo, package: str, td: ModuleType, frames: list[OracleFrame], tmp_path: Path
) -> None:
    """Without ``as_series``: what is no time series is kept whole by ``Data``, in silence."""
    with nothing_decoded():
        data = session(td, video)
        assert data.camera is video
        copy.copy(data), repr(data), data.materialize()
        selected = data.select_by_interval(td.Interval(start=np.array([0.1, 0.9]), end=np.array([0.4, 1.2])))
        assert len(selected.camera) == 18
        with h5py.File(tmp_path / "data.h5", "w") as file:
            data.to_hdf5(file)
        with h5py.File(tmp_path / "data.h5") as file:
            again = LazyVideo.from_series(td.Data.from_hdf5(file).camera)
            assert again.timestamps.tolist() == video.timestamps.tolist()
        assert td.Data(camera=video, domain="auto").domain.end == pytest.approx([float(frames[-1].end)])
    assert np.array_equal(selected.camera.frames, shown(frames)[selected.camera.frame_indices])
    for sliced in (data.slice(0.3, 1.1), pickle.loads(pickle.dumps(data)).slice(0.3, 1.1)):
        assert np.array_equal(sliced.camera.frames, video.slice(0.3, 1.1).frames)
        assert np.array_equal(sliced.slice(0.1, 0.4).camera.frames, video.slice(0.4, 0.7).frames)
        assert len(sliced.select_by_interval(td.Interval(0.0, 0.3)).camera.frames) == 9
    with pytest.raises(ValueError, match="domain"):
        td.Data(camera=video)


def test_a_series_of_one_package_is_one_for_the_other(video: LazyVideo, frames: list[OracleFrame]) -> None:
    modules = [pytest.importorskip(name) for name in PACKAGES.values()]
    for package in PACKAGES:
        for td in modules:
            series = video.as_series(package)
            for data in (session(td, series), session(td, video)):
                part = data.slice(0.3, 1.1).slice(0.1, 0.5).camera
                assert isinstance(part, td.IrregularTimeSeries)
                assert np.array_equal(part.frames, video.slice(0.4, 0.8).frames)


def test_a_video_is_no_array(video: LazyVideo, package: str, td: ModuleType) -> None:
    with nothing_decoded():
        for take in (np.asarray, np.array, lambda video: np.asarray([video, video])):
            with pytest.raises(TypeError, match=r"LazyVideo.*video\[:\].*as_series"):
                take(video)
        with pytest.raises(TypeError, match="as_series"):
            td.IrregularTimeSeries(timestamps=video.timestamps, frames=video, domain=video.domain)
        with pytest.raises(TypeError, match="as_series"):
            td.ArrayDict(camera=video)


def test_a_slice_says_which_frames_it_has(video: LazyVideo, td: ModuleType) -> None:
    series = video.slice(0.3, 1.1)
    expected = np.flatnonzero((video.timestamps >= 0.3) & (video.timestamps < 1.1))
    assert series.frame_indices.tolist() == expected.tolist()
    assert series.frame_indices.dtype == np.int64
    assert video.lazy_slice(0.3, 1.1).frame_indices.tolist() == expected.tolist()
    assert video.lazy_slice(0.2, 1.4).slice(0.3, 1.1).frame_indices.tolist() == expected.tolist()
    assert series.slice(0.1, 0.2).frame_indices.tolist() == expected[3:6].tolist()
    assert series.select_by_mask(np.arange(24) % 2 == 1).frame_indices.tolist() == expected[1::2].tolist()
    assert pickle.loads(pickle.dumps(series)).frame_indices.tolist() == expected.tolist()
    assert series.slice(0.1, 0.2).metadata is video.metadata
    assert series.select_by_mask(np.ones(24, bool)).metadata is video.metadata


def test_segment_frame_counts(path: str, clip: GetClip) -> None:
    other = str(clip("hevc_mkv").path)
    counts = [len(linear_frames(path)), len(linear_frames(other))]
    video = LazyVideo(path, segment_uris=[other])
    assert video.segment_frame_counts.tolist() == counts
    window = video.lazy_slice(video.timestamps[counts[0] - 2], video.timestamps[counts[0] + 3])
    assert window.segment_frame_counts.tolist() == [2, 3]
    assert window.frame_indices.tolist() == list(range(counts[0] - 2, counts[0] + 3))


@pytest.mark.parametrize(
    "name", ["h264_open_gop_mp4", "vp8_hidden_webm", "hevc_mkv", "h264_ts", "h264_late_start_mp4"]
)
def test_other_codecs_and_containers(
    name: str, package: str, td: ModuleType, clip: GetClip, tmp_path: Path
) -> None:
    path = str(clip(name).path)
    oracle = linear_frames(path)
    series = LazyVideo(path).as_series(package)
    mask = np.random.default_rng(1).random(len(oracle)) < 0.3
    part = series.select_by_mask(mask)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        part.to_hdf5(file)
    with h5py.File(tmp_path / "data.h5") as file:
        again = LazyVideo.from_series(td.LazyIrregularTimeSeries.from_hdf5(file))
    assert np.array_equal(part.frames, shown(oracle)[mask])
    assert np.array_equal(again[:], shown(oracle)[mask])


def test_where_only_torch_brain_is_imported_slices_are_its_own(path: str) -> None:
    pytest.importorskip("torch_brain.data", reason="torch_brain is not installed")
    code = (
        "import sys, torch_brain.data as td; from mediaref_ursa import LazyVideo\n"
        f"data = td.Data(camera=LazyVideo({path!r}), domain=td.Interval(0.0, 3.0))\n"
        "parts = [data.slice(a, b, reset_origin=False).camera for a, b in ((0.0, 0.5), (0.5, 1.0))]\n"
        "joined = td.concat(parts)\n"
        "assert len(joined.frames) == 30, joined\n"
        "assert isinstance(data.camera.domain, td.Interval)\n"
        "assert 'temporaldata' not in sys.modules"
    )
    root = str(Path(mediaref_ursa.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr


def test_importing_and_using_a_video_loads_no_temporaldata(path: str) -> None:
    code = (
        "import sys; from mediaref_ursa import LazyVideo\n"
        f"video = LazyVideo({path!r}); video[3]; isinstance(video, dict)\n"
        "assert 'temporaldata' not in sys.modules"
    )
    root = str(Path(mediaref_ursa.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
