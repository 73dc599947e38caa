"""A collection of frame indexes: what is found in it is what stands next to each video."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from _http_server import Fault, ObjectServer
from _media import CLIP_NAMES, Clip
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaref_ursa import (
    CollectionIndex,
    FrameIndexInvalidError,
    FrameIndexMissingError,
    FrameIndexStaleError,
    FrameIndexVersionError,
    InvalidReferenceError,
    LanceFrameIndex,
    MediaNotFoundError,
    MediaRef,
    MediaRefError,
    MediaRefWarning,
    StoreError,
    UnsupportedMediaError,
    batch_decode,
    pack_videos,
    write_frame_index,
)
from mediaref_ursa._index.collection_build import AddedVideo
from mediaref_ursa._index.collection_schema import relative_to
from mediaref_ursa._model.segment import SPARSE, UNKNOWN, SegmentTable
from mediaref_ursa.layout import COLLECTION_KEY

GetClip = Callable[[str], Clip]
pytestmark = pytest.mark.filterwarnings("ignore::mediaref_ursa.DamagedMediaWarning")
EVERY = 20  # clips of one test: their media are made once


def is_same(found: SegmentTable, expected: SegmentTable) -> bool:
    """Whether two tables are equal in every column and in what describes them, unknown values included."""
    numbers = [(part.pts, part.duration, part.packet, part.start) for part in (found, expected)]
    packets = [
        (p.offset, p.size, p.crc32, p.is_reference, p.is_corrupt, p.is_keyframe)
        for p in (found.packets, expected.packets)
    ]
    return (
        found.info == expected.info
        and all(np.array_equal(a, b) for a, b in zip(*numbers, strict=True))
        and all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(*packets, strict=True))
        and found.timestamp.tobytes() == expected.timestamp.tobytes()
    )


@pytest.fixture
def folder(clip: GetClip, tmp_path: Path) -> Path:
    """A folder of three videos."""
    folder = tmp_path / "set"
    (folder / "takes").mkdir(parents=True)
    for name, path in (
        ("h264_idr_mp4", "a.mp4"),
        ("vp8_webm", "takes/b.webm"),
        ("h264_open_gop_mp4", "takes/c.mp4"),
    ):
        shutil.copy(clip(name).path, folder / path)
    return folder


def videos_of(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*.*") if path.suffix in (".mp4", ".webm"))


def collection_of(folder: Path) -> CollectionIndex:
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    collection.add(videos_of(folder))
    return collection


@pytest.mark.parametrize("first", range(0, len(CLIP_NAMES), EVERY))
def test_each_clip_has_the_index_of_its_sidecar(first: int, clip: GetClip, tmp_path: Path) -> None:
    expected = {}
    collection = CollectionIndex.open(tmp_path / "set.lance", create=True)
    for name in CLIP_NAMES[first : first + EVERY]:
        path = tmp_path / clip(name).path.name
        shutil.copy(clip(name).path, path)
        try:
            collection.add([path])
        except UnsupportedMediaError:
            with pytest.raises(UnsupportedMediaError):
                write_frame_index(path)
            continue
        expected[str(path)] = write_frame_index(path)

    found = CollectionIndex.open(tmp_path / "set.lance").get_many(expected)

    assert list(found) == list(expected)
    for uri, index in expected.items():
        assert len(found[uri].segments) == 1
        assert is_same(found[uri].segment_table(0), index.segment_table(0)), uri
    assert sorted(collection) == sorted(expected)
    assert len(collection) == len(expected)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["", "sparse", "clock", "not finite"]),
    st.integers(0, 10**9),
)
@settings(max_examples=30, deadline=None)
def test_whatever_columns_hold_comes_back(seed: int, kind: str, offset: int) -> None:
    from _tables import segment_table

    from mediaref_ursa._index.packed_segment import pack_segment, unpack_segment
    from mediaref_ursa._model.access import TRUSTED

    rng = np.random.default_rng(seed)
    table = segment_table(np.arange(int(rng.integers(1, 40))))
    times = np.cumsum(rng.random(len(table))) + offset
    if kind == "sparse":
        unknown = np.full(len(table.packets), UNKNOWN)
        packets = replace(table.packets, crc32=unknown.astype(np.int64), is_reference=unknown.astype(np.int8))
        table = replace(table, packets=packets, info=replace(table.info, verified=SPARSE))
    elif kind == "clock":
        table = replace(table, timestamp=times)
    elif kind == "not finite":
        table = replace(table, timestamp=np.where(rng.random(len(table)) < 0.5, np.nan, times))
    table = replace(table, info=replace(table.info, uri="/data/a.mp4"))

    packed = unpack_segment(pack_segment("a.mp4", 0, 1, 5, table, "/data/a.mp4"), TRUSTED, "set.lance")

    entry = packed.entry("/data/a.mp4")
    assert is_same(packed.table(entry), table)
    assert entry.columns_crc32 == table.columns_crc32


def test_several_segments_and_the_timestamps_of_a_clock_come_along(folder: Path) -> None:
    video, parts = folder / "session", [folder / "a.mp4", folder / "takes/b.webm"]
    scanned = [len(write_frame_index(part)) for part in parts]
    clock = np.cumsum(np.random.default_rng(1).random(sum(scanned)))
    sidecar = write_frame_index(video, segments=parts, timestamps=clock)
    collection = CollectionIndex.open(folder / "set.lance", create=True)

    assert collection.add({str(video): [str(part) for part in parts]}).added == 1

    found = collection.get(video)
    assert [info.uri for info in found.segments] == [str(part) for part in parts]
    assert all(is_same(found.segment_table(i), sidecar.segment_table(i)) for i in range(2))
    assert list(collection) == [str(video)]
    assert collection.add([str(video)]).kept == 1


def test_a_video_that_has_fewer_segments_now_has_no_old_rows(folder: Path) -> None:
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    video, parts = str(folder / "session"), [str(folder / "a.mp4"), str(folder / "takes/b.webm")]
    collection.add({video: parts})
    assert collection.add({video: parts[1:]}).replaced == 1

    assert [info.uri for info in collection.get(video).segments] == parts[1:]
    assert lance.dataset(folder / "set.lance").count_rows() == 1


def test_what_is_fresh_is_kept_and_what_is_stale_is_replaced(folder: Path, clip: GetClip) -> None:
    collection = collection_of(folder)
    videos = videos_of(folder)
    assert collection.stale() == collection.stale(videos) == []
    assert collection.add(videos).kept == len(videos)
    shutil.copy(clip("mpeg4_mp4").path, videos[0])
    Path(videos[2]).unlink()

    assert collection.stale() == collection.stale(videos) == [videos[0], videos[2]]
    report = collection.add(videos[:2])

    assert (report.added, report.replaced, report.kept) == (0, 1, 1)
    assert is_same(collection.get(videos[0]).segment_table(0), write_frame_index(videos[0]).segment_table(0))
    assert lance.dataset(folder / "set.lance").count_rows() == len(videos)


def test_what_is_not_there_is_missing(folder: Path) -> None:
    collection = collection_of(folder)
    videos, other = videos_of(folder), str(folder / "other.mp4")

    assert collection.missing([*videos, other]) == [other]
    assert other not in collection
    assert list(collection.get_many([other, videos[0]])) == [videos[0]]
    with pytest.raises(FrameIndexMissingError, match="CollectionIndex.add"):
        collection.get(other)
    with pytest.raises(InvalidReferenceError):
        collection.get("data:video/mp4;base64,")
    with pytest.raises(FrameIndexMissingError, match="--into"):
        CollectionIndex.open(folder / "none.lance")


def test_removed_videos_are_gone(folder: Path) -> None:
    collection = collection_of(folder)
    videos = videos_of(folder)
    assert collection.get(videos[0])

    assert collection.remove([videos[0], "other.mp4"]) == 1

    assert sorted(collection) == videos[1:]
    assert len(collection) == 2
    assert collection.missing(videos) == videos[:1]


def test_a_compacted_collection_is_the_same(folder: Path) -> None:
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    for video in videos_of(folder):
        collection.add([video])
    collection.remove(videos_of(folder)[:1])
    before = {uri: collection.get(uri).segment_table(0) for uri in collection}

    collection.compact()

    after = CollectionIndex.open(folder / "set.lance")
    assert set(after) == set(before)
    assert all(is_same(after.get(uri).segment_table(0), table) for uri, table in before.items())
    assert len(lance.dataset(folder / "set.lance").get_fragments()) == 1


@pytest.mark.parametrize(
    "name",
    [
        "it's.mp4",
        'a"b.mp4',
        "semi;colon -- .mp4",
        "back\\slash.mp4",
        "s3:x.mp4",
        "ünï 日本.mp4",
        "%41.mp4",
        "line\nend.mp4",
        "') OR ('1'='1.mp4",
    ],
)
def test_any_name_is_one_video(name: str, folder: Path) -> None:
    video = folder / name
    shutil.copy(folder / "a.mp4", video)
    collection = collection_of(folder)

    assert len(collection.get(video)) == len(collection.get(folder / "a.mp4"))
    assert str(video) in set(collection)
    assert collection.remove([video]) == 1
    assert sorted(collection) == sorted(set(videos_of(folder)) - {str(video)})


def test_a_name_that_is_no_text_is_an_error(folder: Path) -> None:
    with pytest.raises(InvalidReferenceError, match="UTF-8"):
        CollectionIndex.open(folder / "set.lance", create=True).get(os.fsdecode(bytes(folder) + b"/\xff.mp4"))


def test_a_folder_that_is_moved_takes_its_collection_along(folder: Path) -> None:
    collection_of(folder)
    hidden = CollectionIndex.open(folder / ".mediaref" / "index.lance", create=True)
    hidden.add(videos_of(folder))
    moved = folder.rename(folder.with_name("moved"))

    for place in (moved / "set.lance", moved / ".mediaref" / "index.lance"):
        found = CollectionIndex.open(place)
        assert found.root == str(moved)
        assert sorted(found) == videos_of(moved)
        assert found.stale() == []


def test_a_root_may_be_named(folder: Path, tmp_path: Path) -> None:
    collection = CollectionIndex.open(tmp_path / "elsewhere.lance", create=True, root=folder)
    collection.add(videos_of(folder))

    rows = lance.dataset(tmp_path / "elsewhere.lance").to_table(columns=["uri"])
    assert sorted(rows.column("uri").to_pylist()) == ["a.mp4", "takes/b.webm", "takes/c.mp4"]
    assert CollectionIndex.open(tmp_path / "elsewhere.lance").root == str(folder)


def test_relative_uris_never_look_like_others() -> None:
    assert relative_to("/data", "/data/s3://x/a.mp4") == "./s3://x/a.mp4"
    assert relative_to("/data", "/database/a.mp4") == "/database/a.mp4"
    assert relative_to("/", "/a.mp4") == "a.mp4"


def test_fresh_sidecars_are_taken_without_a_scan(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = videos_of(folder)
    sidecars = [write_frame_index(video) for video in videos]
    monkeypatch.setattr("mediaref_ursa._index.collection_build.scan_frame_index", None)
    collection = CollectionIndex.open(folder / "set.lance", create=True)

    assert collection.add(videos).added == len(videos)

    for video, sidecar in zip(videos, sidecars, strict=True):
        assert is_same(collection.get(video).segment_table(0), sidecar.segment_table(0))


@pytest.mark.parametrize("hidden", [None, True])
def test_sidecars_are_written_without_the_media(folder: Path, hidden: bool | None) -> None:
    collection = collection_of(folder)
    expected = {video: collection.get(video).segment_table(0) for video in videos_of(folder)}
    for video in expected:
        Path(video).unlink()

    assert collection.write_sidecars(hidden=hidden) == len(expected)

    for video, table in expected.items():
        found = LanceFrameIndex.open(video)
        assert found.location == ("hidden" if hidden else "beside")
        assert is_same(found.segment_table(0), table)


def test_an_error_stops_or_is_reported(folder: Path) -> None:
    (folder / "bad.mp4").write_bytes(b"no video")
    videos = [*videos_of(folder), str(folder / "none.mp4")]
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    done: list[AddedVideo] = []
    with pytest.raises(MediaNotFoundError):
        collection.add([str(folder / "a.mp4"), str(folder / "none.mp4")])
    assert collection.missing([folder / "a.mp4"]) == []

    report = collection.add(videos, on_error="skip", jobs=2, progress=done.append)

    assert (report.added, report.kept) == (2, 1)
    assert sorted(report.failed) == [str(folder / "bad.mp4"), str(folder / "none.mp4")]
    assert sorted(video.uri for video in done) == sorted(videos)
    with pytest.raises(ValueError, match="on_error"):
        collection.add(videos, on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="jobs"):
        collection.add(videos, jobs=0)


def test_an_error_loses_nothing_that_ended_with_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediaref_ursa._index.collection_build.FIRST_COMPLETED", ALL_COMPLETED)
    nowhere = [str(folder / f"none_{number}.mp4") for number in range(4)]
    collection = CollectionIndex.open(folder / "set.lance", create=True)

    with pytest.raises(MediaNotFoundError, match="none_0"):
        collection.add([*nowhere, *videos_of(folder)], jobs=4)

    assert collection.missing(videos_of(folder)) == []


def test_an_index_of_a_changed_file_is_stale(folder: Path, clip: GetClip) -> None:
    collection = collection_of(folder)
    shutil.copy(clip("mpeg4_mp4").path, folder / "a.mp4")

    with pytest.raises(FrameIndexStaleError):
        batch_decode([MediaRef(str(folder / "a.mp4"), 0)], frame_index=collection)


def test_it_pickles(folder: Path) -> None:
    collection = pickle.loads(pickle.dumps(collection_of(folder)))
    index = pickle.loads(pickle.dumps(collection.get(folder / "a.mp4")))

    assert len(index) == len(write_frame_index(folder / "a.mp4"))
    assert index.location == "collection"
    assert index.place == collection.uri


def test_columns_that_are_not_known_are_ignored(folder: Path) -> None:
    collection = collection_of(folder)
    lance.dataset(collection.uri).add_columns({"blob": "cast(frames as string)"})

    found = CollectionIndex.open(collection.uri)

    assert sorted(found) == videos_of(folder)
    assert len(found.get(folder / "a.mp4")) == len(collection.get(folder / "a.mp4"))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"version": "2.0", "root": "."}, FrameIndexVersionError),
        ({"root": "."}, FrameIndexInvalidError),
        ({"version": "1.0", "root": "../.."}, FrameIndexInvalidError),
        ({"version": "1.0", "root": 5}, FrameIndexInvalidError),
        ({"version": "1.7", "root": ".", "more": 1}, None),
    ],
)
def test_other_versions_and_roots(
    value: dict[str, object], error: type[MediaRefError] | None, folder: Path
) -> None:
    collection = collection_of(folder)
    lance.dataset(collection.uri).update_schema_metadata({COLLECTION_KEY: json.dumps(value)})

    if error is None:
        assert len(CollectionIndex.open(collection.uri)) == 3
        return
    with pytest.raises(error):
        CollectionIndex.open(collection.uri)
    if error is FrameIndexVersionError:
        with pytest.raises(error):
            list(collection)


def test_the_index_of_one_video_is_no_collection_and_the_other_way_round(folder: Path) -> None:
    write_frame_index(folder / "a.mp4")
    collection = collection_of(folder)

    with pytest.raises(FrameIndexInvalidError, match="no collection"):
        CollectionIndex.open(folder / "a.mp4.lance")
    with pytest.raises(FrameIndexInvalidError):
        LanceFrameIndex.open(collection.uri)


@pytest.fixture
def damaged(folder: Path) -> CollectionIndex:
    """A collection of three videos, the row of the first of which is damaged."""
    collection = collection_of(folder)
    lance.dataset(collection.uri).update({"segment": "X'00'"}, where="uri = 'a.mp4'")
    return CollectionIndex.open(collection.uri)


def test_a_damaged_row_is_an_error_of_its_video_alone(folder: Path, damaged: CollectionIndex) -> None:
    videos = videos_of(folder)
    refs = [MediaRef(video, 0) for video in videos]

    with pytest.raises(FrameIndexInvalidError, match="a.mp4: the collection is damaged.* put it in anew"):
        damaged.get(folder / "a.mp4")
    with pytest.raises(FrameIndexInvalidError):
        damaged.get_many(videos)
    assert len(damaged.get_many(videos[1:])) == 2
    frames = batch_decode(refs, frame_index=damaged, on_error="none")
    assert [frame is None for frame in frames] == [True, False, False]
    assert isinstance(frames.errors[0], FrameIndexInvalidError)
    with pytest.raises(FrameIndexInvalidError, match="a.mp4"):
        batch_decode(refs, frame_index=damaged)


def test_a_damaged_row_is_put_in_anew_where_that_is_asked_for(folder: Path, damaged: CollectionIndex) -> None:
    videos = videos_of(folder)
    report = damaged.add(videos, on_error="skip")
    assert (report.kept, list(report.failed)) == (2, videos[:1])
    assert damaged.add(videos, overwrite=True).replaced == 3
    assert len(damaged.get_many(videos)) == len(damaged) == 3


def test_a_damaged_row_of_a_found_collection_is_scanned_and_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = CollectionIndex.open(folder / ".mediaref" / "index.lance", create=True)
    collection.add(videos_of(folder))
    lance.dataset(collection.uri).update({"segment": "X'00'"}, where="uri = 'a.mp4'")
    refs = [MediaRef(video, 0) for video in videos_of(folder)]
    with pytest.warns(MediaRefWarning) as caught:
        assert len(batch_decode(refs)) == 3
    assert ["a.mp4" in str(warning.message) for warning in caught] == [True]


def test_another_writer_is_seen(folder: Path, clip: GetClip) -> None:
    one, other = collection_of(folder), CollectionIndex.open(folder / "set.lance")
    video = folder / "a.mp4"
    assert len(one.get(video)) == len(other.get(video))
    shutil.copy(clip("mpeg4_mp4").path, video)
    other.add([video])

    frames = batch_decode([MediaRef(str(video), 0)], frame_index=one)
    assert np.array_equal(frames[0], batch_decode([MediaRef(str(video), 0)], frame_index=other)[0])
    other.remove([video])
    with pytest.raises(FrameIndexMissingError):
        one.get(video)


CLOCK = 7.0


def clock_of(video: Path, start: float = CLOCK) -> np.ndarray:
    """Return timestamps of a camera's clock, one for each frame."""
    return start + 0.25 * np.arange(len(write_frame_index(video, if_exists="replace")))


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_clock_of_a_sidecar_goes_in(folder: Path, overwrite: bool) -> None:
    video = folder / "a.mp4"
    clock = clock_of(video)
    write_frame_index(video, timestamps=clock, if_exists="replace")
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    collection.add([video], overwrite=overwrite)
    assert np.array_equal(collection.get(video).timestamps(), clock)


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_clock_of_a_sidecar_without_packets_goes_in(folder: Path, overwrite: bool) -> None:
    video = folder / "a.mp4"
    clock = clock_of(video)
    table = write_frame_index(video, timestamps=clock, if_exists="replace").segment_table(0)
    shutil.rmtree(f"{video}.lance")
    count = len(table)
    columns = {
        "segment_idx": np.zeros(count, np.int64),
        "local_frame_idx": np.arange(count),
        "pts": table.pts,
        "timestamp": clock,
    }
    lance.write_dataset(pa.table(columns), f"{video}.lance")
    assert not LanceFrameIndex.open(video).has_packets
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    collection.add([video], overwrite=overwrite)
    assert np.array_equal(collection.get(video).timestamps(), clock)
    assert collection.get(video).has_packets

    lance.write_dataset(
        pa.table({name: column[:-1] for name, column in columns.items()}), f"{video}.lance", mode="overwrite"
    )
    with pytest.raises(FrameIndexInvalidError, match="timestamps that are not those of its frames"):
        CollectionIndex.open(folder / "other.lance", create=True).add([video])


