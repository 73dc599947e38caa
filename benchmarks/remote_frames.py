"""Sixteen random frames over HTTP, with other readers: ``python benchmarks/remote_frames.py``.

The server adds a round trip to each request and counts what it sends. All readers run in turn, each in a
process of its own, with nothing cached; this library has its frame index at hand. FFmpeg's shared libraries
must be there for TorchCodec.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from _bench_media import RECIPES, make
from _bench_peers import python_of, run

from mediaref_ursa import MediaRef, plan_decode, write_frame_index

READERS = {
    "ours": ("ours", "ours", ""),
    "mediaref 2.1.0 tensorcodec": ("mediaref-2.1.0", "mediaref", "tensorcodec"),
    "mediaref 2.1.0 pyav": ("mediaref-2.1.0", "mediaref", "pyav"),
    "torchcodec 0.13.0 exact": ("torchcodec-0.13.0", "torchcodec", "exact"),
    "torchcodec 0.13.0 approximate": ("torchcodec-0.13.0", "torchcodec", "approximate"),
}
_HERE = Path(__file__).parent


def main() -> None:
    """Print a table for each video, and the ratios to the best of the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mediaref-ursa-bench")
    parser.add_argument("--round-trip-ms", type=float, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=300, help="length of the videos")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in ("gop30", "gop250"):
        path = make(RECIPES[name], options.folder, options.seconds)
        results = measure(path, options.folder, options.round_trip_ms / 1000, options.repeats)
        report(path, results)


def measure(path: Path, folder: Path, round_trip_seconds: float, repeats: int) -> dict[str, Any]:
    """Return, for each reader, the medians of what it took."""
    index = write_frame_index(path, overwrite=True)
    table = index.segment_table(0)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in READERS}
    plans = []
    server = subprocess.Popen(  # noqa: S603
        [sys.executable, _HERE / "_bench_server.py", str(folder), str(round_trip_seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        base = f"http://127.0.0.1:{int(server.stdout.readline())}"
        for repeat in range(repeats):
            frames = np.random.default_rng(repeat).choice(len(table), 16, replace=False)
            pts_ns = [int(t) for t in table.pts_ns[frames]]
            plan = plan_decode([MediaRef(str(path), t) for t in pts_ns])
            spans = [int(table.packets.size[run.packets[0] : run.packets[-1] + 1].sum()) for run in plan.runs]
            plans.append({"runs": len(plan.runs), "fed": plan.bytes, "span": sum(spans)})
            for name, (peer, reader, option) in READERS.items():
                _counts(base)
                with tempfile.TemporaryDirectory() as cache:
                    environment = {**os.environ, "MEDIAREF_URSA_CACHE": cache}
                    arguments = [reader, f"{base}/{path.name}", json.dumps(pts_ns), option or str(path)]
                    found = run(python_of(peer, folder), _HERE / "_remote_reader.py", arguments, environment)
                requests, sent = _counts(base)
                results[name].append({**found, "server_requests": requests, "server_bytes": sent})
    finally:
        server.kill()
    return {"plans": plans, "readers": results}


def _counts(base: str) -> tuple[int, int]:
    with urllib.request.urlopen(f"{base}/-/counts", timeout=30) as response:  # noqa: S310 - our own server
        requests, sent = response.read().split()
    return int(requests), int(sent)


def report(path: Path, measured: dict[str, Any]) -> None:
    """Print what was measured."""
    plans = measured["plans"]
    runs, fed, span = (statistics.median(plan[key] for plan in plans) for key in ("runs", "fed", "span"))
    print(f"\n{path.name}, {path.stat().st_size / 1e6:.1f} MB, {len(plans)} repeats, medians")
    print(
        f"runs {runs:.0f}; packets that are fed {fed / 1e6:.2f} MB; from each random access point to its "
        f"last frame {span / 1e6:.2f} MB"
    )
    print(f"{'reader':32}{'requests':>9}{'MB':>9}{'seconds':>9}  (range)")
    rows = {}
    for name, results in measured["readers"].items():
        good = [result for result in results if "error" not in result]
        if not good:
            print(f"{name:32}{results[0]['error']}")
            continue
        keys = ("server_requests", "server_bytes", "seconds")
        requests, sent, seconds = (statistics.median(result[key] for result in good) for key in keys)
        rows[name] = sent, seconds
        times = [result["seconds"] for result in good]
        print(
            f"{name:32}{requests:9.0f}{sent / 1e6:9.2f}{seconds:9.3f}  ({min(times):.3f} to {max(times):.3f})"
        )
    sent, seconds = rows.pop("ours")
    if rows:
        fewest, quickest = (min(row[i] for row in rows.values()) for i in range(2))
        print(
            f"ours: {sent / span:.3f} of the runs' bytes, {sent / fed:.3f} of the packets fed; "
            f"{fewest / sent:.1f} times fewer bytes than the best other; {seconds / quickest:.2f} of its time"
        )


if __name__ == "__main__":
    main()
