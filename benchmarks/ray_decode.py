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
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from _bench_media import RECIPES, make

from mediaref_ursa import LazyVideo, batch_decode, write_frame_index
from mediaref_ursa._images.encode import ImageEncoder
from mediaref_ursa.ray import DecodeFrames, sort_by_run
from mediaref_ursa.table import to_arrow

_SIZE = (224, 224)
_BATCH = 256
_SECONDS_OF_VIDEO = 60


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
        spilled_bytes: The most that the object store had on disk so far.
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


def table_of(folder: Path, name: str, count: int) -> pa.Table:
    """Return the references to all frames of some copies of a video, in order."""
    source = make(RECIPES[name], folder, _SECONDS_OF_VIDEO)
    refs = []
    for number in range(count):
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


def decode_alone(parts: list[pa.Table], encode: Any, ready: Any, begin: Any) -> None:
    """Decode some batches in a process of its own, and encode the frames as Ray's actors do."""
    encoder = None if encode is None else ImageEncoder(encode)
    batch_decode(parts[0], resize=_SIZE, as_array=True, max_workers=1)
    ready.release()
    begin.wait()
    for part in parts:
        frames = batch_decode(part, resize=_SIZE, as_array=True, max_workers=1)
        if encoder is not None:
            [encoder.encode(frame) for frame in frames]


def plain(table: pa.Table, encode: Any) -> float:
    """Return frames a second of two processes that share nothing."""
    context = multiprocessing.get_context("spawn")
    parts = list(batches(table))
    ready, begin = context.Semaphore(0), context.Event()
    processes = [
        context.Process(target=decode_alone, args=(parts[number::2], encode, ready, begin))
        for number in range(2)
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


class SpilledBytes:
    """The most bytes that the object store had on disk at once, looked at five times a second."""

    def __init__(self) -> None:
        self.max = 0
        self._folder = Path(ray._private.worker._global_node.get_session_dir_path())
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            files = self._folder.glob("ray_spilled_objects*/*")
            with suppress(FileNotFoundError):
                self.max = max(self.max, sum(file.stat().st_size for file in files))
            time.sleep(0.2)


def main() -> None:
    """Measure, and print JSON, a line each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mediaref-bench")
    parser.add_argument("--media", nargs="+", default=["gop30", "hd"], choices=sorted(RECIPES))
    parser.add_argument("--videos", type=int, default=12, help="of a minute each")
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
    spilled = SpilledBytes()
    for name in options.media:
        table = table_of(options.folder, name, options.videos)
        for encode in (None, "jpeg"):
            plains, rays = [plain(table, encode)], []
            for _ in range(options.repeats):
                rays.append(with_ray(table, encode))
                plains.append(plain(table, encode))
            alone, steady = median(plains), median(found[1] for found in rays)
            with_start = median(found[0] for found in rays)
            result = Result(
                name,
                encode,
                round(alone, 1),
                round(with_start, 1),
                round(steady, 1),
                round(steady / alone, 3),
                spilled.max,
                options.store_mib << 20,
            )
            print(json.dumps(asdict(result)), flush=True)
    rows = ray.data.from_arrow(table.take(np.random.default_rng(0).permutation(len(table))))
    began = time.perf_counter()
    sort_by_run(rows, "frame").materialize()
    print(json.dumps({"sort_by_run_seconds": round(time.perf_counter() - began, 2), "rows": len(table)}))


if __name__ == "__main__":
    main()