def test_a_stale_sidecar_with_a_clock_is_not_passed_over(folder: Path, clip: GetClip) -> None:
    video = folder / "a.mp4"
    write_frame_index(video, timestamps=clock_of(video), if_exists="replace")
    shutil.copy(clip("mpeg4_mp4").path, video)
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    with pytest.raises(FrameIndexStaleError, match="would lose them"):
        collection.add([video])
    assert collection.add([video], overwrite=True).added == 1


def test_sidecars_with_a_clock_are_not_written_over(folder: Path) -> None:
    video = folder / "a.mp4"
    collection = collection_of(folder)
    clock = clock_of(video)
    write_frame_index(video, timestamps=clock, if_exists="replace")

    with pytest.raises(FrameIndexInvalidError, match="add\\(..., overwrite=True\\), or replace them"):
        collection.write_sidecars()
    assert np.array_equal(LanceFrameIndex.open(video).timestamps(), clock)

    collection.add([video], overwrite=True)
    assert collection.write_sidecars() == 3
    assert np.array_equal(LanceFrameIndex.open(video).timestamps(), clock)
    write_frame_index(video, timestamps=clock + 1, if_exists="replace")
    assert collection.write_sidecars([video], overwrite=True) == 1
    assert np.array_equal(LanceFrameIndex.open(video).timestamps(), clock)


