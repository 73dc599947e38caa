"""Index a two-hour video, in seconds and in memory: ``python benchmarks/index_a_long_video.py``."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mediaref_ursa import LanceFrameIndex, batch_decode, cleanup_cache, write_frame_index


def encode(path: Path, seconds: int) -> None:
    """Write a small H.264 video of 30 frames a second."""
    pictures = np.random.default_rng(0).integers(0, 255, (4, 72, 64), dtype=np.uint8)
    options = {"preset": "ultrafast", "g": "60", "bf": "2", "crf": "35"}
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(seconds * 30):
            frame = av.VideoFrame.from_ndarray(pictures[number % 4], format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def peak_mb() -> float:
    """Return the most memory that this process has taken so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print what indexing costs, and the first frame with the index in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=7200)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder) / "short.mp4", Path(folder) / "long.mp4"
        encode(short, 10)
        encode(long, seconds)
        write_frame_index(short)
        before = peak_mb()
        begin = time.perf_counter()
        index = write_frame_index(long)
        took = time.perf_counter() - begin
        table = index.segment_table(0)
        columns = (
            sum(
                column.nbytes
                for part in (table, table.packets)
                for column in vars(part).values()
                if isinstance(column, np.ndarray)
            )
            / 2**20
        )
        print(
            f"{len(index)} frames, {long.stat().st_size / 2**20:.0f} MB: indexed in {took:.2f} s, "
            f"{1e6 * took / len(index):.1f} us a packet"
        )
        print(f"peak memory {peak_mb() - before:.0f} MB beyond a ten-second video; columns {columns:.0f} MB")
        begin = time.perf_counter()
        LanceFrameIndex.open(long)
        print(f"opening the index: {1e3 * (time.perf_counter() - begin):.1f} ms")
        cleanup_cache()
        begin = time.perf_counter()
        batch_decode([{"uri": str(long), "pts_ns": seconds * 10**9 // 2}])
        print(f"first frame, index not in memory: {1e3 * (time.perf_counter() - begin):.0f} ms")


if __name__ == "__main__":
    main()
