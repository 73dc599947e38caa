"""How far apart packets may lie and still be one request: ``python benchmarks/gap_sizes.py``.

Reads frames over HTTP with several values of ``FetchOptions.max_gap_bytes``, with nothing cached, and prints
requests, bytes and seconds of each. The default is chosen from this.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _bench_media import RECIPES, make

from mediaref_ursa import FetchOptions, LanceFrameIndex, MediaRef, batch_decode, write_frame_index

_HERE = Path(__file__).parent
_GAPS = (0, 16 << 10, 64 << 10, 256 << 10, 1 << 20)


def main() -> None:
    """Print a table for each video and pattern."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mediaref-ursa-bench")
    parser.add_argument("--round-trip-ms", type=float, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    os.environ["MEDIAREF_URSA_CACHE_LIMIT"] = "0"
    options.folder.mkdir(parents=True, exist_ok=True)
    paths = [make(RECIPES[name], options.folder, 300) for name in ("gop30", "gop250")]
    server = subprocess.Popen(  # noqa: S603
        [sys.executable, _HERE / "_bench_server.py", str(options.folder), str(options.round_trip_ms / 1000)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        base = f"http://127.0.0.1:{int(server.stdout.readline())}"
        for path in paths:
            index = write_frame_index(path, overwrite=True)
            for name, stride in (("16 random", None), ("16, stride 45", 45), ("64 random", None)):
                count = 64 if name.startswith("64") else 16
                measure(f"{base}/{path.name}", index, name, count, stride, options.repeats)
    finally:
        server.kill()


def measure(
    url: str, index: LanceFrameIndex, name: str, count: int, stride: int | None, repeats: int
) -> None:
    """Print requests, bytes and seconds for each gap, all gaps in turn on the same frames."""
    times = index.segment_table(0).pts_ns
    found: dict[int, list[tuple[int, int, float]]] = {gap: [] for gap in _GAPS}
    for repeat in range(repeats):
        random = np.random.default_rng(repeat)
        if stride is None:
            frames = random.choice(len(times), count, replace=False)
        else:
            frames = random.integers(len(times) - count * stride) + np.arange(count) * stride
        refs = [MediaRef(url, int(t)) for t in times[frames]]
        for gap in _GAPS:
            begin = time.perf_counter()
            batch = batch_decode(refs, frame_index=index, fetch=FetchOptions(max_gap_bytes=gap))
            seconds = time.perf_counter() - begin
            found[gap].append((batch.counters.requests, batch.counters.bytes_fetched, seconds))
    print(f"\n{url.rsplit('/', 1)[1]}, {name}, medians of {repeats}")
    for gap, rows in found.items():
        requests, sent, seconds = (statistics.median(row[i] for row in rows) for i in range(3))
        print(f"  gap {gap >> 10:5} KiB: {requests:4.0f} requests {sent / 1e6:7.2f} MB {seconds:7.3f} s")


if __name__ == "__main__":
    main()