def test_a_name_that_no_row_can_have_stops_no_other(folder: Path) -> None:
    bad = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4")
    shutil.copy(folder / "a.mp4", bad)
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    report = collection.add([bad, *videos_of(folder)], on_error="skip")
    assert report.added == 3
    assert list(report.failed) == [bad]
    assert isinstance(report.failed[bad], InvalidReferenceError)


def test_urls_that_differ_in_their_query_are_not_one_video(folder: Path) -> None:
    with ObjectServer() as server:
        data = (folder / "a.mp4").read_bytes()
        server.put("/video", data)
        urls = [server.url(f"/video?id={number}") for number in (1, 2)]
        collection = CollectionIndex.open(folder / "set.lance", create=True)
        report = collection.add([urls[0], urls[0], urls[1]], on_error="skip")
        assert report.added == 1
        assert list(report.failed) == urls[1:]
        with pytest.raises(InvalidReferenceError, match="differ without their queries"):
            collection.add(urls)


def test_a_store_that_cannot_be_asked_hides_nothing_else(folder: Path) -> None:
    from mediaref_ursa._index.collection_report import report_on_collection

    with ObjectServer() as server:
        url = server.put("/video.mp4", (folder / "a.mp4").read_bytes())
        collection = collection_of(folder)
        collection.add([url])
        server.always = Fault(status=403)
        (folder / "a.mp4").write_bytes(b"x")
        report = report_on_collection(collection)
        assert (report.videos, report.stale, report.not_asked) == (4, [str(folder / "a.mp4")], 1)
        assert "1 could not be asked: " in report.to_text()
        assert "403" in str(report.to_dict()["reason"])
        with pytest.raises(StoreError):
            collection.stale()


