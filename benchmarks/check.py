"""A million references to a thousand videos checked, decoding nothing: ``python benchmarks/check.py``."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from _bench_media import RECIPES, make

from mediaref_ursa import write_frame_index
from mediaref_ursa.check import check_refs
from mediaref_ursa.layout import lance_frame_index_uri

COUNT = 1_000_000
VIDEOS = 1_000


def main() -> None:
    """Print the seconds of a check in which no index is in memory, and of one more."""
    with tempfile.TemporaryDirectory() as folder:
        video = make(RECIPES["small"], Path(folder), 40)
        times = write_frame_index(str(video)).segment_table(0).pts_ns
        paths = [f"{folder}/{number:04d}.mp4" for number in range(VIDEOS)]
        for path in paths:
            shutil.copy(video, path)
            shutil.copytree(lance_frame_index_uri(str(video)), lance_frame_index_uri(path))
        each = COUNT // VIDEOS
        refs = pa.StructArray.from_arrays(
            [
                pa.array(paths).take(pa.array(np.repeat(np.arange(VIDEOS), each))),
                pa.array(np.tile(times[:each], VIDEOS)),
            ],
            ["uri", "pts_ns"],
        )
        for name in ("first", "again"):
            begin = time.perf_counter()
            report = check_refs(refs)
            assert report.is_ok, report.to_text()
            assert report.references == COUNT
            print(f"{name}: {time.perf_counter() - begin:.2f} s for {COUNT} references to {VIDEOS} videos")


if __name__ == "__main__":
    main()
