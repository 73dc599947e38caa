"""References in Ray Data, on a local cluster of two CPUs with a bounded object store."""

from __future__ import annotations

import io
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

ray: Any = pytest.importorskip("ray", reason="Ray is not installed")

from _http_server import ObjectServer  # noqa: E402 - after what may be missing
from _library_pages import run_library_page  # noqa: E402 - after what may be missing
from _media import make_clip  # noqa: E402
from PIL import Image  # noqa: E402

from mediaref_ursa import (  # noqa: E402
    CollectionIndex,
    LanceFrameIndex,
    LazyVideo,
    MediaNotFoundError,
    MediaRef,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa._index.collection_build import CommitBatch, Wanted, look_at  # noqa: E402
from mediaref_ursa._index.outcome_rows import OutcomeRow, from_table, to_table  # noqa: E402
from mediaref_ursa.ray import DecodeFrames, index_videos, sort_by_run  # noqa: E402
from mediaref_ursa.table import to_arrow  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(240)]

OBJECT_STORE_BYTES = 200 << 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    here = Path(__file__)
    paths = os.pathsep.join(str(folder) for folder in (here.parents[2], here.parents[1], here.parent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", paths)
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        ray.init(
            num_cpus=2,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            logging_level="error",
            log_to_driver=False,
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of two sizes, with their indexes, and a picture."""
    folder, made = tmp_path_factory.mktemp("ray"), tmp_path_factory.mktemp("made")
    for name, clip in (("a", "h264_idr_mp4"), ("b", "hevc_open_gop_mp4"), ("c", "vp9_odd_webm")):
        source = make_clip(clip, made)
        path = source.rename(folder / f"{name}{source.suffix}")
        write_frame_index(str(path))
    Image.fromarray(np.arange(64 * 48 * 3, dtype=np.uint8).reshape(48, 64, 3)).save(folder / "p.png")
    return folder


def videos_of(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.iterdir() if path.is_file() and path.suffix != ".png")


def copies(folder: Path, target: Path, count: int) -> list[Path]:
    return [Path(shutil.copy(folder / "a.mp4", target / f"{number}.mp4")) for number in range(count)]


def refs_of(folder: Path) -> list[MediaRef]:
    """All frames of all videos, in a random order."""
    refs = [ref for video in videos_of(folder) for ref in LazyVideo.from_uri(video).refs()]
    order = np.random.default_rng(0).permutation(len(refs)).tolist()
    return [refs[position] for position in order]


def runs_of(refs: list[dict[str, Any] | None]) -> set[tuple[str, int]]:
    """The runs of those references that name a frame: video, and packet at which decoding begins."""
    runs = set()
    for video, ref in ((ref["uri"], ref) for ref in refs if ref is not None):
        if not Path(video).exists() or ref["pts_ns"] == 10**15:
            continue
        index = LanceFrameIndex.open(f"{video}.lance")
        frame = int(np.searchsorted(index.timestamps(), ref["pts_ns"] / 1e9 - 1e-6))
        runs.add((video, int(index.segment_table(0).start[frame])))
    return runs


def blocks(table: pa.Table, count: int = 4) -> Any:
    step = -(-len(table) // count)
    return ray.data.from_arrow([table.slice(first, step) for first in range(0, len(table), step)])


def decoded(dataset: Any, *args: Any, **options: Any) -> list[dict[str, Any]]:
    """Decode by tasks, whose processes Ray keeps; the first test has actors, which it starts for each job."""
    found = dataset.map_batches(DecodeFrames(*args, **options), batch_format="pyarrow", zero_copy_batch=True)
    rows: list[dict[str, Any]] = found.take_all()
    return rows


def test_frames_are_those_of_batch_decode(cluster: None, folder: Path) -> None:
    """Videos of several sizes and a picture: rows are tensors of several shapes."""
    refs = [*refs_of(folder), MediaRef(str(folder / "p.png"))]
    table = pa.table({"obs": to_arrow(refs), "n": range(len(refs))})
    found = blocks(table).map_batches(
        DecodeFrames,
        fn_constructor_args=(["obs"],),
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    rows = sorted(found.take_all(), key=lambda row: int(row["n"]))
    assert [int(row["n"]) for row in rows] == list(range(len(refs)))
    for row, frame in zip(rows, batch_decode(refs), strict=True):
        np.testing.assert_array_equal(row["obs"], frame)


def test_tensors_have_one_shape_with_resize(cluster: None, folder: Path) -> None:
    refs = refs_of(folder)[:40]
    table = pa.table({"obs": to_arrow(refs), "n": range(len(refs))})
    dataset = blocks(table).map_batches(
        DecodeFrames({"pixels": "obs"}, resize=(24, 32), channel_format="NCHW"), batch_format="pyarrow"
    )
    batch = dataset.take_batch(40)
    order = np.argsort(batch["n"])
    expected = batch_decode(refs, resize=(24, 32), channel_format="NCHW", as_array=True)
    assert batch["pixels"].dtype == np.uint8
    np.testing.assert_array_equal(batch["pixels"][order], expected)
    assert [row["uri"] for row in batch["obs"][order]] == [ref.uri for ref in refs]


def test_blocks_are_bounded_and_a_batch_is_planned_at_once(folder: Path) -> None:
    refs = list(LazyVideo.from_uri(videos_of(folder)[0]).refs())
    table = pa.table({"obs": to_arrow(refs)})
    frame_bytes = batch_decode(refs[:1])[0].nbytes
    whole = list(DecodeFrames()(table))
    parts = list(DecodeFrames(block_bytes=7 * frame_bytes)(table))
    assert [len(part) for part in whole] == [len(refs)]
    assert {len(part) for part in parts[:-1]} == {7}
    joined = np.concatenate([part["obs"].chunk(0).to_numpy_ndarray() for part in parts])
    np.testing.assert_array_equal(joined, whole[0]["obs"].chunk(0).to_numpy_ndarray())


def test_windows_and_several_columns(cluster: None, folder: Path) -> None:
    refs = list(LazyVideo.from_uri(videos_of(folder)[0]).refs())
    others = list(LazyVideo.from_uri(videos_of(folder)[1]).refs())
    windows = [[ref.model_dump() for ref in refs[i : i + 3]] for i in range(8)]
    ragged = [[ref.model_dump() for ref in others[: i % 4]] for i in range(8)]
    table = pa.table({"obs": windows, "past": ragged, "wrist": to_arrow(others[:8]), "n": range(8)})
    rows = sorted(decoded(blocks(table, 2)), key=lambda row: int(row["n"]))
    for number, row in enumerate(rows):
        np.testing.assert_array_equal(row["obs"], batch_decode(refs[number : number + 3], as_array=True))
        np.testing.assert_array_equal(row["wrist"], batch_decode(others[number : number + 1])[0])
        assert len(row["past"]) == number % 4
        if len(row["past"]):
            np.testing.assert_array_equal(row["past"], batch_decode(others[: number % 4], as_array=True))


def test_errors_are_a_column(cluster: None, folder: Path) -> None:
    refs = [*refs_of(folder)[:3], MediaRef("/gone/clip.mp4", 0)]
    column = pa.array([*(ref.model_dump() for ref in refs), None], to_arrow(refs).type)
    table = pa.table({"obs": column, "n": range(5)})
    rows = sorted(
        decoded(blocks(table, 1), "obs", resize=(8, 8), on_error="none"), key=lambda row: int(row["n"])
    )
    assert [row["obs_error"] is None for row in rows] == [True, True, True, False, False]
    assert "MediaNotFoundError" in rows[3]["obs_error"]
    assert "null" in rows[4]["obs_error"]
    assert [bool(row["obs"].any()) for row in rows] == [True, True, True, False, False]
    with pytest.raises(Exception, match=r"clip\.mp4"):
        decoded(blocks(table.slice(0, 4), 1), "obs")
    with pytest.raises(Exception, match="null in row 1 of the batch; pass on_error='none'"):
        decoded(blocks(table.slice(3, 2), 1), "obs")


def test_frames_are_encoded(cluster: None, folder: Path) -> None:
    refs = [*refs_of(folder)[:5], MediaRef("/gone/clip.mp4", 0)]
    table = pa.table({"obs": to_arrow(refs), "n": range(6)})
    rows = sorted(decoded(blocks(table), encode="png", on_error="none"), key=lambda row: int(row["n"]))
    assert rows[5]["obs"] is None
    for row, frame in zip(rows[:5], batch_decode(refs[:5]), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(row["obs"]))), frame)


def test_windows_are_lists_of_images(folder: Path) -> None:
    refs = [*refs_of(folder)[:2], MediaRef("/gone/clip.mp4", 0)]
    table = pa.table({"obs": [[ref.model_dump() for ref in refs], []]})
    (block,) = DecodeFrames(encode="jpeg", on_error="none")(table)
    images, none = block["obs"].to_pylist()
    assert none == []
    assert images[2] is None
    sizes = [frame.shape[1::-1] for frame in batch_decode(refs[:2])]
    assert [Image.open(io.BytesIO(image)).size for image in images[:2]] == sizes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "mask"}, "expected on_error to be 'raise' or 'none'"),
        ({"encode": "webp"}, "expected encode to be 'jpeg' or 'png'"),
        ({"encode": "jpeg", "colorspace": "BGR"}, "expected colorspace of RGB or G"),
        ({"encode": "jpeg", "quality": 0}, "expected a quality from 1 to 100"),
        ({"block_bytes": 0}, "expected block_bytes of 1 or more"),
        ({"max_workers": 0}, "expected max_workers of 1 or more"),
        ({"column": "obs"}, "as columns=, found column="),
        ({"colourspace": "RGB"}, "did you mean colorspace"),
    ],
)
def test_options_are_checked_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        DecodeFrames("obs", **options)


def test_batches_that_cannot_be_decoded(folder: Path) -> None:
    refs = refs_of(folder)[:2]
    table = pa.table({"obs": to_arrow(refs), "n": [1, 2]})
    with pytest.raises(TypeError, match='pass batch_format="pyarrow"'):
        list(DecodeFrames()({"obs": np.array([1])}))  # type: ignore[arg-type]
    for columns in ("n", "gone"):
        with pytest.raises(ValueError, match="expected columns of references"):
            list(DecodeFrames(columns)(table))
    with pytest.raises(ValueError, match="expected names of new columns, found \\['n'\\]"):
        list(DecodeFrames({"n": "obs"})(table))
    assert [len(part) for part in DecodeFrames()(table.slice(0, 0))] == [0]
    mixed = [MediaRef(videos_of(folder)[0], 0), MediaRef(str(folder / "p.png"))]
    rows = pa.table({"obs": [[ref.model_dump() for ref in mixed]]})
    with pytest.raises(ValueError, match="expected frames of one shape in row 0 of the column obs"):
        list(DecodeFrames()(rows))


class _Dying:
    """Decodes as ``DecodeFrames`` does; the first process that sees the marked row is killed."""

    def __init__(self, marker: str, how: str) -> None:
        self._decode, self._marker, self._how = DecodeFrames("obs"), Path(marker), how

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        if 30 in batch["n"].to_pylist() and not self._marker.exists():
            self._marker.touch()
            if self._how == "exit":
                os._exit(1)
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        yield from self._decode(batch)


@pytest.mark.parametrize(("pool", "how"), [("actors", "kill"), ("tasks", "exit")])
def test_blocks_of_killed_workers_are_decoded_again(
    cluster: None, folder: Path, tmp_path: Path, pool: str, how: str
) -> None:
    refs = refs_of(folder)[:60]
    table = pa.table({"obs": to_arrow(refs), "n": range(60)})
    marker = str(tmp_path / "killed")
    options: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": 8}
    if pool == "actors":
        options |= {
            "fn_constructor_args": (marker, how),
            "compute": ray.data.ActorPoolStrategy(size=2),
        }
        dataset = blocks(table).map_batches(_Dying, **options)
    else:
        dataset = blocks(table).map_batches(_Dying(marker, how), **options)
    rows = sorted(dataset.take_all(), key=lambda row: int(row["n"]))
    assert Path(marker).exists()
    assert [int(row["n"]) for row in rows] == list(range(60))
    for row, frame in zip(rows, batch_decode(refs), strict=True):
        np.testing.assert_array_equal(row["obs"], frame)


def test_the_object_store_stays_within_its_bounds(cluster: None, folder: Path) -> None:
    """Frames of twice the object store go through it."""
    refs = LazyVideo.from_uri(videos_of(folder)[0]).refs()[:20] * 4
    table = pa.table({"obs": to_arrow(refs)})
    size = (500, 1000)
    assert len(refs) * size[0] * size[1] * 3 > 0.5 * OBJECT_STORE_BYTES
    dataset = ray.data.from_arrow([table] * 4).map_batches(
        DecodeFrames(resize=size, block_bytes=16 << 20), batch_format="pyarrow"
    )
    rows = 0
    for batch in dataset.iter_batches(batch_size=10, batch_format="pyarrow"):
        rows += len(batch)
    assert rows == 4 * len(refs)


def test_videos_are_indexed(cluster: None, folder: Path, tmp_path: Path) -> None:
    made = copies(folder, tmp_path, 6)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    videos = [*map(str, made), str(bad), str(tmp_path / "gone.mp4"), str(made[0])]
    into = tmp_path / "set.lance"

    report = index_videos(videos, into).to_pylist()

    states = {row["uri"]: row["state"] for row in report}
    assert len(report) == len(states) == 8
    assert [states[str(path)] for path in made] == ["added"] * 6
    failed = {row["uri"]: row["error"] for row in report if row["state"] == "failed"}
    assert set(failed) == {str(bad), str(tmp_path / "gone.mp4")}
    assert failed[str(tmp_path / "gone.mp4")].startswith("MediaNotFoundError")
    collection = CollectionIndex.open(into)
    assert sorted(collection) == sorted(map(str, made))
    index = collection.get(str(made[0]))
    assert index.timestamps().tolist() == write_frame_index(str(made[0])).timestamps().tolist()

    rows = ray.data.from_items([{"video": str(path)} for path in made] * 2)
    again = index_videos(rows, into, column="video").to_pylist()
    assert [row["state"] for row in again] == ["kept"] * 6
    with pytest.raises(ValueError, match="expected a data set with the columns \\['uri'\\]"):
        index_videos(rows, into)
    with pytest.raises(TypeError, match="wrap one in a list"):
        index_videos(str(made[0]), into)
    assert index_videos([], into).num_rows == 0
    with pytest.raises(ValueError, match="expected concurrency of 1 or more, found 0"):
        index_videos(videos, into, concurrency=0)
    with pytest.raises(ValueError, match="expected num_cpus above 0"):
        index_videos(videos, into, num_cpus=0)
    with pytest.raises(TypeError, match=r"pass them to CollectionIndex\.open"):
        index_videos(videos, collection, root=str(tmp_path))


def test_relative_uris_are_those_of_the_workers(
    cluster: None, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the caller's working directory has another video of that name, with more segments."""
    here = tmp_path / "here"
    here.mkdir()
    mine = [str(path) for path in copies(folder, here, 2)]
    into = tmp_path / "set.lance"
    index_videos({mine[0]: mine}, into)
    monkeypatch.chdir(here)
    collection = CollectionIndex.open(into)
    theirs = str(tmp_path / "theirs" / "0.mp4")
    (tmp_path / "theirs").mkdir()
    shutil.copy(mine[0], theirs)

    table = collection._table
    outcomes = [done for ended in look_at(table, {theirs: [theirs, mine[1]]}, Wanted()) for done in ended]
    (row,) = from_table(to_table(table, outcomes))
    sent = OutcomeRow(row.key, {**row.values, "uri": "0.mp4", "left_from": 1})
    batch = CommitBatch(table, lambda video: None)
    batch.put(sent.to_outcome())
    batch.commit()

    found = CollectionIndex.open(into)
    assert len(found.get(mine[0]).segments) == 2

    rows = ray.data.from_items([{"uri": "gone.mp4"}])
    (report,) = index_videos(rows, into).to_pylist()
    assert os.path.isabs(report["uri"])


def test_names_that_are_no_videos_are_rows(cluster: None, folder: Path, tmp_path: Path) -> None:
    (video, other) = map(str, copies(folder, tmp_path, 2))
    into = tmp_path / "set.lance"
    wrong: list[Any] = ["", "a\0b.mp4", "x\udcff.mp4", None, 5]
    report = index_videos([video, *wrong], into).to_pylist()
    assert sorted(row["state"] for row in report) == ["added", *["failed"] * len(wrong)]
    assert all(row["error"].startswith("InvalidReferenceError") for row in report if row["error"])
    rows = ray.data.from_arrow(pa.table({"uri": [None, "", video]}))
    assert sorted(index_videos(rows, into)["state"].to_pylist()) == ["failed", "failed", "kept"]
    numbers = ray.data.from_arrow(pa.table({"uri": [1, 2]}))
    assert index_videos(numbers, into)["state"].to_pylist() == ["failed", "failed"]

    spellings = {video: [video, other], f"file://{video}": [video]}
    report = sorted(index_videos(spellings, into).to_pylist(), key=lambda row: row["state"])
    assert [(row["state"], row["segments"]) for row in report] == [("failed", 0), ("replaced", 2)]
    clash = ray.data.from_items([{"uri": other, "parts": parts} for parts in ([other], [other, video])])
    clash = clash.repartition(2)
    assert "failed" in index_videos(clash, into, segments_column="parts")["state"].to_pylist()


def test_urls_that_differ_in_their_query_are_rows(cluster: None, folder: Path, tmp_path: Path) -> None:
    (video,) = copies(folder, tmp_path, 1)
    with ObjectServer({"/clip.mp4": video.read_bytes()}) as server:
        urls = [server.url(f"/clip.mp4?id={number}") for number in (1, 2)]
        report = index_videos(urls, tmp_path / "set.lance").to_pylist()
    assert sorted(row["state"] for row in report) == ["added", "failed"]


def test_recordings_of_several_files_are_indexed(cluster: None, folder: Path, tmp_path: Path) -> None:
    parts = [str(path) for path in copies(folder, tmp_path, 2)]
    report = index_videos({parts[0]: parts}, tmp_path / "set.lance").to_pylist()
    assert [(row["state"], row["segments"]) for row in report] == [("added", 2)]
    rows = ray.data.from_items([{"uri": parts[1], "files": parts[::-1]}])
    report = index_videos(rows, tmp_path / "set.lance", segments_column="files").to_pylist()
    assert [(row["state"], row["segments"]) for row in report] == [("added", 2)]


def test_rows_are_sorted_by_run(cluster: None, folder: Path) -> None:
    refs = refs_of(folder)
    lost = [MediaRef(refs[0].uri, 10**15), MediaRef("/gone/clip.mp4", 0)]
    rows = [ref.model_dump() for ref in [*refs, *lost]]
    table = pa.table({"obs": pa.array([*rows, None], to_arrow(refs).type), "n": range(len(rows) + 1)})

    found = sort_by_run(blocks(table), "obs")

    assert found.columns() == ["obs", "n"]
    blocks_of = [ray.get(ref) for ref in found.to_arrow_refs()]
    names = [row for block in blocks_of for row in block["n"].to_pylist()]
    assert sorted(names) == list(range(len(rows) + 1))
    runs = [runs_of(block["obs"].to_pylist()) for block in blocks_of if len(block)]
    assert sum(len(some) for some in runs) == len(set().union(*runs)) > 4
    kept = pa.concat_tables(blocks_of).to_pylist()
    for video in videos_of(folder):
        times = [row["obs"]["pts_ns"] for row in kept if row["obs"] and row["obs"]["uri"] == video]
        assert times == sorted(times)
    assert kept[-1]["obs"] is None


def test_errors_survive_the_way_from_an_actor(cluster: None, folder: Path) -> None:
    table = pa.table({"obs": to_arrow([MediaRef("/gone/clip.mp4", 0)])})
    with pytest.raises(Exception) as raised:
        decoded(blocks(table, 1), "obs")
    causes, error = [], raised.value
    while error is not None and error not in causes:
        causes.append(error)
        error = getattr(error, "cause", None) or error.__cause__
    assert any(isinstance(cause, MediaNotFoundError) for cause in causes), causes


def test_the_page(
    cluster: None,
    example_files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_library_page("ray.md", example_files, tmp_path, monkeypatch, capsys)
