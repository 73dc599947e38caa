"""A million references as columns: ``python benchmarks/references.py``; needs Polars.

To an Arrow array and back; and planned out of an Arrow column, a Polars column of the same structs, and
two plain columns, in turns. The references name frames of a thousand indexed videos.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _bench_media import RECIPES, make

from mediaref_ursa import MediaRef, plan_decode, write_frame_index
from mediaref_ursa.layout import lance_frame_index_uri
from mediaref_ursa.table import from_arrow, to_arrow

COUNT = 1_000_000
VIDEOS = 1_000
TURNS = 5


def seconds(work: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def convert(refs: list[MediaRef]) -> None:
    """Print the seconds of each direction, the median of three."""
    there = [seconds(lambda: to_arrow(refs)) for _ in range(3)]
    array = to_arrow(refs)
    back = [seconds(lambda: from_arrow(array)) for _ in range(3)]
    assert from_arrow(array) == refs
    print(f"{COUNT} references to Arrow: {np.median(there):.2f} s; from Arrow: {np.median(back):.2f} s")


def indexed_videos(folder: Path) -> tuple[list[str], Sequence[int]]:
    """Return copies of an indexed video, and the times of its frames in nanoseconds."""
    video = make(RECIPES["small"], folder, 12)
    times = write_frame_index(str(video)).segment_table(0).pts_ns.tolist()
    paths = [folder / f"{number:04d}.mp4" for number in range(VIDEOS)]
    for path in paths:
        shutil.copy(video, path)
        shutil.copytree(lance_frame_index_uri(str(video)), lance_frame_index_uri(str(path)))
    return [str(path) for path in paths], times


def plan(refs: list[MediaRef]) -> None:
    """Print the seconds of planning for each kind of column, and their ratio to Arrow's."""
    array = to_arrow(refs)
    column = pl.Series("frame", array)
    kinds: dict[str, Callable[[], Any]] = {
        "Arrow column": lambda: plan_decode(array),
        "Polars column": lambda: plan_decode(column),
        "Polars frame, column=": lambda: plan_decode(column.to_frame(), column="frame"),
        "Polars frame, uri= and pts_ns=": lambda: plan_decode(
            column.struct.unnest(), uri="uri", pts_ns="pts_ns"
        ),
    }
    plans = {name: work() for name, work in kinds.items()}  # the indexes are in memory from now on
    assert len({(plan.frames, plan.packets, plan.references) for plan in plans.values()}) == 1
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(TURNS):
        for name in list(kinds)[:: 1 if turn % 2 else -1]:
            taken[name].append(seconds(kinds[name]))
    base = taken["Arrow column"]
    for name, times in taken.items():
        ratio = np.median([one / other for one, other in zip(times, base, strict=True)])
        print(f"planned from {name:<31} {np.median(times):6.2f} s   {ratio:.3f} of an Arrow column")


def main() -> None:
    """Measure both."""
    with tempfile.TemporaryDirectory() as folder:
        paths, times = indexed_videos(Path(folder))
        rng = np.random.default_rng(0)
        videos, frames = rng.integers(0, VIDEOS, COUNT), rng.integers(0, len(times), COUNT)
        refs = [
            MediaRef(paths[video], times[frame])
            for video, frame in zip(videos.tolist(), frames.tolist(), strict=True)
        ]
        convert(refs)
        plan(refs)


if __name__ == "__main__":
    main()
