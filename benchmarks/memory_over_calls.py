"""Memory over many calls, and its peak in one: ``python benchmarks/memory_over_calls.py``.

Over 100,000 calls of random, sliding and repeated windows it must not grow; within one call, and whatever the
frames are, it must stay near that of the output.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _bench_media import RECIPES, make

from mediaref_ursa import LanceFrameIndex, MediaRef, batch_decode, plan_decode, write_frame_index


def resident_mb(name: str = "VmRSS") -> float:
    """Return a figure of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


def references(path: Path) -> list[MediaRef]:
    """Return the reference of each frame, with an index in place."""
    write_frame_index(path, overwrite=True)
    return [MediaRef(str(path), t) for t in LanceFrameIndex.open(path).segment_table(0).pts_ns.tolist()]


def over_calls(refs: list[MediaRef], calls: int) -> None:
    """Print memory as calls go by."""
    random = np.random.default_rng(0)
    begin = time.perf_counter()
    position = 0
    for number in range(calls):
        kind = number // 50 % 4
        if kind == 0:
            batch_decode([refs[int(random.integers(len(refs)))]])
        elif kind == 1:
            batch_decode([refs[i] for i in random.choice(len(refs), 4)], as_array=True)
        else:
            position = (position + 2) % (len(refs) - 4)
            batch_decode(refs[position : position + 4], as_array=kind == 2)
        if number % (calls // 10) == calls // 10 - 1 or number == calls // 100:
            gc.collect()
            print(
                f"after {number + 1:7d} calls: {resident_mb():7.1f} MB, {time.perf_counter() - begin:.0f} s",
                flush=True,
            )


WINDOWS: dict[str, Callable[[int], list[list[int]]]] = {
    "16 random": lambda count: [np.random.default_rng(seed).choice(count, 16).tolist() for seed in range(6)],
    "64 contiguous": lambda count: [list(range(first, first + 64)) for first in (100, 3000, 1000)],
    "sliding": lambda count: [list(range(first, first + 64)) for first in range(0, 640, 32)],
}


def peak(path: Path, pattern: str) -> str:
    """Return a line: the peak of some calls, beyond their output. For a process of its own."""
    refs = [MediaRef(str(path), t) for t in LanceFrameIndex.open(path).segment_table(0).pts_ns.tolist()]
    plan_decode(refs[:1])
    gc.collect()
    before = resident_mb()
    Path("/proc/self/clear_refs").write_text("5")
    for window in WINDOWS[pattern](len(refs)):
        found = batch_decode([refs[i] for i in window], as_array=True)
        output_mb = found.nbytes / 2**20
        del found
    most = resident_mb("VmHWM") - before
    return (
        f"{path.name:18}{pattern:16} peak {most:5.0f} MB, output {output_mb:5.0f} MB, "
        f"beyond it {most - output_mb:5.0f} MB"
    )


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mediaref-ursa-bench")
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(peak(Path(options.one[0]), options.one[1]))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    for recipe in RECIPES.values():
        path = make(recipe, options.folder, options.seconds)
        write_frame_index(path, overwrite=True)
        for pattern in WINDOWS:
            subprocess.run([sys.executable, __file__, "--one", path, pattern], check=True)  # noqa: S603
    if options.calls:
        over_calls(references(make(RECIPES["small"], options.folder, options.seconds)), options.calls)


if __name__ == "__main__":
    main()
