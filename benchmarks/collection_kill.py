"""Writers of a collection that are killed at random: what was committed is whole, and no row is twice.

Run it by hand::

    python benchmarks/collection_kill.py --kills 50
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lance
from collection import encode

from mediaref_ursa import CollectionIndex

_VIDEOS = 40
_MAX_WAIT_SECONDS = 0.5
_ADD = """
import sys
import mediaref_ursa._index.collection_build as build
from mediaref_ursa import CollectionIndex
build._COMMIT_VIDEOS = 2
collection = CollectionIndex.open(sys.argv[1], create=True)
print("begun", flush=True)
collection.add(sys.argv[2:])
"""
_COMPACT = """
import sys
from mediaref_ursa import CollectionIndex
collection = CollectionIndex.open(sys.argv[1])
print("begun", flush=True)
while True:
    collection.add(sys.argv[2:4], overwrite=True)
    collection.compact()
"""


def kill(program: str, place: Path, videos: list[str], seed: int) -> None:
    """Start a writer, and kill it after a random while."""
    writer = subprocess.Popen([sys.executable, "-c", program, str(place), *videos], stdout=subprocess.PIPE)  # noqa: S603
    assert writer.stdout is not None
    with writer.stdout as output:
        output.readline()
    time.sleep(random.Random(seed).random() * _MAX_WAIT_SECONDS)  # noqa: S311
    writer.send_signal(signal.SIGKILL)
    writer.wait()


def check(place: Path, videos: list[str], frames: int, *, whole: bool) -> int:
    """Check each row, and return how many videos there are."""
    rows = lance.dataset(str(place)).to_table(columns=["uri"]).column("uri").to_pylist()
    assert len(rows) == len(set(rows)), "a row is there twice"
    assert not whole or len(rows) == len(videos), "a video was lost"
    found = CollectionIndex.open(place).get_many(videos)
    assert len(found) == len(rows), "a row is not found"
    for index in found.values():
        assert len(index.segment_table(0)) == frames
    return len(rows)


def main() -> None:
    """Kill writers, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory() as folder:
        root, frames = Path(folder), 60
        place = root / "set.lance"
        encode(root / "00.mp4", frames)
        for number in range(1, _VIDEOS):
            shutil.copy(root / "00.mp4", root / f"{number:02d}.mp4")
        videos = sorted(str(path) for path in root.glob("*.mp4"))
        for seed in range(kills):
            kill(_ADD, place, videos, seed)
            if check(place, videos, frames, whole=False) == len(videos):
                shutil.rmtree(place)
        CollectionIndex.open(place, create=True).add(videos)
        check(place, videos, frames, whole=True)
        print(f"{kills} killed while adding: every row whole, none twice, and the rest was added after")
        for seed in range(kills):
            kill(_COMPACT, place, videos, seed)
            check(place, videos, frames, whole=True)
        print(f"{kills} killed while replacing and compacting: every row there once, and whole")


if __name__ == "__main__":
    main()
