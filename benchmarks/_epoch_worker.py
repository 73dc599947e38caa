"""One reader in torch's loader, for some seconds or a whole epoch: started by ``benchmarks/epoch.py``.

Prints JSON: frames, seconds, and whether each frame came once, if the epoch was whole.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset


class ByVideo(Dataset[Any]):
    """Frames of videos by number, a batch at once: the frames of each video by one call."""

    def __init__(self, paths: list[str], frames: int) -> None:
        self.paths, self.frames = paths, frames

    def __len__(self) -> int:
        return len(self.paths) * self.frames

    def __getitems__(self, rows: list[int]) -> dict[str, Any]:
        of_video: dict[int, list[int]] = defaultdict(list)
        for position, row in enumerate(rows):
            of_video[row // self.frames].append(position)
        pictures: list[Any] = [None] * len(rows)
        for video, positions in of_video.items():
            numbers = [rows[position] % self.frames for position in positions]
            for position, picture in zip(positions, self.read(self.paths[video], numbers), strict=True):
                pictures[position] = picture
        return {"frame": torch.stack(pictures), "row": torch.tensor(rows)}

    def read(self, path: str, numbers: list[int]) -> Any:
        """Return frames of one video, in order."""
        raise NotImplementedError


class TorchCodecFrames(ByVideo):
    """By decoders of TorchCodec that stay open, one for each video and worker."""

    def __init__(self, paths: list[str], frames: int, size: int) -> None:
        super().__init__(paths, frames)
        self.size = size
        self.decoders: dict[str, Any] = {}

    def read(self, path: str, numbers: list[int]) -> Any:
        """Return frames of one video, in order."""
        if path not in self.decoders:
            from torchcodec.decoders import VideoDecoder
            from torchcodec.transforms import Resize

            size = {"transforms": [Resize((self.size, self.size))]} if self.size else {}
            self.decoders[path] = VideoDecoder(path, seek_mode="exact", num_ffmpeg_threads=1, **size)
        return self.decoders[path].get_frames_at(numbers).data


class MediaRefFrames(ByVideo):
    """By MediaRef's ``batch_decode``."""

    def __init__(self, paths: list[str], frames: int, times: list[int]) -> None:
        super().__init__(paths, frames)
        self.times = times

    def read(self, path: str, numbers: list[int]) -> Any:
        """Return frames of one video, in order."""
        from mediaref import MediaRef, batch_decode

        found = batch_decode([MediaRef(uri=path, pts_ns=self.times[number]) for number in numbers])
        return [torch.from_numpy(frame).permute(2, 0, 1) for frame in found]


def batch(of: Any) -> Any:
    """Return a batch as it is."""
    return of


def loader_of(asked: argparse.Namespace, paths: list[str], times: list[int]) -> Any:
    """Return the loader of a reader."""
    count, workers = len(times), asked.workers
    if asked.reader in ("runs", "uniform", "sampler"):
        import pyarrow as pa

        from mediaref_ursa.torch import RefDataset, RunBatchSampler, RunShuffleDataset, collate

        refs = [{"uri": path, "pts_ns": time_ns} for path in paths for time_ns in times]
        size = {"resize": (asked.size, asked.size)} if asked.size else {}
        rows: Any = RefDataset(pa.table({"frame": refs, "row": range(len(refs))}), **size)
        if asked.reader == "runs":
            shuffled = RunShuffleDataset(rows, 32, buffer_bytes=asked.buffer << 20)
            return DataLoader(shuffled, batch_size=None, num_workers=workers)
        if asked.reader == "sampler":
            sampler = RunBatchSampler(rows, 32, num_workers=workers)
            return DataLoader(rows, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
        return DataLoader(rows, 32, shuffle=True, collate_fn=collate, num_workers=workers)
    if asked.reader == "rerun":
        import _rerun_loader

        frames = (asked.buffer << 20) // (640 * 360 * 3)
        return _rerun_loader.loader(
            Path(paths[0]).parent, paths, gop=250, buffer_frames=frames, workers=workers
        )
    if asked.reader == "torchcodec":
        rows = TorchCodecFrames(paths, count, asked.size)
    else:
        rows = MediaRefFrames(paths, count, times)
    return DataLoader(rows, 32, shuffle=True, collate_fn=batch, num_workers=workers)


def main() -> None:
    """Read for so many seconds, or an epoch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("reader")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=float, default=1e9)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--buffer", type=int, default=512)
    asked = parser.parse_args()
    torch.manual_seed(0)
    paths = sorted(map(str, asked.folder.glob("*.mp4")))
    times = json.loads((asked.folder / "times.json").read_text())
    loader = loader_of(asked, paths, times)
    rows: list[int] = []
    begin = time.perf_counter()
    for given in loader:
        rows += given["row"].flatten().tolist()
        if time.perf_counter() - begin > asked.limit:
            break
    taken = time.perf_counter() - begin
    whole = len(rows) == len(paths) * len(times)
    print(
        json.dumps(
            {
                "frames": len(rows),
                "seconds": taken,
                "once": sorted(rows) == list(range(len(rows))) if whole else None,
                "peak_mb_of_a_worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
