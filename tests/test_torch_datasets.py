"""Data sets of references in torch's loaders: each row its own frame, each row once, and going on exactly."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _media import CLIP_NAMES, Clip
from _oracle import linear_frames
from _s3 import new_bucket
from PIL import Image

from mediaref_ursa import (
    InvalidReferenceError,
    LazyVideo,
    MediaNotFoundError,
    MediaRefError,
    UnsupportedMediaError,
    counters,
)

torch: Any = pytest.importorskip("torch", reason="torch is not installed")
DataLoader: Any = pytest.importorskip("torch.utils.data").DataLoader
ours: Any = pytest.importorskip("mediaref_ursa.torch")
RefDataset, RunShuffleDataset, RunBatchSampler = ours.RefDataset, ours.RunShuffleDataset, ours.RunBatchSampler
WindowDataset, collate = ours.WindowDataset, ours.collate

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

GetClip = Callable[[str], Clip]
REF = pa.struct([("uri", pa.string()), ("pts_ns", pa.int64())])


class Data:
    """A table of rows over three videos, and the frame that each names."""

    def __init__(self, folder: Path, clip: str, videos: int = 3) -> None:
        self.rgb = np.stack([frame.rgb for frame in linear_frames(clip)])
        times = [round(frame.time * 10**9) for frame in linear_frames(clip)]
        self.paths = [str(shutil.copy(clip, folder / f"{number}.mp4")) for number in range(videos)]
        self.rows = [(path, i) for path in self.paths for i in range(len(times))]
        frames = [{"uri": path, "pts_ns": times[i]} for path, i in self.rows]
        window = [
            [{"uri": path, "pts_ns": times[max(0, i - back)]} for back in (2, 0)] for path, i in self.rows
        ]
        self.table = pa.table(
            {
                "frame": pa.array(frames, REF),
                "window": pa.array(window, pa.list_(REF)),
                "row": pa.array(range(len(frames)), pa.int64()),
                "task": [f"task {number}" for number in range(len(frames))],
                "action": pa.array(
                    [[float(number), 0.5] for number in range(len(frames))], pa.list_(pa.float32(), 2)
                ),
            }
        )

    def __len__(self) -> int:
        return len(self.rows)

    def frame(self, row: int) -> np.ndarray:
        return self.rgb[self.rows[row][1]].transpose(2, 0, 1)

    def window(self, row: int) -> np.ndarray:
        i = self.rows[row][1]
        return np.stack([self.rgb[max(0, i - 2)], self.rgb[i]]).transpose(0, 3, 1, 2)

    def check(self, batch: dict[str, Any], frame: str = "obs", window: str = "past") -> list[int]:
        rows: list[int] = batch["row"].tolist()
        for position, row in enumerate(rows):
            if frame in batch:
                assert np.array_equal(batch[frame][position], self.frame(row))
            if window in batch:
                assert np.array_equal(batch[window][position], self.window(row))
            assert batch["task"][position] == f"task {row}"
            assert batch["action"][position].tolist() == [row, 0.5]
        return rows


@pytest.fixture
def data(clip: GetClip, tmp_path: Path) -> Data:
    return Data(tmp_path, clip("h264_idr_mp4").path)


KEYS = {"obs": "frame", "past": "window"}


def test_rows_are_samples_and_batches(data: Data) -> None:
    dataset = RefDataset(data.table, KEYS)
    assert len(dataset) == len(data)
    sample = dataset[5]
    assert np.array_equal(sample["obs"], data.frame(5))
    assert np.array_equal(sample["past"], data.window(5))
    assert (sample["row"].item(), sample["task"], sample["obs"].dtype) == (5, "task 5", torch.uint8)
    assert np.array_equal(dataset[-1]["obs"], data.frame(len(data) - 1))
    rows = np.random.default_rng(0).permutation(len(data))[:40].tolist()
    assert data.check(dataset.batch(rows)) == rows
    assert data.check(collate(dataset.__getitems__(rows))) == rows
    with pytest.raises(IndexError, match="expected rows from 0"):
        dataset[len(data)]


def test_one_plan_decodes_each_frame_of_a_batch_once(data: Data) -> None:
    dataset = RefDataset(data.table, KEYS)
    before = counters()
    dataset.batch(list(range(20)))
    assert counters().packets_decoded - before.packets_decoded <= 20 + 4


def test_options_are_those_of_batch_decode(data: Data) -> None:
    dataset = RefDataset(data.table, "frame", resize=(24, 32), channel_format="NHWC", colorspace="G")
    assert dataset[0]["frame"].shape == (24, 32, 1)
    assert dataset[0]["window"][1] == {"uri": data.paths[0], "pts_ns": 0}
    for wrong in ({"resize": (0, 1)}, {"on_error": "mask"}, {"colorspace": "X"}, {"match": "x"}):
        with pytest.raises(ValueError, match="expected"):
            RefDataset(data.table, "frame", **wrong)
    with pytest.raises(TypeError, match="found nothing_such"):
        RefDataset(data.table, "frame", nothing_such=1)


@pytest.mark.parametrize("columns", ["row", ["frame", "none"], {"x": "task"}, []])
def test_columns_that_hold_no_references(data: Data, columns: Any) -> None:
    with pytest.raises(InvalidReferenceError, match="expected columns of references"):
        RefDataset(data.table, columns)


def test_keys_may_not_hide_columns(data: Data) -> None:
    with pytest.raises(ValueError, match="row"):
        RefDataset(data.table, {"row": "frame"})


def test_all_columns_of_references_without_names(data: Data) -> None:
    dataset = RefDataset(data.table)
    assert dataset.columns == {"frame": "frame", "window": "window"}
    assert data.check(dataset.batch([3, 1]), "frame", "window") == [3, 1]


def test_tables_in_files(data: Data, tmp_path: Path) -> None:
    pq.write_table(data.table, tmp_path / "rows.parquet", row_group_size=7)
    (tmp_path / "many").mkdir()
    pq.write_table(data.table.slice(0, 30), tmp_path / "many" / "0.parquet")
    pq.write_table(data.table.slice(30), tmp_path / "many" / "1.parquet")
    lance.write_dataset(data.table, str(tmp_path / "rows.lance"))
    for source in ("rows.parquet", "many", "rows.lance"):
        dataset = pickle.loads(pickle.dumps(RefDataset(tmp_path / source, KEYS)))
        assert data.check(dataset.batch([40, 2, 2])) == [40, 2, 2]
    some = RefDataset(tmp_path / "rows.parquet", "frame", read_columns=["frame", "row"])
    assert set(some[3]) == {"frame", "row"}
    with pytest.raises(InvalidReferenceError, match="none"):
        RefDataset(tmp_path / "rows.parquet", read_columns=["none"])
    for missing in ("gone.parquet", "gone.lance"):
        with pytest.raises(MediaNotFoundError):
            RefDataset(tmp_path / missing)


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_loaders_of_every_kind(data: Data, tmp_path: Path, context: str) -> None:
    pq.write_table(data.table, tmp_path / "rows.parquet")
    dataset = RefDataset(tmp_path / "rows.parquet", KEYS)
    dataset[0]  # decoders are there before the fork
    loader = DataLoader(
        dataset,
        batch_size=16,
        shuffle=True,
        num_workers=2,
        collate_fn=collate,
        multiprocessing_context=context,
    )
    seen = [row for batch in loader for row in data.check(batch)]
    assert sorted(seen) == list(range(len(data)))


def test_batches_of_workers_are_in_shared_memory(data: Data) -> None:
    loader = DataLoader(RefDataset(data.table, KEYS), batch_size=8, num_workers=1, collate_fn=collate)
    batch = next(iter(loader))
    assert batch["obs"].is_shared()
    assert batch["past"].is_contiguous()
    data.check(batch)


def test_a_transform_gets_samples_and_torch_collates_them(data: Data) -> None:
    def small(sample: dict[str, Any]) -> dict[str, Any]:
        return {"mean": sample["obs"].float().mean(), "row": sample["row"]}

    loader = DataLoader(RefDataset(data.table, {"obs": "frame"}, transform=small), batch_size=10)
    batch = next(iter(loader))
    assert torch.allclose(
        batch["mean"], torch.tensor([data.frame(i).mean() for i in range(10)], dtype=torch.float32)
    )
    plain = next(iter(DataLoader(RefDataset(data.table.drop_columns("window"), "frame"), batch_size=4)))
    assert data.check({**plain, "obs": plain["frame"]}) == [0, 1, 2, 3]


def with_a_missing_file(data: Data) -> pa.Table:
    rows = data.table.to_pylist()
    rows[3]["frame"]["uri"] = "gone.mp4"
    rows[4]["window"][1]["uri"] = "gone.mp4"
    return pa.Table.from_pylist(rows, schema=data.table.schema)


def test_a_reference_that_fails_is_named_or_none(data: Data) -> None:
    table = with_a_missing_file(data)
    with pytest.raises(MediaRefError, match=r"gone\.mp4"):
        RefDataset(table, KEYS).batch([2, 3])
    dataset = RefDataset(table, KEYS, on_error="none")
    assert dataset[3]["obs"] is None
    assert dataset[4]["past"] is None
    assert dataset[2]["obs"] is not None
    batch = dataset.batch([2, 3, 4])
    assert batch["obs_is_missing"].tolist() == [False, True, False]
    assert batch["past_is_missing"].tolist() == [[False, False], [False, False], [False, True]]
    assert not batch["obs"][1].any()
    assert not batch["past"][2, 1].any()
    assert np.array_equal(batch["past"][2, 0], data.window(4)[0])
    assert dataset.batch([3])["obs"] is None
    changed = collate([dict(sample) for sample in dataset.__getitems__([2, 3])])
    assert changed["obs_is_missing"].tolist() == [False, True]
    assert np.array_equal(changed["obs"][0], data.frame(2))
    assert not changed["obs"][1].any()


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_raise_what_names_the_reference(data: Data, workers: int) -> None:
    table = with_a_missing_file(data)
    with pytest.raises(MediaRefError, match=r"gone\.mp4"):
        list(DataLoader(RefDataset(table, KEYS), batch_size=8, num_workers=workers, collate_fn=collate))
    with pytest.raises(MediaRefError, match=r"gone\.mp4"):
        list(DataLoader(RunShuffleDataset(RefDataset(table, KEYS)), batch_size=None, num_workers=workers))
    given = RunShuffleDataset(RefDataset(table, KEYS, on_error="none"), batch_size=5)
    missing = 0
    rows = []
    for batch in DataLoader(given, batch_size=None, num_workers=workers):
        rows += batch["row"].tolist()
        missing += int(batch["obs_is_missing"].sum()) + int(batch["past_is_missing"].sum())
    assert sorted(rows) == list(range(len(data)))
    assert missing == 2


def test_a_killed_worker_is_an_error_and_no_hang(data: Data) -> None:
    def die(sample: dict[str, Any]) -> dict[str, Any]:
        if sample["row"] == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return sample

    dataset = RunShuffleDataset(RefDataset(data.table, KEYS, transform=die), batch_size=4)
    with pytest.raises(RuntimeError, match="worker"):
        list(DataLoader(dataset, batch_size=None, num_workers=2, timeout=60))


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("world", [1, 3])
def test_shuffled_by_runs_each_row_comes_once_with_its_frames(data: Data, world: int, workers: int) -> None:
    seen = []
    for rank in range(world):
        dataset = RunShuffleDataset(
            RefDataset(data.table, KEYS), 7, seed=4, rank=rank, world_size=world, buffer_references=20
        )
        loader = DataLoader(dataset, batch_size=None, num_workers=workers)
        batches = list(loader)
        assert len(batches) == len(dataset)
        for batch in batches:
            seen += data.check(batch)
    assert sorted(seen) == list(range(len(data)))


def test_shuffled_by_runs_each_frame_is_decoded_once(data: Data) -> None:
    twice = pa.concat_tables([data.table, data.table.slice(30, 40)])
    dataset = RunShuffleDataset(RefDataset(twice, "frame"), 7, buffer_references=30)
    before = counters()
    assert sum(len(batch["row"]) for batch in dataset) == len(twice)
    assert counters().packets_decoded - before.packets_decoded <= 1.1 * len(twice)


def order_of(loader: Any) -> list[list[int]]:
    return [batch["row"].tolist() for batch in loader]


@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize("stop", [0, 1, 5, 12, 17])
def test_going_on_equals_no_stop(data: Data, workers: int, stop: int) -> None:
    def made() -> tuple[Any, Any]:
        dataset = RunShuffleDataset(RefDataset(data.table, KEYS), 5, seed=9, buffer_references=25)
        return dataset, DataLoader(dataset, batch_size=None, num_workers=workers)

    whole, loader = made()
    expected = []
    for epoch in (3, 4):
        whole.set_epoch(epoch)
        expected.append(order_of(whole.track(loader)))
    stopped, loader = made()
    stopped.set_epoch(3)
    given = []
    for batch in stopped.track(loader):
        if len(given) == stop:
            break
        given.append(batch["row"].tolist())
    else:
        assert stop >= len(stopped)
    state = pickle.loads(pickle.dumps(stopped.state_dict()))
    if stop < len(stopped):
        assert state["batches"] == stop + 1  # the one at which it stopped was given out too
        given.append(expected[0][stop])
    again, loader = made()
    again.load_state_dict(state)
    again.set_epoch(state["epoch"])
    tracked = again.track(loader)
    rest = []
    for batch in tracked:
        data.check(batch)
        rest.append(batch["row"].tolist())
    assert given + rest == expected[0]
    again.set_epoch(4)
    assert order_of(again.track(loader)) == expected[1]


def test_a_state_counts_what_this_process_gave_out(data: Data) -> None:
    dataset = RunShuffleDataset(RefDataset(data.table, KEYS), 5)
    batches = iter(DataLoader(dataset, batch_size=None))
    first = [next(batches)["row"].tolist() for _ in range(4)]
    state = dataset.state_dict()
    assert (state["epoch"], state["batches"]) == (0, 4)
    again = RunShuffleDataset(RefDataset(data.table, KEYS), 5)
    again.load_state_dict(state)
    assert first + order_of(again) == order_of(RunShuffleDataset(RefDataset(data.table, KEYS), 5))
    assert order_of(again) == first + order_of(again)[4:]  # the next pass begins at its beginning


def test_a_state_that_nothing_counted_is_an_error(data: Data) -> None:
    dataset = RunShuffleDataset(RefDataset(data.table, KEYS), 5)
    next(iter(DataLoader(dataset, batch_size=None, num_workers=2)))
    with pytest.raises(RuntimeError, match="track"):
        dataset.state_dict()
    with pytest.raises(ValueError, match="in_order"):
        next(dataset.track(DataLoader(dataset, batch_size=None, num_workers=1, in_order=False)))


def test_states_of_another_order_are_refused(data: Data) -> None:
    dataset = RunShuffleDataset(RefDataset(data.table, KEYS), 5, seed=1)
    state = dataset.state_dict()
    for other in (
        RunShuffleDataset(RefDataset(data.table, KEYS), 5, seed=2),
        RunShuffleDataset(RefDataset(data.table, KEYS), 6, seed=1),
        RunShuffleDataset(RefDataset(data.table.slice(1), KEYS), 5, seed=1),
        RunShuffleDataset(RefDataset(data.table, KEYS), 5, seed=1, rank=1, world_size=2),
        RunShuffleDataset(RefDataset(data.table, KEYS), 5, seed=1, drop_last=True),
        RunShuffleDataset(RefDataset(data.table, KEYS), 5, seed=1, even_shards=True),
    ):
        with pytest.raises(ValueError, match="expected a state with"):
            other.load_state_dict(state)
    dataset.load_state_dict({**state, "batches": 2, "num_workers": 3})
    with pytest.raises(ValueError, match="expected 3 workers"):
        next(iter(DataLoader(dataset, batch_size=None, num_workers=2)))


def test_workers_that_outlive_an_epoch(data: Data) -> None:
    dataset = RunShuffleDataset(RefDataset(data.table, KEYS), 5, seed=1)
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)
    found = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        found.append(order_of(loader))
    fresh = RunShuffleDataset(RefDataset(data.table, KEYS), 5, seed=1)
    fresh.set_epoch(2)
    assert order_of(DataLoader(fresh, batch_size=None, num_workers=2)) == found[2]
    assert found[0] != found[1] != found[2]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 6])
@pytest.mark.filterwarnings("ignore")  # of torchdata
def test_a_stateful_loader_goes_on(data: Data, workers: int, stop: int) -> None:
    torchdata: Any = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

    def made() -> Any:
        dataset = RunShuffleDataset(RefDataset(data.table, KEYS), 5, seed=9, buffer_references=25)
        return torchdata.StatefulDataLoader(dataset, batch_size=None, num_workers=workers)

    expected = order_of(made())
    loader = made()
    batches = iter(loader)
    first = [next(batches)["row"].tolist() for _ in range(stop)]
    state = loader.state_dict()
    again = made()
    again.load_state_dict(state)
    assert first + order_of(again) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_sampler_for_map_style_data_sets(data: Data, workers: int) -> None:
    dataset = RefDataset(data.table, KEYS)

    def made(**options: Any) -> tuple[Any, Any]:
        sampler = RunBatchSampler(dataset, 6, num_workers=workers, seed=2, buffer_references=15, **options)
        return sampler, DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate)

    sampler, loader = made()
    assert len(loader) == len(sampler)
    expected = [data.check(batch) for batch in loader]
    assert sorted(row for batch in expected for row in batch) == list(range(len(data)))
    parts = [order_of(made(rank=rank, world_size=2)[1]) for rank in range(2)]
    assert sorted(row for part in parts for batch in part for row in batch) == list(range(len(data)))
    sampler, loader = made()
    given = []
    for batch in sampler.track(loader):
        given.append(batch["row"].tolist())
        if len(given) == 4:
            break
    state = sampler.state_dict()
    assert state["batches"] == 4
    again, loader = made()
    again.load_state_dict(state)
    assert given + order_of(again.track(loader)) == expected
    assert order_of(again.track(loader)) == expected
    with pytest.raises(ValueError, match="expected a loader of"):
        next(again.track(DataLoader(dataset, batch_sampler=again, num_workers=1)))


def test_images_need_a_size_and_runs_take_mixed_media(data: Data, tmp_path: Path) -> None:
    Image.fromarray(data.rgb[0]).save(tmp_path / "a.png")
    rows = [{"uri": data.paths[0], "pts_ns": 0}, {"uri": str(tmp_path / "a.png"), "pts_ns": None}]
    table = pa.table({"frame": pa.array(rows * 4, REF), "row": range(8)})
    with pytest.raises(UnsupportedMediaError, match="resize"):
        RunShuffleDataset(RefDataset(table), 3)
    height, width = data.rgb.shape[1:3]
    dataset = RunShuffleDataset(RefDataset(table, resize=(height, width)), 3)
    for batch in dataset:
        for frame in batch["frame"]:
            assert np.array_equal(frame, data.frame(0))


def test_a_buffer_that_holds_no_row(data: Data) -> None:
    with pytest.raises(ValueError, match="buffer_bytes"):
        RunShuffleDataset(RefDataset(data.table, KEYS), 5, buffer_bytes=1000)


def test_windows_of_videos(data: Data) -> None:
    videos = [LazyVideo.from_uri(path) for path in data.paths[:2]]
    windows = WindowDataset(videos, seconds=0.4, stride=0.2)
    video = videos[0]
    times = video.timestamps
    count = len(windows)
    assert count % 2 == 0
    for number in range(count):
        sample = windows[number]
        start = times[0] + number % (count // 2) * 0.2
        inside = (times >= start) & (times < start + 0.4)
        assert np.array_equal(sample["frames"], data.rgb[inside].transpose(0, 3, 1, 2))
        assert sample["timestamps"].tolist() == times[inside].tolist()
        assert sample["video"] == number // (count // 2)
    assert windows.bounds(count // 2 - 1)[2] <= video.domain.end[0] + 1e-6
    even = WindowDataset(video, seconds=0.4, frames=4)
    for number in range(len(even)):
        _, start, _ = even.bounds(number)
        asked = [video.frame_at(start + 0.1 * step) for step in range(4)]
        assert np.array_equal(even[number]["frames"], np.stack(asked))
    loader = DataLoader(even, batch_size=2, num_workers=2)
    assert next(iter(loader))["frames"].shape[:2] == (2, 4)
    with pytest.raises(IndexError, match="expected a window"):
        windows[count]
    with pytest.raises(ValueError, match="stride"):
        WindowDataset(video, seconds=1.0, stride=0.0)


PLANE_OPTIONS: list[dict[str, Any]] = [
    {},
    {"colorspace": "G"},
    {"colorspace": "RGBA", "channel_format": "NHWC"},
    {"crop": (2, 4, 30, 40), "colorspace": "BGR"},
    {"crop": (2, 4, 30, 40), "channel_format": "NHWC"},
]


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_planes_become_the_very_pixels(clip: GetClip, name: str) -> None:
    path = str(clip(name).path)
    try:
        frames = linear_frames(path)[:3]
    except LookupError:
        pytest.skip("no video")
    rows = [{"uri": path, "pts_ns": round(frame.time * 10**9)} for frame in frames]
    table = pa.table({"frame": pa.array(rows, REF)})
    dataset = RefDataset(table, frames="yuv420")
    first = frames[0].frame
    if first.format.name not in ("yuv420p", "yuvj420p") or first.interlaced_frame:
        with pytest.raises(MediaRefError):
            dataset[0]
        return
    planes = dataset.batch(range(len(rows)))["frame"]
    for options in PLANE_OPTIONS:
        pixels = RefDataset(table, **options).batch(range(len(rows)))["frame"]
        assert torch.equal(ours.yuv420_to_rgb(planes, **options), pixels), options
    assert ours.yuv420_to_rgb(planes[None]).shape == (1, len(rows), 3, *frames[0].rgb.shape[:2])


def test_planes_in_a_loader_and_what_has_none(data: Data, clip: GetClip, tmp_path: Path) -> None:
    rows = RefDataset(data.table, KEYS, frames="yuv420")
    loader = DataLoader(RunShuffleDataset(rows, 5, buffer_references=20), batch_size=None, num_workers=2)
    seen = []
    for batch in loader:
        converted = {**batch, **{key: ours.yuv420_to_rgb(batch[key]) for key in KEYS}}
        seen += data.check(converted)
    assert sorted(seen) == list(range(len(data)))
    with pytest.raises(ValueError, match="yuv420_to_rgb"):
        RefDataset(data.table, frames="yuv420", resize=(8, 8))
    with pytest.raises(ValueError, match="'rgb' or 'yuv420'"):
        RefDataset(data.table, frames="nv12")
    for wrong in (torch.zeros(100, dtype=torch.uint8), torch.zeros(10, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="planes of a frame"):
            ours.yuv420_to_rgb(wrong)
    deep = pa.table({"frame": pa.array([{"uri": str(clip("h264_10bit_mp4").path), "pts_ns": 0}], REF)})
    with pytest.raises(UnsupportedMediaError, match="8-bit 4:2:0"):
        RefDataset(deep, frames="yuv420")[0]
    Image.fromarray(data.rgb[0]).save(tmp_path / "a.png")
    picture = pa.table({"frame": pa.array([{"uri": str(tmp_path / "a.png"), "pts_ns": None}], REF)})
    with pytest.raises(UnsupportedMediaError, match="images"):
        RefDataset(picture, frames="yuv420")[0]


def test_tables_are_read_with_the_options_of_the_media(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(monkeypatch)
    pq.write_table(data.table, tmp_path / "rows.parquet")
    table = bucket.put("rows.parquet", (tmp_path / "rows.parquet").read_bytes())
    dataset = RefDataset(table, KEYS, storage_options=bucket.options)
    assert data.check(pickle.loads(pickle.dumps(dataset)).batch([4])) == [4]
    asked: list[Any] = []
    monkeypatch.setattr(
        "mediaref_ursa.torch._tables.read_rows", lambda where, columns: (asked.append(where), data.table)[1]
    )
    RefDataset(tmp_path / "rows.lance", KEYS, untrusted=True)
    assert [where.access.untrusted for where in asked] == [True]
