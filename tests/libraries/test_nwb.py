"""``LazyVideo.from_nwb`` on real NWB files: frames, the session's clock, frame indexes, and bad input."""

from __future__ import annotations

import inspect
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _http_server import ObjectServer
from _nwb import COUNTS, FILES, TIMES, TOTAL, encode_parts, new_series, opened, written_series
from _oracle import linear_frames

from mediaref_ursa import (
    FrameIndexStaleError,
    InvalidReferenceError,
    LanceFrameIndex,
    LazyVideo,
    MediaNotFoundError,
    StoreError,
    UnsupportedMediaError,
    batch_decode,
    counting,
    write_frame_index,
)
from mediaref_ursa.store import MemoryStore

pytest.importorskip("pynwb", reason="pynwb is not installed")
HAS_NUM_SAMPLES = "num_samples" in inspect.getsource(pytest.importorskip("pynwb.image"))
h5py: Any = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nwb")
    encode_parts(folder)
    return folder


@pytest.fixture
def folder(media: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(media, tmp_path / "session"))


@pytest.fixture(scope="module")
def truth(media: Path) -> np.ndarray:
    """All frames, ``(n, 3, H, W)``, by a linear decode of each file."""
    frames = [frame.rgb for file in FILES for frame in linear_frames(media / file)]
    return np.stack(frames).transpose(0, 3, 1, 2)


def overwrite(path: Path) -> None:
    """Write other bytes of the same number over a file, at the same time: only an index knows its frames."""
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_frames_and_timestamps(folder: Path, truth: np.ndarray) -> None:
    with written_series(folder / "a.nwb") as series:
        video = LazyVideo.from_nwb(series)

    parts = [str(folder / file) for file in FILES]
    assert len(video) == TOTAL
    assert np.array_equal(video.timestamps, TIMES)
    assert np.array_equal(video[:], truth)
    assert np.array_equal(video[:], LazyVideo.from_segments(parts)[:])
    assert [ref.uri for ref in video.refs()] == [
        uri for uri, count in zip(parts, COUNTS, strict=True) for _ in range(count)
    ]
    assert np.array_equal(np.stack(batch_decode(video.refs())).transpose(0, 3, 1, 2), truth)


def test_windows_are_on_the_clock_of_the_session(folder: Path, truth: np.ndarray) -> None:
    with written_series(folder / "a.nwb") as series:
        video = LazyVideo.from_nwb(series)

    window = video.lazy_slice(TIMES[28], TIMES[33])  # across two files
    assert np.array_equal(window.timestamps, TIMES[28:33])
    assert np.array_equal(window[:], truth[28:33])
    found = video.slice(TIMES[74], TIMES[77], reset_origin=False)
    assert np.array_equal(found.timestamps, TIMES[74:77])
    assert np.array_equal(found.frames, truth[74:77])
    assert np.array_equal(video.frame_at(TIMES[80] + 0.001), truth[80])
    assert len(video.lazy_slice(0.0, 4.0)) == 0


def test_they_are_those_of_an_index_with_given_timestamps(folder: Path) -> None:
    parts = [str(folder / file) for file in FILES]
    index = write_frame_index(str(folder / "whole"), segments=parts, timestamps=TIMES)
    given = LazyVideo.from_segments(parts, uri=str(folder / "whole"), frame_index=index)
    with written_series(folder / "a.nwb") as series:
        video = LazyVideo.from_nwb(series)

    assert np.array_equal(video.pts_ns, given.pts_ns)
    assert video.refs() == given.refs()
    assert np.array_equal(video.timestamps, given.timestamps)


@pytest.mark.parametrize("has_num_samples", [False, True])
def test_a_rate(has_num_samples: bool, folder: Path, truth: np.ndarray) -> None:
    with written_series(folder / "a.nwb", rate=29.97, starting_time=12.5):
        pass
    if not has_num_samples:  # as files of an older pynwb
        with h5py.File(folder / "a.nwb", "r+") as file:
            file["acquisition/cam"].pop("num_samples", None)
    with opened(folder / "a.nwb") as nwbfile:
        video = LazyVideo.from_nwb(nwbfile.acquisition["cam"])

    assert np.array_equal(video.timestamps, 12.5 + np.arange(TOTAL) / 29.97)
    assert np.array_equal(video.lazy_slice(13.0, 13.1)[:], truth[15:18])


def test_a_rate_begins_at_zero(folder: Path) -> None:
    with written_series(folder / "a.nwb", rate=29.97) as series:
        assert LazyVideo.from_nwb(series).timestamps[0] == 0.0


