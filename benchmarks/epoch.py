"""Shuffled training epochs in torch's loader, beside other readers: ``python benchmarks/epoch.py``.

All frames of 16 videos (640x360, random access points 250 frames apart) in a loader of 2 workers. Readers
under a uniform shuffle are timed for ``--limit`` seconds, and shuffling by runs for a whole epoch, of which
each frame must come once. TorchCodec's decoders stay open; it and MediaRef get the frames of a batch by one
call a video.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

from _bench_media import RECIPES, make
from _bench_peers import REQUIREMENTS, python_of, run

from mediaref_ursa import write_frame_index
from mediaref_ursa.layout import lance_frame_index_uri

VIDEOS = 16
REQUIREMENTS["mediaref-2.1.0-loader"] = (*REQUIREMENTS["mediaref-2.1.0"], "torch==2.13.0")
READERS = {
    "shuffled by runs": ("runs", "ours"),
    "batch sampler by runs": ("sampler", "ours"),
    "uniform": ("uniform", "ours"),
    "TorchCodec 0.13, uniform": ("torchcodec", "torchcodec-0.13.0"),
    "mediaref 2.1.0, uniform": ("mediaref", "mediaref-2.1.0-loader"),
}


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
    script = Path(__file__).with_name("_epoch_worker.py")
    for size in (0, 224):
        print(f"frames of {size or '640x360'}{f'x{size}' if size else ''}:", flush=True)
        rates: dict[str, float] = {}
        for name in sorted(asked.readers, key=lambda name: "TorchCodec" not in name):
            reader, peer = READERS[name]
            if size and reader == "mediaref":
                continue  # has no resizing
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
