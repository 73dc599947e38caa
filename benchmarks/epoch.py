"""Shuffled training epochs in torch's loader, beside other readers: ``python benchmarks/epoch.py``.

All frames of 16 videos (640x360, random access points 250 frames apart) in a loader of 2 workers. Readers
under a uniform shuffle are timed for ``--limit`` seconds, and shuffling by runs for a whole epoch, of which
each frame must come once. TorchCodec's decoders stay open; it and MediaRef get the frames of a batch by one
call a video. rerun-sdk shuffles blocks of 250 frames, with as large a buffer, over recordings of its own of
the same pictures, without B-frames.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from _bench_media import RECIPES, make
from _bench_peers import REQUIREMENTS, python_of, run

from mediaref_ursa import write_frame_index
from mediaref_ursa.layout import lance_frame_index_uri
from mediaref_ursa.torch import RefDataset, RunShuffle
from mediaref_ursa.torch._run_table import run_table

VIDEOS = 16
REQUIREMENTS["mediaref-2.1.0-loader"] = (*REQUIREMENTS["mediaref-2.1.0"], "torch==2.13.0")
REQUIREMENTS["rerun-sdk-0.41.0"] = ("rerun-sdk[catalog,dataloader]==0.41.0", "torch==2.13.0")
READERS = {
    "shuffled by runs": ("runs", "ours"),
    "batch sampler by runs": ("sampler", "ours"),
    "uniform": ("uniform", "ours"),
    "TorchCodec 0.13, uniform": ("torchcodec", "torchcodec-0.13.0"),
    "mediaref 2.1.0, uniform": ("mediaref", "mediaref-2.1.0-loader"),
    "rerun-sdk 0.41, blocks": ("rerun", "rerun-sdk-0.41.0"),
}
_WITHOUT_RESIZING = ("mediaref", "rerun")


def media(folder: Path, seconds: int) -> Path:
    """Return a folder of copies of an indexed video, made if they are not there yet."""
    home = folder / f"epoch-{seconds}"
    if (home / "times.json").exists():
        return home
    home.mkdir(parents=True)
    video = make(RECIPES["gop250"], folder, seconds)
    index = write_frame_index(str(video), if_exists="keep")
    for number in range(VIDEOS):
        copy = home / f"{number:02d}.mp4"
        shutil.copy(video, copy)
        shutil.copytree(lance_frame_index_uri(str(video)), lance_frame_index_uri(str(copy)))
    (home / "times.json").write_text(json.dumps(index.segment_table(0).pts_ns.tolist()))
    return home


def neighbours(home: Path) -> None:
    """Print how many other frames of a batch of 32 share its video, and its run, by the size of buffers."""
    paths = sorted(map(str, home.glob("*.mp4")))
    times = json.loads((home / "times.json").read_text())
    frames = [{"uri": path, "pts_ns": time} for path in paths for time in times]
    table = run_table(RefDataset(pa.table({"frame": frames})))
    videos = np.repeat(np.arange(len(paths)), len(times))
    print(
        f"{len(frames)} frames in {len(np.unique(table.runs))} runs of {len(paths)} videos; others of a batch"
    )
    for buffer in (1_000, 10_000, 100_000, None):
        shuffle = RunShuffle(table.runs, table.positions, buffer_references=buffer or len(frames))
        rows = shuffle.order(0).references
        if buffer is None:
            rows = np.random.default_rng(0).permutation(len(frames))
        batches = rows[: len(rows) // 32 * 32].reshape(-1, 32)
        shared = [
            np.mean(
                [(np.unique(kind[batch], return_counts=True)[1] ** 2).sum() / 32 - 1 for batch in batches]
            )
            for kind in (videos, table.runs)
        ]
        name = "uniform shuffle" if buffer is None else f"a buffer of {buffer}"
        print(
            f"  {name:20s} {shared[0]:5.2f} of the same video, {shared[1]:5.2f} of the same run", flush=True
        )


def main() -> None:
    """Print a line for each reader, and its ratio to TorchCodec."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mediaref-bench")
    parser.add_argument("--seconds", type=int, default=300, help="of each video")
    parser.add_argument(
        "--limit", type=int, default=60, help="seconds for each reader under a uniform shuffle"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--readers", nargs="*", default=list(READERS))
    asked = parser.parse_args()
    home = media(asked.folder, asked.seconds)
    neighbours(home)
    script = Path(__file__).with_name("_epoch_worker.py")
    for size in (0, 224):
        print(f"frames of {size or '640x360'}{f'x{size}' if size else ''}:", flush=True)
        rates: dict[str, float] = {}
        for name in sorted(asked.readers, key=lambda name: "TorchCodec" not in name):
            reader, peer = READERS[name]
            if size and reader in _WITHOUT_RESIZING:
                continue
            limit = [] if reader == "runs" else ["--limit", str(asked.limit)]
            arguments = [reader, str(home), "--workers", str(asked.workers), "--size", str(size), *limit]
            found = run(python_of(peer, asked.folder), script, arguments, dict(os.environ))
            if "error" in found:
                print(f"  {name:26s} {found['error']}")
                continue
            rates[name] = found["frames"] / found["seconds"]
            ratio = rates[name] / rates.get("TorchCodec 0.13, uniform", float("nan"))
            once = {True: ", each frame once", False: ", NOT each frame once", None: ""}[found["once"]]
            print(
                f"  {name:26s} {rates[name]:7.0f} frames/s  {ratio:6.2f} of TorchCodec  "
                f"{found['peak_mb_of_a_worker']:5.0f} MB a worker{once}",
                flush=True,
            )


if __name__ == "__main__":
    main()