@pytest.mark.parametrize("kind", [list, np.float32, "HDF5", "linked"])
def test_kinds_of_timestamps(kind: Any, folder: Path, truth: np.ndarray) -> None:
    from pynwb import H5DataIO, TimeSeries

    times = np.arange(TOTAL) * 0.5  # whole in float32, too
    other = TimeSeries(name="other", data=times, unit="V", timestamps=times)
    given = {list: times.tolist(), np.float32: times.astype(np.float32), "linked": other}
    series = new_series(timestamps=given.get(kind, H5DataIO(times, compression="gzip")))

    video = LazyVideo.from_nwb(series, base_dir=folder)
    assert video.timestamps.dtype == np.float64
    assert np.array_equal(video.timestamps, times)


def test_one_file_without_starting_frame(folder: Path) -> None:
    fields = {"external_file": FILES[:1], "starting_frame": None, "timestamps": TIMES[: COUNTS[0]]}
    with written_series(folder / "a.nwb", **fields) as series:
        video = LazyVideo.from_nwb(series)

    assert video.uri == str(folder / FILES[0])
    assert np.array_equal(video.timestamps, TIMES[: COUNTS[0]])


def test_options_are_those_of_other_constructors(folder: Path) -> None:
    with written_series(folder / "a.nwb") as series:
        video = LazyVideo.from_nwb(
            series, resize=(32, 48), colorspace="G", channel_format="NHWC", metadata={"a": 1}
        )

    assert video[3:5].shape == (2, 32, 48, 1)
    assert video.metadata == {"a": 1}


# --- after the NWB file was closed ------------------------------------------------------------


@pytest.fixture
def closed(folder: Path) -> LazyVideo:
    with written_series(folder / "a.nwb") as series:
        video = LazyVideo.from_nwb(series)
    (folder / "a.nwb").unlink()
    return video


def test_it_is_pickled(closed: LazyVideo, truth: np.ndarray) -> None:
    twin = pickle.loads(pickle.dumps(closed))

    assert np.array_equal(twin.timestamps, TIMES)
    assert np.array_equal(twin.lazy_slice(TIMES[40], TIMES[44])[:], truth[40:44])


def test_a_forked_child_decodes(closed: LazyVideo, truth: np.ndarray) -> None:
    assert np.array_equal(closed[29:31], truth[29:31])
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(closed[73:78], truth[73:78]) else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_series_of_a_closed_file(folder: Path) -> None:
    with written_series(folder / "a.nwb") as series:
        pass
    with pytest.raises(StoreError, match="external_file of 'cam' in an NWB file that is open.*NWBHDF5IO"):
        LazyVideo.from_nwb(series)


# --- where files are --------------------------------------------------------------------------


def test_relative_paths_begin_at_the_folder_of_the_nwb_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, truth: np.ndarray
) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / "sub").mkdir()
    files = [f"../{file}" for file in FILES]
    with written_series(folder / "sub" / "a.nwb", external_file=files) as series:
        assert np.array_equal(LazyVideo.from_nwb(series)[30], truth[30])


def test_of_a_series_in_memory_at_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch, truth: np.ndarray
) -> None:
    monkeypatch.chdir(folder)
    video = LazyVideo.from_nwb(new_series())
    monkeypatch.chdir(folder.parent)
    assert np.array_equal(video[30], truth[30])


def test_base_dir_is_where_they_begin_and_stay(folder: Path, tmp_path: Path) -> None:
    nwb = tmp_path / "other.nwb"
    with written_series(nwb) as series:
        video = LazyVideo.from_nwb(series, base_dir=folder)
        assert video.refs()[0].uri == FILES[0]  # as other recordings opened by a relative path
        with pytest.raises(InvalidReferenceError, match="leads out of it.*allow_outside_base=True"):
            LazyVideo.from_nwb(
                new_series(external_file=[str(folder / file) for file in FILES]), base_dir=tmp_path / "x"
            )
    outside = new_series(external_file=[f"../session/{file}" for file in FILES])
    with pytest.raises(InvalidReferenceError, match="expected a path within base_dir"):
        LazyVideo.from_nwb(outside, base_dir=folder / "videos")
    (folder / "empty").mkdir()
    outside = new_series(external_file=[f"../{file}" for file in FILES])
    assert len(LazyVideo.from_nwb(outside, base_dir=folder / "empty", allow_outside_base=True)) == TOTAL


def test_absolute_paths_and_uris_stay_as_they_are(folder: Path, tmp_path: Path, truth: np.ndarray) -> None:
    files = [str(folder / FILES[0]), f"file://{folder / FILES[1]}", str(folder / FILES[2])]
    (tmp_path / "elsewhere").mkdir()
    with written_series(tmp_path / "elsewhere" / "a.nwb", external_file=files) as series:
        video = LazyVideo.from_nwb(series)
    assert np.array_equal(video[44:46], truth[44:46])


