"""Ray Data with two actors against two plain processes: the same references, decoded in the same batches.

Run it by hand, with nothing else running, on two cores::

    python benchmarks/ray_decode.py --folder FOLDER

Both sides decode whole runs, with one thread a process. Frames of both are counted where they end: in
the process that decoded them, or where Ray gives them out. Plain processes come first and last.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from _bench_media import RECIPES, make

from mediaref_ursa import LazyVideo, batch_decode, write_frame_index
from mediaref_ursa.ray import DecodeFrames, sort_by_run
from mediaref_ursa.table import to_arrow

_SIZE = (224, 224)
_BATCH = 256
_SECONDS_OF_VIDEO = 60
_VIDEOS = 4


@dataclass(frozen=True)
class Result:
    """What both gave.

    Attributes:
        media: The recipe of the videos.
        encode: How Ray's frames leave the actors.
        plain: Frames a second of two processes, the median of the repeats.
        with_start: The same of Ray, from the beginning of the job on.
        ray: The same of Ray, from its first block on.
        ratio: ``ray / plain``.
        spilled_bytes: What the object store wrote to disk.
        store_bytes: Its bound.
    """

    media: str
    encode: str | None
    plain: float
    with_start: float
    ray: float
    ratio: float
    spilled_bytes: int
    store_bytes: int


def table_of(folder: Path, name: str) -> pa.Table:
    """Return the references to all frames of some copies of a video, in order."""
    source = make(RECIPES[name], folder, _SECONDS_OF_VIDEO)
    refs = []
    for number in range(_VIDEOS):
        video = folder / f"{name}-{number}{source.suffix}"
        if not video.exists():
            video.symlink_to(source)
        write_frame_index(str(video), if_exists="keep")
        refs += LazyVideo.from_uri(str(video)).refs()
    return pa.table({"frame": to_arrow(refs)})


def batches(table: pa.Table) -> Iterator[pa.Table]:
    """Yield the batches of a table."""
    for first in range(0, len(table), _BATCH):
        yield table.slice(first, _BATCH)


def decode_alone(parts: list[pa.Table], ready: Any, begin: Any) -> None:
    """Decode some batches in a process of its own."""
    batch_decode(parts[0], resize=_SIZE, as_array=True, max_workers=1)
    ready.release()
    begin.wait()
    for part in parts:
        batch_decode(part, resize=_SIZE, as_array=True, max_workers=1)


def plain(table: pa.Table) -> float:
    """Return frames a second of two processes that share nothing."""
    context = multiprocessing.get_context("spawn")
    parts = list(batches(table))
    ready, begin = context.Semaphore(0), context.Event()
    processes = [
        context.Process(target=decode_alone, args=(parts[number::2], ready, begin)) for number in range(2)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    began = time.perf_counter()
    begin.set()
    for process in processes:
        process.join()
    return len(table) / (time.perf_counter() - began)


def with_ray(table: pa.Table, encode: Any) -> tuple[float, float]:
    """Return frames a second of Ray: from the beginning, and from the first block on."""
    dataset = ray.data.from_arrow(list(batches(table))).map_batches(
        DecodeFrames,
        fn_constructor_kwargs={"resize": _SIZE, "encode": encode},
        batch_format="pyarrow",
        batch_size=None,
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    began = time.perf_counter()
    counts, times = [], []
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        counts.append(len(batch))
        times.append(time.perf_counter())
    assert sum(counts) == len(table)
    return len(table) / (times[-1] - began), sum(counts[1:]) / (times[-1] - times[0])


def spilled() -> int:
    """Return how many bytes the object store wrote to disk."""
    from ray._private.internal_api import memory_summary

    text = memory_summary(stats_only=True)
    found = [line for line in text.splitlines() if "Spilled" in line]
    return round(float(found[0].split()[1]) * 2**20) if found else 0


def main() -> None:
    """Measure, and print JSON, a line each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mediaref-bench")
    parser.add_argument("--media", nargs="+", default=["gop30", "hd"], choices=sorted(RECIPES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--store-mib", type=int, default=512)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    ray.init(
        num_cpus=2,
        object_store_memory=options.store_mib << 20,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    for name in options.media:
        table = table_of(options.folder, name)
        for encode in (None, "jpeg"):
            plains, rays = [plain(table)], []
            for _ in range(options.repeats):
                rays.append(with_ray(table, encode))
                plains.append(plain(table))
            alone, steady = median(plains), median(found[1] for found in rays)
            with_start = median(found[0] for found in rays)
            result = Result(
                name,
                encode,
                round(alone, 1),
                round(with_start, 1),
                round(steady, 1),
                round(steady / alone, 3),
                spilled(),
                options.store_mib << 20,
            )
            print(json.dumps(asdict(result)), flush=True)
    rows = ray.data.from_arrow(table.take(np.random.default_rng(0).permutation(len(table))))
    began = time.perf_counter()
    sort_by_run(rows, "frame").materialize()
    print(json.dumps({"sort_by_run_seconds": round(time.perf_counter() - began, 2), "rows": len(table)}))


if __name__ == "__main__":
    main()
