"""Writers of collections and packed tables, killed at random: what was committed is whole, no row is twice.

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
import numpy as np
from collection import encode

from mediaref_ursa import CollectionIndex, batch_decode, pack_videos

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
_PACK = """
import sys
import mediaref_ursa._index.pack as pack
pack._COMMIT_FILES = 2
print("begun", flush=True)
pack.pack_videos(sys.argv[2:], sys.argv[1])
"""


def kill(program: str, place: Path, videos: list[str], seed: int) -> bool:
    """Start a writer, and kill it after a random while; return whether it was at work."""
    writer = subprocess.Popen([sys.executable, "-c", program, str(place), *videos], stdout=subprocess.PIPE)  # noqa: S603
    assert writer.stdout is not None
    with writer.stdout as output:
        output.readline()
    time.sleep(random.Random(seed).random() * _MAX_WAIT_SECONDS)  # noqa: S311
    writer.send_signal(signal.SIGKILL)
    return writer.wait() == -signal.SIGKILL


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


def check_packed(place: Path, videos: list[str]) -> int:
    """Check each row of a packed table, media and index, and return how many there are."""
    if not place.exists() or not list((place / "_versions").glob("*")):
        return 0
    rows = lance.dataset(str(place)).to_table(columns=["key"]).column("key").to_pylist()
    assert len(rows) == len(set(rows)), "a file is there twice"
    uris = list(CollectionIndex.open(place))
    assert len(uris) == len(rows), "an index is missing"
    refs = [{"uri": uri, "pts_ns": 10**9} for uri in uris]
    plain = [{"uri": videos[0], "pts_ns": 10**9}]
    if refs:
        (expected,) = batch_decode(plain)
        assert all(np.array_equal(frame, expected) for frame in batch_decode(refs)), "a file is damaged"
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
        at_work = 0
        for seed in range(kills):
            at_work += kill(_ADD, place, videos, seed)
            if check(place, videos, frames, whole=False) == len(videos):
                shutil.rmtree(place)
        CollectionIndex.open(place, create=True).add(videos)
        check(place, videos, frames, whole=True)
        print(f"{at_work} killed while adding: every row whole, none twice, and the rest was added after")
        at_work = 0
        for seed in range(kills):
            at_work += kill(_COMPACT, place, videos, seed)
            check(place, videos, frames, whole=True)
        print(f"{at_work} killed while replacing and compacting: every row there once, and whole")
        packed, at_work = root / "packed.lance", 0
        for seed in range(kills):
            at_work += kill(_PACK, packed, videos, seed)
            if check_packed(packed, videos) == len(videos):
                shutil.rmtree(packed)
        pack_videos(videos, packed)
        assert check_packed(packed, videos) == len(videos), "a file was lost"
        print(f"{at_work} killed while packing: every file whole, none twice, and the rest was packed after")


if __name__ == "__main__":
    main()
