"""Memory for many references to many remote videos: ``python benchmarks/remote_memory.py``.

Ten thousand references to fifty videos on an HTTP server, in one call, each video with its frame index.
Prints what the process took at most beyond the frames that it gives out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from _bench_media import RECIPES, make

from mediaref_ursa import LanceFrameIndex, MediaRef, batch_decode, write_frame_index

_HERE = Path(__file__).parent


def main() -> None:
    """Start the server, and the measurement in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mediaref-ursa-bench")
    parser.add_argument("--videos", type=int, default=50)
    parser.add_argument("--references", type=int, default=10_000)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(json.loads(options.measure), options.references)
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    video = make(replace(RECIPES["gop30"], name="minute"), options.folder, 60)
    names = [f"copy{number}.mp4" for number in range(options.videos)]
    with tempfile.TemporaryDirectory() as served, tempfile.TemporaryDirectory() as cache:
        for name in names:
            (Path(served) / name).hardlink_to(video)
            write_frame_index(Path(served) / name)
        server = subprocess.Popen(  # noqa: S603
            [sys.executable, _HERE / "_bench_server.py", served, "0.005"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            base = f"http://127.0.0.1:{int(server.stdout.readline())}"
            videos = {f"{base}/{name}": str(Path(served) / name) for name in names}
            arguments = ["--measure", json.dumps(videos), "--references", str(options.references)]
            environment = {**os.environ, "MEDIAREF_URSA_CACHE": cache}
            subprocess.run([sys.executable, __file__, *arguments], env=environment, check=True)  # noqa: S603
        finally:
            server.kill()


def measure(videos: dict[str, str], references: int) -> None:
    """Decode, and print time and memory."""
    indexes = {url: LanceFrameIndex.open(place) for url, place in videos.items()}
    random = np.random.default_rng(0)
    urls = list(videos)
    refs = []
    for url in random.choice(urls, references):
        table = indexes[url].segment_table(0)
        refs.append(MediaRef(str(url), int(random.choice(table.pts_ns))))
    size = (90, 160)  # small frames: what is measured is all else
    before = _peak_mb()
    begin = time.perf_counter()
    frames = batch_decode(refs, frame_index=indexes, resize=size)
    seconds = time.perf_counter() - begin
    output = sum(frame.nbytes for frame in frames) / 2**20
    print(f"{references} references to {len(urls)} videos: {seconds:.1f} s, {frames.counters}")
    print(f"peak {_peak_mb():.0f} MB, of which {before:.0f} MB before the call, {output:.0f} MB are frames")
    print(f"beyond both: {_peak_mb() - before - output:.0f} MB")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