def test_names_of_a_store_of_the_caller(folder: Path, truth: np.ndarray) -> None:
    store = MemoryStore({file: (folder / file).read_bytes() for file in FILES})
    with written_series(folder / "a.nwb") as series:
        assert np.array_equal(LazyVideo.from_nwb(series, store=store)[76], truth[76])


# --- frame indexes ----------------------------------------------------------------------------


def test_indexes_next_to_files_are_used(folder: Path) -> None:
    write_frame_index(str(folder / FILES[0]))
    write_frame_index(str(folder / FILES[2]), hidden=True)
    overwrite(folder / FILES[0])
    overwrite(folder / FILES[2])
    with written_series(folder / "a.nwb") as series:
        video = LazyVideo.from_nwb(series)
        assert np.array_equal(video.timestamps, TIMES)
        shutil.rmtree(folder / f"{FILES[0]}.lance")
        with pytest.raises(UnsupportedMediaError, match=r"part0\.mp4"):
            LazyVideo.from_nwb(series)


def test_the_index_of_the_recording_next_to_its_first_file_is_used(folder: Path) -> None:
    parts = [str(folder / file) for file in FILES]
    write_frame_index(parts[0], segment_uris=parts[1:])
    for part in parts:
        overwrite(Path(part))
    with written_series(folder / "a.nwb") as series:
        assert np.array_equal(LazyVideo.from_nwb(series).timestamps, TIMES)


def test_timestamps_of_the_indexes_make_no_difference(folder: Path) -> None:
    write_frame_index(str(folder / FILES[1]), timestamps=np.arange(COUNTS[1]) + 7.0)
    with written_series(folder / "a.nwb") as series:
        assert np.array_equal(LazyVideo.from_nwb(series).timestamps, TIMES)
    assert LanceFrameIndex.open(str(folder / FILES[1])).timestamps()[0] == 7.0


def test_with_indexes_little_is_fetched(folder: Path, own_cache: None, truth: np.ndarray) -> None:
    with ObjectServer() as server:
        uris = [server.put(f"/{file}", (folder / file).read_bytes()) for file in FILES]
        with written_series(folder / "a.nwb", external_file=uris) as series:
            with counting() as scanned:
                LazyVideo.from_nwb(series)
            for uri in uris:
                write_frame_index(uri, full=True)  # into the cache directory: a server takes no files
            with counting() as counted:
                video = LazyVideo.from_nwb(series)
        assert scanned.bytes_fetched > 0
        assert counted.bytes_fetched + counted.bytes_from_cache == 0
        assert np.array_equal(video[31], truth[31])


def test_an_index_of_another_file_is_an_error(folder: Path) -> None:
    write_frame_index(str(folder / FILES[0]))
    shutil.copy(folder / FILES[1], folder / FILES[0])
    with written_series(folder / "a.nwb") as series, pytest.raises(FrameIndexStaleError):
        LazyVideo.from_nwb(series)


# --- series that are wrong --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "shown"),
    [([0, 0, 0], r"\[0, 0, 0\]"), ([0, 30, 74], r"\[0, 30, 74\]"), ([1, 31, 76], r"\[1, 31, 76\]")],
)
def test_wrong_starting_frames(found: list[int], shown: str, folder: Path, truth: np.ndarray) -> None:
    message = rf"expected starting_frame \[0, 30, 75\].*found {shown}.*starting_frames=\"ignore\""
    with written_series(folder / "a.nwb", starting_frame=found) as series:
        with pytest.raises(ValueError, match=message):
            LazyVideo.from_nwb(series)
        video = LazyVideo.from_nwb(series, starting_frames="ignore")
    assert np.array_equal(video[74:76], truth[74:76])


def test_an_unknown_word_for_starting_frames(folder: Path) -> None:
    with pytest.raises(ValueError, match='expected starting_frames="check" or "ignore", found \'no\''):
        LazyVideo.from_nwb(new_series(), base_dir=folder, starting_frames="no")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"timestamps": TIMES[:-1]}, "expected 95 timestamps.*'cam', found 94"),
        ({"timestamps": np.append(TIMES, 900.0)}, "expected 95 timestamps.*'cam', found 96"),
        ({"timestamps": TIMES[::-1]}, r"ascending timestamps of ImageSeries 'cam', found .* at position 1"),
        ({"timestamps": np.where(TIMES[4] == TIMES, np.nan, TIMES)}, "found nan at position 4"),
        ({"timestamps": np.append(TIMES[:-1], np.inf)}, "found inf at position 94"),
        ({"rate": 0.0}, "expected a rate above 0 .*'cam', found rate=0.0"),
        ({"rate": np.nan}, "expected a rate above 0 .*'cam', found rate=nan"),
        ({"rate": 29.97, "starting_time": np.inf}, "finite starting_time.*starting_time=inf"),
        ({"external_file": ["", *FILES[1:]]}, "external files of .*'cam', found an empty name at position 0"),
    ],
)
def test_what_no_video_has(fields: dict[str, Any], message: str, folder: Path) -> None:
    with (
        written_series(folder / "a.nwb", **fields) as series,
        pytest.raises(ValueError, match=message),
    ):
        LazyVideo.from_nwb(series)


