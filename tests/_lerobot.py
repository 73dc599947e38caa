"""A LeRobot data set on disk: two cameras and depth, three shards, deleted episodes, drifting starts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TOP, WRIST, DEPTH = "observation.images.top", "observation.images.wrist", "observation.images.depth"
FPS = 30


@dataclass
class DataSet:
    """What was written, and the frame of each row.

    Attributes:
        root: The folder.
        frames: By camera and episode, ``(n, H, W, C)`` as a linear decode gives them.
        lengths: Of the episodes that are there, by number.
    """

    root: Path
    frames: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)


def write_shard(path: Path, lengths: list[int], seed: int, *, is_depth: bool = False) -> list[np.ndarray]:
    """Write a video that holds episodes one after another; return the frames of each as they are decoded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as file:
        codec, options = ("ffv1", {}) if is_depth else ("libx264", {"g": "7", "crf": "20"})
        stream: Any = file.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "gray12le" if is_depth else "yuv420p"
        for number in range(sum(lengths)):
            if is_depth:
                frame = av.VideoFrame(64, 48, "gray12le")
                rows = np.zeros((48, frame.planes[0].line_size // 2), np.uint16)
                rows[:, :64] = random.integers(0, 1 << 12, (48, 64))
                frame.planes[0].update(rows.tobytes())
            else:
                picture = np.kron(random.integers(0, 255, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with av.open(str(path)) as file:
        decoded = list(file.decode(video=0))
    if is_depth:
        pictures = [
            np.frombuffer(memoryview(f.planes[0]), "<u2").reshape(48, -1)[:, :64, None] for f in decoded
        ]
    else:
        pictures = [f.to_ndarray(format="rgb24") for f in decoded]
    ends = np.cumsum(lengths).tolist()
    return [np.stack(pictures[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def write_data_set(root: Path, *, drift: float = 0.3, float32: bool = True) -> DataSet:
    """Write nine episodes in three shards, two of them deleted later; starts drift by a part of a frame."""
    made = DataSet(root, {TOP: {}, WRIST: {}, DEPTH: {}})
    shards = [[12, 7, 9], [20, 5], [8, 11, 6, 10]]
    deleted = {1, 6}
    random = np.random.default_rng(1)
    episodes: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    number = 0
    for shard, lengths in enumerate(shards):
        decoded = {
            camera: write_shard(
                root / f"videos/{camera}/chunk-000/file-{shard:03d}.{'mkv' if camera == DEPTH else 'mp4'}",
                lengths,
                seed=10 * shard + place,
                is_depth=camera == DEPTH,
            )
            for place, camera in enumerate((TOP, WRIST, DEPTH))
        }
        begin = 0
        for place, length in enumerate(lengths):
            if number not in deleted:
                made.lengths[number] = length
                for camera, parts in decoded.items():
                    made.frames[camera][number] = parts[place]
                episodes.append(_episode(number, shard, begin, length, len(rows), drift, random))
                rows += [
                    {
                        "observation.state": [float(number), float(i)],
                        "timestamp": i / FPS,
                        "frame_index": i,
                        "episode_index": number,
                        "index": len(rows) + i,
                        "task_index": number % 2,
                    }
                    for i in range(length)
                ]
            begin += length
            number += 1
    _write_tables(root, episodes, rows, float32=float32)
    return made


def _episode(
    number: int,
    shard: int,
    begin: int,
    length: int,
    first_row: int,
    drift: float,
    random: np.random.Generator,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "episode_index": number,
        "length": length,
        "dataset_from_index": first_row,
        "dataset_to_index": first_row + length,
        "data/chunk_index": 0,
        "data/file_index": int(number >= 5),
        "stats/x": [1.0],
    }
    for camera in (TOP, WRIST, DEPTH):
        start = (begin + random.uniform(-drift, drift)) / FPS
        row |= {
            f"videos/{camera}/chunk_index": 0,
            f"videos/{camera}/file_index": shard,
            f"videos/{camera}/from_timestamp": max(0.0, start),
            f"videos/{camera}/to_timestamp": start + length / FPS,
        }
    return row


def _write_tables(
    root: Path, episodes: list[dict[str, Any]], rows: list[dict[str, Any]], *, float32: bool
) -> None:
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    half = len(episodes) // 2
    for number, part in enumerate((episodes[:half], episodes[half:])):
        pq.write_table(
            pa.Table.from_pylist(part), root / f"meta/episodes/chunk-000/file-{number:03d}.parquet"
        )
    schema = pa.schema(
        [
            ("observation.state", pa.list_(pa.float32(), 2)),
            ("timestamp", pa.float32() if float32 else pa.float64()),
            *((name, pa.int64()) for name in ("frame_index", "episode_index", "index", "task_index")),
        ]
    )
    for number in (0, 1):
        mine = [row for row in rows if int(row["episode_index"] >= 5) == number]
        pq.write_table(
            pa.Table.from_pylist(mine, schema=schema), root / f"data/chunk-000/file-{number:03d}.parquet"
        )
    pq.write_table(pa.table({"task_index": [0, 1], "task": ["push", "pull"]}), root / "meta/tasks.parquet")
    video = {"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channels"]}
    info = {
        "codebase_version": "v3.0",
        "fps": FPS,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            TOP: video,
            WRIST: video,
            "observation.state": {"dtype": "float32", "shape": [2]},
            DEPTH: {**video, "info": {"is_depth_map": True}},
        },
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    for path in (root / f"videos/{DEPTH}/chunk-000").glob("*.mkv"):
        path.rename(path.with_suffix(".mp4"))  # as LeRobot names them, whatever they are


def write_version_2(root: Path) -> DataSet:
    """Write three episodes of version 2.1, each with files of its own."""
    made = DataSet(root, {TOP: {}})
    (root / "meta").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    lines = []
    for number, length in enumerate((6, 9, 4)):
        path = root / f"videos/chunk-000/{TOP}/episode_{number:06d}.mp4"
        made.frames[TOP][number] = write_shard(path, [length], seed=number)[0]
        made.lengths[number] = length
        lines.append(json.dumps({"episode_index": number, "tasks": ["push"], "length": length}))
        table = pa.table(
            {
                "timestamp": pa.array(np.arange(length) / FPS, pa.float32()),
                "frame_index": range(length),
                "episode_index": [number] * length,
                "task_index": [0] * length,
            }
        )
        pq.write_table(table, root / f"data/chunk-000/episode_{number:06d}.parquet")
    (root / "meta/episodes.jsonl").write_text("\n".join(lines))
    (root / "meta/tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": "push"}))
    info = {
        "codebase_version": "v2.1",
        "fps": FPS,
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {TOP: {"dtype": "video"}},
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    return made
