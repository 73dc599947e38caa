"""A recording of several files: its URI is the first segment, ``segment_uris`` are the additional ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _media import Clip
from _oracle import OracleFrame, linear_frames

from mediaref_ursa import (
    LanceFrameIndex,
    LazyVideo,
    MediaNotFoundError,
    MediaRef,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa._index.found import find_index
from mediaref_ursa.catalog import ModalityRow, open_modality
from mediaref_ursa.store import MemoryStore
from mediaref_ursa.store._location import Location

GetClip = Callable[[str], Clip]
Truth = dict[str, list[OracleFrame]]


@pytest.fixture
def folder(clip: GetClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for number, name in enumerate(("h264_29_97_mp4", "h264_idr_mp4", "h264_pyramid_mp4")):
        shutil.copy(clip(name).path, tmp_path / f"s{number}.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def truth(folder: Path) -> Truth:
    return {path.name: linear_frames(path) for path in folder.glob("*.mp4")}


def pixels(truth: Truth, *names: str) -> list[np.ndarray]:
    return [frame.rgb for name in names for frame in truth[name]]


def shows(video: LazyVideo, expected: list[np.ndarray]) -> None:
    assert len(video) == len(expected)
    assert all(np.array_equal(a, b.transpose(2, 0, 1)) for a, b in zip(video, expected, strict=True))
    back = batch_decode(video.refs())
    assert all(np.array_equal(a, b) for a, b in zip(back, expected, strict=True))


def scanned(uri: str, segments: list[str]) -> LazyVideo:
    return LazyVideo(uri, segment_uris=segments, resize=None)


def found(uri: str, segments: list[str]) -> LazyVideo:
    return LazyVideo.from_uri(uri, segment_uris=segments)


def found_beside_an_index_of_each_file(uri: str, segments: list[str]) -> LazyVideo:
    for path in Path().glob("*.mp4"):
        write_frame_index(path, overwrite=True)
    return LazyVideo.from_uri(uri, segment_uris=segments)


def indexed(uri: str, segments: list[str]) -> LazyVideo:
    return LazyVideo(uri, frame_index=write_frame_index(uri, segment_uris=segments))


def indexed_and_named(uri: str, segments: list[str]) -> LazyVideo:
    write_frame_index(uri, segment_uris=segments)
    return LazyVideo.from_uri(uri, segment_uris=segments)


def from_a_row(uri: str, segments: list[str]) -> LazyVideo:
    return open_modality(ModalityRow(name="camera", format="video", uri=uri, segment_uris=tuple(segments)))


def from_a_row_with_an_index(uri: str, segments: list[str]) -> LazyVideo:
    write_frame_index(uri, segment_uris=segments)
    return open_modality(ModalityRow(name="camera", format="mp4_index", uri=uri))


WAYS = [
    scanned,
    found,
    found_beside_an_index_of_each_file,
    indexed,
    indexed_and_named,
    from_a_row,
    from_a_row_with_an_index,
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("uri", "segments", "expected"),
    [
        ("s0.mp4", ["s1.mp4", "s2.mp4"], ["s0.mp4", "s1.mp4", "s2.mp4"]),
        ("s0.mp4", ["s1.mp4", "s0.mp4"], ["s1.mp4", "s0.mp4"]),
        ("s0.mp4", ["./s0.mp4", "s1.mp4"], ["s0.mp4", "s1.mp4"]),
        ("{here}/s0.mp4", ["s0.mp4", "{here}/s1.mp4"], ["s0.mp4", "s1.mp4"]),
        ("{here}/../{name}/s0.mp4", ["file://{here}/s0.mp4"], ["s0.mp4"]),
        ("s0.mp4", ["s1.mp4", "s1.mp4"], ["s0.mp4", "s1.mp4", "s1.mp4"]),
        ("s0.mp4", ["s0.mp4"], ["s0.mp4"]),
    ],
)
def test_the_first_segment_is_the_recording(
    way: Callable[[str, list[str]], LazyVideo],
    uri: str,
    segments: list[str],
    expected: list[str],
    folder: Path,
    truth: Truth,
) -> None:
    uri, *segments = (text.format(here=folder, name=folder.name) for text in (uri, *segments))
    shows(way(uri, segments), pixels(truth, *expected))


def test_a_folder_seen_through_a_link_is_the_same_and_a_linked_file_is_another(
    folder: Path, truth: Truth
) -> None:
    (folder / "link").symlink_to(folder)
    (folder / "twin.mp4").symlink_to(folder / "s0.mp4")
    shows(LazyVideo("s0.mp4", segment_uris=["link/s0.mp4", "link/s1.mp4"]), pixels(truth, "s0.mp4", "s1.mp4"))
    shows(LazyVideo("s0.mp4", segment_uris=["twin.mp4"]), pixels(truth, "s0.mp4", "s0.mp4"))


@pytest.mark.parametrize("parts", [["s1.mp4", "s0.mp4"], ["s2.mp4"]])
def test_a_recording_with_a_name_that_is_no_file(parts: list[str], folder: Path, truth: Truth) -> None:
    expected = pixels(truth, *parts)
    video = LazyVideo.from_segments(parts, uri="session/cam", metadata=7)
    assert (video.uri, video.metadata) == ("session/cam", 7)
    shows(video, expected)
    (folder / "session").mkdir()
    index = write_frame_index("session/cam", segments=parts)
    assert LanceFrameIndex.open("session/cam").segments == index.segments
    for opened in (
        LazyVideo.from_uri("session/cam"),
        LazyVideo("session/cam", frame_index=index),
        LazyVideo.from_segments(parts, uri="session/cam"),
        LazyVideo.from_segments(parts, uri="session/cam", frame_index=index),
    ):
        shows(opened, expected)
    end = MediaRef("session/cam", round(index.timestamps()[-1] * 1e9))
    assert np.array_equal(batch_decode([end], frame_index=index)[0], expected[-1])


def test_without_a_name_the_first_file_gives_it(folder: Path, truth: Truth) -> None:
    video = LazyVideo.from_segments(["s1.mp4", "s2.mp4"])
    assert video.uri == "s1.mp4"
    shows(video, pixels(truth, "s1.mp4", "s2.mp4"))
    write_frame_index("s1.mp4")
    shows(LazyVideo.from_segments(["s1.mp4"]), pixels(truth, "s1.mp4"))


@pytest.mark.parametrize(
    "way", [LazyVideo, LazyVideo.from_uri, write_frame_index], ids=["constructor", "from_uri", "index"]
)
def test_a_first_segment_that_is_not_there_is_an_error_that_names_the_other_way(
    way: Callable[..., object], folder: Path
) -> None:
    with pytest.raises(MediaNotFoundError, match=r"session.mp4.*additional.*from_segments.*segments="):
        way("session.mp4", segment_uris=["s0.mp4", "s1.mp4"])
    with pytest.raises(MediaNotFoundError, match="gone.mp4") as caught:
        way("s0.mp4", segment_uris=["gone.mp4"])
    assert "from_segments" not in str(caught.value)


@pytest.mark.parametrize("parts", ["s1.mp4", Path("s1.mp4"), b"s1.mp4"])
def test_one_path_in_place_of_a_list_is_refused(parts: object, folder: Path) -> None:
    for way in (LazyVideo, LazyVideo.from_uri, write_frame_index):
        with pytest.raises(TypeError, match="wrap it in a list"):
            way("s0.mp4", segment_uris=parts)  # type: ignore[operator]
    with pytest.raises(TypeError, match="wrap it in a list"):
        LazyVideo.from_segments(parts)  # type: ignore[arg-type]
    assert not os.path.exists("s0.mp4.lance")


def test_what_does_not_go_together(folder: Path) -> None:
    with pytest.raises(ValueError, match="found both"):
        write_frame_index("s0.mp4", segment_uris=["s1.mp4"], segments=["s0.mp4", "s1.mp4"])
    for make in (LazyVideo.from_segments, lambda parts: write_frame_index("x", segments=parts)):
        with pytest.raises(ValueError, match="at least one segment"):
            make([])
    write_frame_index("s0.mp4", segment_uris=["s1.mp4"])
    with pytest.raises(ValueError, match="2 segments.*found 3"):
        LazyVideo.from_uri("s0.mp4", segment_uris=["s1.mp4", "s2.mp4"])


def test_urls_that_differ_in_their_query_only_are_not_guessed_at(folder: Path) -> None:
    data = Path("s0.mp4").read_bytes()
    urls = ["https://host/a?n=1", "https://host/a?n=2"]
    store = MemoryStore(dict.fromkeys(urls, data))
    with pytest.raises(ValueError, match="query"):
        LazyVideo(urls[0], store=store, segment_uris=urls[1:])
    both = LazyVideo.from_segments(urls, store=store)
    assert len(both) == 2 * len(LazyVideo(urls[0], store=store))


def test_an_index_of_today_stays_readable_where_the_files_went(folder: Path, truth: Truth) -> None:
    """Catalogs name all files of a recording whose name is no file, as its index says."""
    index = write_frame_index("session.mp4", segments=["s0.mp4", "s1.mp4"])
    moved = [shutil.copy(f"s{number}.mp4", f"moved{number}.mp4") for number in range(2)]
    expected = pixels(truth, "s0.mp4", "s1.mp4")
    shows(LazyVideo("session.mp4", frame_index=index, segment_uris=moved), expected)
    row = ModalityRow(name="camera", format="mp4_index", uri="session.mp4", segment_uris=tuple(moved))
    shows(open_modality(row), expected)


def test_frames_of_a_file_that_names_a_recording_it_does_not_begin(folder: Path, truth: Truth) -> None:
    """Its references are to the file's own times, whatever stands before it in the list."""
    write_frame_index("s0.mp4", segment_uris=["s1.mp4", "s0.mp4"])
    refs = [MediaRef("s0.mp4", round(frame.time * 10**9)) for frame in truth["s0.mp4"]]
    found = batch_decode(refs)
    assert all(np.array_equal(a, b.rgb) for a, b in zip(found, truth["s0.mp4"], strict=True))


def test_timestamps_of_a_recording_whose_first_file_starts_late_are_its_own(
    folder: Path, clip: GetClip, truth: Truth
) -> None:
    """Its segments are moved further, so that they do not overlap; nobody gave these timestamps."""
    shutil.copy(clip("h264_late_start_mp4").path, "late.mp4")
    write_frame_index("late.mp4", segment_uris=["s0.mp4"])
    assert not find_index(Location("late.mp4")).has_own_timestamps
    late = linear_frames("late.mp4")
    for video in (LazyVideo.from_uri("late.mp4"), LazyVideo("late.mp4", segment_uris=["s0.mp4"])):
        shows(video, [frame.rgb for frame in late] + pixels(truth, "s0.mp4"))
        assert video.timestamps[len(late)] == pytest.approx(float(late[-1].end))
    refs = [MediaRef("late.mp4", round(t * 1e9)) for t in video.timestamps]
    found = batch_decode(refs)
    assert all(np.array_equal(a.transpose(2, 0, 1), b) for a, b in zip(found, video, strict=True))