def test_another_number_of_samples(folder: Path) -> None:
    if not HAS_NUM_SAMPLES:
        pytest.skip("this pynwb does not write num_samples")
    with (
        written_series(folder / "a.nwb", rate=29.97, num_samples=94) as series,
        pytest.raises(ValueError, match="expected 95 as num_samples.*'cam', found 94"),
    ):
        LazyVideo.from_nwb(series)


def test_timestamps_are_refused_before_files_are_scanned(folder: Path) -> None:
    shutil.rmtree(folder / "videos")
    with (
        written_series(folder / "a.nwb", timestamps=TIMES[::-1]) as series,
        pytest.raises(ValueError, match="ascending"),
    ):
        LazyVideo.from_nwb(series)


def test_timestamps_that_are_no_column_of_numbers(folder: Path) -> None:
    series = new_series()
    for wrong in (np.zeros((TOTAL, 2)), np.array(["a"] * TOTAL)):
        series.fields["timestamps"] = wrong
        with pytest.raises(ValueError, match="expected timestamps of ImageSeries 'cam' in seconds"):
            LazyVideo.from_nwb(series, base_dir=folder)


def test_neither_timestamps_nor_a_rate(folder: Path) -> None:
    series = new_series()
    del series.fields["timestamps"]  # which pynwb refuses to make
    with pytest.raises(ValueError, match="expected timestamps or a rate of ImageSeries 'cam', found neither"):
        LazyVideo.from_nwb(series, base_dir=folder)


def test_images_in_the_nwb_file(folder: Path) -> None:
    fields = {"format": "raw", "external_file": None, "starting_frame": None, "timestamps": TIMES[:4]}
    with (
        written_series(folder / "a.nwb", data=np.zeros((4, 8, 8), np.uint8), **fields) as series,
        pytest.raises(UnsupportedMediaError, match="format='external'.*found 'raw'.*image_series.data"),
    ):
        LazyVideo.from_nwb(series)


def test_no_external_files(folder: Path) -> None:
    series = new_series()
    series.fields["external_file"] = []
    with pytest.raises(ValueError, match="expected external files of ImageSeries 'cam', found none"):
        LazyVideo.from_nwb(series)


def test_missing_files(folder: Path) -> None:
    write_frame_index(str(folder / FILES[0]))
    for gone in (FILES[1], FILES[0]):  # without an index, and with one
        (folder / gone).unlink()
        with (
            written_series(folder / "a.nwb") as series,
            pytest.raises(MediaNotFoundError, match=f"external_file of ImageSeries 'cam' has '{gone}'") as e,
        ):
            LazyVideo.from_nwb(series)
        assert e.value.uri == str(folder / gone)
        assert "base_dir=" in str(e.value)


@pytest.mark.parametrize("other", [None, "a.nwb", object()])
def test_what_is_no_series(other: Any) -> None:
    with pytest.raises(TypeError, match=f"expected a pynwb ImageSeries, found {type(other).__name__}"):
        LazyVideo.from_nwb(other)


def test_another_object_of_pynwb() -> None:
    from pynwb import TimeSeries

    with pytest.raises(TypeError, match="expected a pynwb ImageSeries, found TimeSeries"):
        LazyVideo.from_nwb(TimeSeries(name="a", data=[1.0], unit="V", rate=1.0))


def test_untrusted_files(folder: Path, truth: np.ndarray) -> None:
    with written_series(folder / "a.nwb") as series:
        video = LazyVideo.from_nwb(series, base_dir=folder, untrusted=True)
    assert np.array_equal(video[5], truth[5])


def test_iteration_and_joining(folder: Path, truth: np.ndarray) -> None:
    with written_series(folder / "a.nwb") as series:
        video = LazyVideo.from_nwb(series)
    joined = LazyVideo.concat([video.lazy_slice(TIMES[60], 999.0), video.lazy_slice(0.0, TIMES[60])])
    assert np.array_equal(joined.timestamps, TIMES)
    assert np.array_equal(np.stack(list(joined)), truth)
