"""Memory over many calls, and its peak in one: ``python benchmarks/memory_over_calls.py``.

Over 100,000 calls of random, sliding and repeated windows it must not grow; within one call, and whatever the
frames are, it must stay near that of the output.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from _bench_media import RECIPES, make

from mediaref_ursa import LanceFrameIndex, MediaRef, batch_decode, write_frame_index


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


def peaks(folder: Path, seconds: int) -> Iterator[str]:
    """Yield lines: the peak of calls on each video, beyond their output."""
    patterns: dict[str, Callable[[int], list[list[int]]]] = {
        "16 random": lambda count: [
            np.random.default_rng(seed).choice(count, 16).tolist() for seed in range(6)
        ],
        "64 contiguous": lambda count: [list(range(first, first + 64)) for first in (100, 3000, 1000)],
        "sliding": lambda count: [list(range(first, first + 64)) for first in range(0, 640, 32)],
    }
    for name, recipe in RECIPES.items():
        refs = references(make(recipe, folder, seconds))
        batch_decode(refs[:1])
        for pattern, windows in patterns.items():
            gc.collect()
            before = resident_mb()
            Path("/proc/self/clear_refs").write_text("5")
            for window in windows(len(refs)):
                found = batch_decode([refs[i] for i in window], as_array=True)
                output_mb = found.nbytes / 2**20
                del found
            peak = resident_mb("VmHWM") - before
            yield (
                f"{name:8}{pattern:16} peak {peak:6.0f} MB, output {output_mb:6.0f} MB, "
                f"beyond it {peak - output_mb:6.0f} MB"
            )


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mediaref-ursa-bench")
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=300)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for line in peaks(options.folder, options.seconds):
        print(line, flush=True)
    if options.calls:
        over_calls(references(make(RECIPES["small"], options.folder, options.seconds)), options.calls)


if __name__ == "__main__":
    main()
