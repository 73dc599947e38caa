"""Frames out of one table that holds the media, beside the same frames out of files.

On disk the seconds of a call, in turns, with every file and table in the page's cache; from S3 (moto on
loopback) the bytes and requests of 16 random frames, against the packets that have to be fed. Run it by hand,
with nothing else running::

    python benchmarks/packed_media.py
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _bench_media import RECIPES, make
from collection import Server, folder_bytes, reads_of

from mediaref_ursa import MediaRef, batch_decode, cleanup_cache, pack_videos, plan_decode, write_frame_index

_VIDEOS = 16
_TURNS = 15
_PATTERNS: dict[str, Callable[[np.random.Generator, int], list[tuple[int, int]]]] = {
    "16 random frames": lambda rng, count: [
        (int(rng.integers(_VIDEOS)), int(frame)) for frame in rng.integers(0, count, 16)
    ],
    "64 consecutive frames": lambda rng, count: [
        (int(video), int(first) + step)
        for video, first in [(rng.integers(_VIDEOS), rng.integers(0, count - 64))]
        for step in range(64)
    ],
    "one frame": lambda rng, count: [(int(rng.integers(_VIDEOS)), int(rng.integers(count)))],
}


def prepared(folder: Path, recipe: str, seconds: int) -> tuple[list[str], list[str], list[int]]:
    """Return copies of an indexed video, the rows of a table of them, and the times of the frames."""
    video = make(RECIPES[recipe], folder, seconds)
    home = folder / f"packed-{recipe}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    files = [str(home / f"{number:02d}.mp4") for number in range(_VIDEOS)]
    for path in files:
        shutil.copy(video, path)
        index = write_frame_index(path)
    begin = time.perf_counter()
    rows = pack_videos(files, home / "set.lance")
    taken = time.perf_counter() - begin
    media = sum(Path(path).stat().st_size for path in files)
    print(
        f"{recipe}: {_VIDEOS} videos of {len(index)} frames and {media / _VIDEOS / 1e6:.1f} MB packed in "
        f"{taken:.1f} s; the table takes {folder_bytes(home / 'set.lance') / media:.4f} of the files"
    )
    return files, rows, index.segment_table(0).pts_ns.tolist()


def on_disk(files: list[str], rows: list[str], times: list[int]) -> None:
    """Print the speed out of the table as a part of that out of files, for each pattern."""
    for name, pattern in _PATTERNS.items():
        rng = np.random.default_rng(0)
        ratios, taken = [], []
        for turn in range(_TURNS + 1):
            chosen = pattern(rng, len(times))
            seconds = {}
            kinds = {"table": rows, "files": files}
            frames = {}
            for kind in list(kinds)[:: 1 if turn % 2 else -1]:
                refs = [MediaRef(kinds[kind][video], times[frame]) for video, frame in chosen]
                begin = time.perf_counter()
                frames[kind] = batch_decode(refs, as_array=True)
                seconds[kind] = time.perf_counter() - begin
            assert np.array_equal(frames["table"], frames["files"])
            if turn:  # the first opens files and tables
                ratios.append(seconds["files"] / seconds["table"])
                taken.append(seconds["table"])
        low, middle, high = np.percentile(ratios, (10, 50, 90))
        print(
            f"  on disk, {name}: {np.median(taken) * 1e3:.1f} ms; {middle:.3f} of the speed from files "
            f"({low:.2f} to {high:.2f})",
            flush=True,
        )


def from_s3(server: Server, rows: list[str], table: Path, times: list[int]) -> None:
    """Print the bytes and requests of 16 random frames: after opening, and with it."""
    bucket = table.parent.name
    server.upload(table.parent, bucket)
    there = [f"s3://{bucket}/set.lance{row.removeprefix(str(table))}" for row in rows]
    options: dict[str, Any] = {"storage_options": server.options}
    found: dict[str, list[tuple[float, int]]] = {"after opening": [], "with opening": []}
    for turn in range(5):
        rng = np.random.default_rng(turn)
        chosen = _PATTERNS["16 random frames"](rng, len(times))
        refs = [MediaRef(there[video], times[frame]) for video, frame in chosen]
        bound = plan_decode(refs, **options).bytes
        for name, values in found.items():
            if name == "with opening":
                cleanup_cache()
            with reads_of(server) as read:
                batch_decode(refs, **options)
                reads = read()
            values.append((reads.bytes / bound, reads.requests))
    for name, values in found.items():
        ratio, requests = np.median(values, axis=0)
        print(
            f"  from S3, {name}: {ratio:.3f} of the packets that are fed, {requests:.0f} requests", flush=True
        )


def main() -> None:
    """Print each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mediaref-bench")
    parser.add_argument("--seconds", type=int, default=120, help="of each video")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "MEDIAREF_URSA_CACHE_LIMIT": "0"}
    server = Server()
    for recipe in ("gop30", "gop250"):
        files, rows, times = prepared(asked.folder, recipe, asked.seconds)
        on_disk(files, rows, times)
        from_s3(server, rows, Path(files[0]).parent / "set.lance", times)


if __name__ == "__main__":
    main()