def test_segments_that_a_killed_writer_left_are_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the commit of fewer segments and that which deletes the others."""
    from mediaref_ursa._index.collection_table import CollectionTable

    parts = [str(folder / name) for name in ("a.mp4", "takes/c.mp4")]
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    collection.add({parts[0]: parts})
    with monkeypatch.context() as patch:
        patch.setattr(CollectionTable, "delete", lambda *_: None)
        collection.add({parts[0]: parts[:1]}, overwrite=True)
    assert lance.dataset(collection.uri).count_rows() == 2

    assert collection.add({parts[0]: parts[:1]}).kept == 1
    assert lance.dataset(collection.uri).count_rows() == 1
    assert len(collection.get(parts[0]).segments) == 1


def test_what_is_reported_is_in_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mediaref_ursa._index.collection_table import CollectionTable

    collection = CollectionIndex.open(folder / "set.lance", create=True)
    known: list[bool] = []
    collection.add(videos_of(folder), progress=lambda video: known.append(video.uri in collection))
    assert known == [True] * 3

    def refuse(*_: object) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(CollectionTable, "put_rows", refuse)
    done: list[AddedVideo] = []
    with pytest.raises(StoreError, match="no space left"):
        collection.add(videos_of(folder), overwrite=True, progress=done.append)
    assert done == []


def test_rows_are_committed_by_their_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediaref_ursa._index.collection_build._COMMIT_BYTES", 1)
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    before = lance.dataset(collection.uri).version
    collection.add(videos_of(folder))
    assert lance.dataset(collection.uri).version - before > 3


def test_one_path_is_no_list_of_paths(folder: Path) -> None:
    collection = collection_of(folder)
    video = str(folder / "a.mp4")
    for one in (video, Path(video)):
        for call in (
            collection.add,
            collection.remove,
            collection.missing,
            collection.get_many,
            collection.stale,
        ):
            with pytest.raises(TypeError, match="wrap it in a list"):
                call(one)  # type: ignore[operator]
    assert len(collection) == 3


def test_a_recording_may_be_named_by_a_path(folder: Path) -> None:
    parts = [folder / name for name in ("a.mp4", "takes/c.mp4")]
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    collection.add({parts[0]: parts})
    assert len(collection.get(parts[0]).segments) == 2


def test_a_table_of_media_takes_no_other_indexes(folder: Path) -> None:
    pack_videos([folder / "a.mp4"], folder / "packed.lance", keys=["a"])
    collection = CollectionIndex.open(folder / "packed.lance")
    for call in (lambda: collection.add([folder / "a.mp4"]), collection.write_sidecars):
        with pytest.raises(StoreError, match="pack_videos"):
            call()


def test_iterating_goes_on_while_others_compact(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediaref_ursa._index.collection_table._LISTED_AT_ONCE", 1)
    monkeypatch.setattr("mediaref_ursa._lance.lance_calls._OLD_VERSIONS_KEPT", timedelta(0))
    collection = collection_of(folder)
    left = iter(collection)
    found = [next(left)]
    collection.compact()
    collection.compact()
    assert sorted([*found, *left]) == videos_of(folder)

    left = iter(collection)
    next(left)
    for path in videos_of(folder):
        collection.add([path], overwrite=True)
    lance.dataset(collection.uri).cleanup_old_versions(timedelta(0), retain_versions=1)
    with pytest.raises(StoreError, match="compacted many times meanwhile; begin again"):
        list(left)


def test_a_question_that_is_too_large_for_the_limits_is_asked_in_parts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mediaref_ursa._lance import collection_calls
    from mediaref_ursa._lance.lance_process import TableTooLargeError

    videos, find, asked = videos_of(folder), collection_calls.find, []
    collection = collection_of(folder)

    def find_one(uri: str, options: dict[str, str], keys: list[str], *rest: Any, **more: Any) -> pa.Table:
        asked.append(len(keys))
        if len(keys) > 1:
            raise TableTooLargeError("it needs more memory")
        return find(uri, options, keys, *rest, **more)

    monkeypatch.setattr(collection_calls, "find", find_one)
    assert len(collection.get_many(videos)) == 3
    assert sorted(asked) == [1, 1, 1, 2, 3]


def test_rows_after_removed_ones_are_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediaref_ursa._index.collection_table._LISTED_AT_ONCE", 2)
    collection = collection_of(folder)
    for removed in videos_of(folder)[:2]:
        collection.remove([removed])
        collection.add([removed])
    assert sorted(collection) == videos_of(folder)
    collection.remove(videos_of(folder)[:1])
    assert sorted(collection) == videos_of(folder)[1:]


def test_places_that_are_no_collection_say_so(folder: Path) -> None:
    collection = collection_of(folder)
    refs = [MediaRef(str(folder / "a.mp4"), 0)]
    with pytest.raises(FrameIndexInvalidError, match="open it with CollectionIndex.open"):
        batch_decode(refs, frame_index=collection.uri)  # type: ignore[call-overload]
    with pytest.raises(StoreError, match="from which Lance does not read; copy"):
        CollectionIndex.open("https://host/set.lance")
    with pytest.raises(ValueError, match="expected the collection's root"):
        CollectionIndex.open(collection.uri, create=True, root=folder / "takes")
    assert len(CollectionIndex.open(collection.uri, create=True, root=folder)) == 3


def test_videos_of_untrusted_writers_are_scanned_in_a_process_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from _media import make_clip

    import mediaref_ursa._index.build as build
    from mediaref_ursa import Access

    inside = tmp_path / "inside"
    inside.mkdir()
    video, other = (make_clip("h264_idr_mp4", folder) for folder in (inside, tmp_path))
    write_frame_index(other)
    monkeypatch.setattr(build, "scan_uri", None)  # which scans in this process
    access = Access(untrusted=True, base_dir=str(inside))
    collection = CollectionIndex.open(tmp_path / "set.lance", create=True, access=access)

    report = collection.add([video, other], on_error="skip")

    assert report.added == 1
    assert [type(error).__name__ for error in report.failed.values()] == ["InvalidReferenceError"]
    for options in ({"full": True}, {"decode": True}):
        with pytest.raises(ValueError, match="expected neither full= nor decode= with limits of scans"):
            collection.add([video], **options)
