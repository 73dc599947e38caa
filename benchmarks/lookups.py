"""A million references to a thousand indexed videos become frames: ``python benchmarks/lookups.py``.

The indexes are in memory, as after an earlier batch. The videos are copies of one, each with its own index.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from index_a_long_video import encode

from mediaref_ursa import MediaRef, plan_decode, write_frame_index
from mediaref_ursa._batch.options import BatchOptions
from mediaref_ursa._batch.resolve import BatchRequest, resolve_batch
from mediaref_ursa.table import to_arrow


def main() -> None:
    """Print the seconds that it takes to resolve references, and to plan their decoding too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--references", type=int, default=1_000_000)
    parser.add_argument("--videos", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "first.mp4"
        encode(first, 60)
        paths = [first.with_name(f"{number:04d}.mp4") for number in range(options.videos)]
        for path in paths:
            shutil.copy(first, path)
            write_frame_index(path)
        random = np.random.default_rng(0)
        videos = random.integers(options.videos, size=options.references).tolist()
        times = random.integers(60 * 10**9 - 10**9, size=options.references).tolist()
        names = [str(path) for path in paths]
        refs = [MediaRef(names[video], t) for video, t in zip(videos, times, strict=True)]
        plan_decode([MediaRef(name, 0) for name in names])  # the indexes are in memory from now on
        for what, given in (("a list", refs), ("an Arrow array", to_arrow(refs))):
            report(what, given, options.repeats)


def report(what: str, refs: list[MediaRef] | pa.Array, repeats: int) -> None:
    """Print medians."""
    resolved, planned = [], []
    for _ in range(repeats):
        begin = time.perf_counter()
        resolve_batch(BatchRequest.from_refs(refs, 1000, None, BatchOptions()))
        resolved.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        plan = plan_decode(refs)
        planned.append(time.perf_counter() - begin)
    print(
        f"{len(refs)} references in {what} to {plan.frames} frames: resolved in "
        f"{statistics.median(resolved):.2f} s, resolved and planned ({len(plan.runs)} runs) in "
        f"{statistics.median(planned):.2f} s"
    )


if __name__ == "__main__":
    main()
