"""A million references to an Arrow array and back: ``python benchmarks/references.py``."""

from __future__ import annotations

import time

import numpy as np

from mediaref_ursa import MediaRef
from mediaref_ursa.table import from_arrow, to_arrow

COUNT = 1_000_000
VIDEOS = 1_000


def main() -> None:
    """Print the seconds of each direction, the median of three."""
    times = np.random.default_rng(0).integers(0, 10**12, COUNT).tolist()
    refs = [MediaRef(f"videos/{number % VIDEOS:04d}.mp4", pts) for number, pts in enumerate(times)]
    there, back = [], []
    for _ in range(3):
        begin = time.perf_counter()
        array = to_arrow(refs)
        middle = time.perf_counter()
        found = from_arrow(array)
        there.append(middle - begin)
        back.append(time.perf_counter() - middle)
    assert found == refs
    print(f"{COUNT} references to Arrow: {np.median(there):.2f} s; from Arrow: {np.median(back):.2f} s")


if __name__ == "__main__":
    main()
