"""Bytes that the index of a video takes on disk, a frame and in all: ``python benchmarks/index_sizes.py``."""

from __future__ import annotations

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mediaref_ursa import write_frame_index

FRAMES = (1, 300, 6_000, 100_000)


def encode(path: Path, frames: int) -> None:
    """Write a small H.264 video with B-frames, of packets whose sizes and checksums all differ."""
    random = np.random.default_rng(0)
    options = {"preset": "ultrafast", "g": "250", "bf": "2", "b-pyramid": "normal", "crf": "30"}
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=Fraction(30_000, 1_001), options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            picture = random.integers(0, int(random.integers(2, 255)), (72, 64), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1_001, 30_000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def main() -> None:
    """Print a line for each length of video."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES)
    for frames in parser.parse_args().frames:
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder) / "video.mp4"
            encode(video, frames)
            index = write_frame_index(video)
            files = [path for path in Path(f"{video}.lance").rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files)
            each = size / len(index)
            print(f"{len(index):>7} frames: {each:8.1f} bytes a frame, {size} in {len(files)} files")


if __name__ == "__main__":
    main()
