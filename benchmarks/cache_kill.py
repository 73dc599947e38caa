"""Kill processes while they fill the range cache, and look at what is left.

Each process fills the cache with several threads, over its quota, until it is killed with SIGKILL at a
random moment. After each kill the cache is started once more, and litter that is still there is counted;
then the next process goes on. In the end every stored byte is compared.

    python benchmarks/cache_kill.py [--kills 200]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from mediaref_ursa._cache.settings import ObjectKey, RangeCache

CONTEXT = multiprocessing.get_context("fork")
OBJECTS = 6
OBJECT_BYTES = 3 << 20
QUOTA_BYTES = 8 << 20
LONGEST_READ_BYTES = 400 << 10
THREADS = 4
LONGEST_LIFE_SECONDS = 0.06

KEYS = [ObjectKey(f"https://host/{n}.mp4", f'"{n}"') for n in range(OBJECTS)]
DATA = [random.Random(n).randbytes(OBJECT_BYTES) for n in range(OBJECTS)]  # noqa: S311 - no secret


def fetch(number: int, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return ranges of an object, as a store would."""
    return [DATA[number][offset : offset + length] for offset, length in ranges]


def fill(directory: Path, seed: int, ready: multiprocessing.SimpleQueue[int]) -> None:
    """Read through the cache until killed; a wrong byte ends the process with its own exit code."""
    cache = RangeCache(directory, QUOTA_BYTES)

    def loop(thread: int) -> None:
        rng = random.Random(seed * 100 + thread)  # noqa: S311
        while True:
            number, offset = rng.randrange(OBJECTS), rng.randrange(OBJECT_BYTES)
            wanted = [(offset, min(rng.randrange(LONGEST_READ_BYTES), OBJECT_BYTES - offset))]
            if cache.get_ranges(KEYS[number], wanted, partial(fetch, number)) != fetch(number, wanted):
                os._exit(3)

    with ThreadPoolExecutor(THREADS) as pool:
        ready.put(os.getpid())
        for _ in pool.map(loop, range(THREADS)):
            pass


def kill_one(directory: Path, seed: int, rng: random.Random) -> Counter[str]:
    """Let a process run for a moment, kill it, start the cache again; return what was found."""
    ready: multiprocessing.SimpleQueue[int] = CONTEXT.SimpleQueue()
    child = CONTEXT.Process(target=fill, args=(directory, seed, ready))
    child.start()
    ready.get()
    time.sleep(rng.uniform(0, LONGEST_LIFE_SECONDS))
    child.kill()
    child.join()
    left = litter(directory)
    RangeCache(directory, QUOTA_BYTES).get_ranges(KEYS[0], [(0, 0)], partial(fetch, 0))  # the next start
    return Counter(
        killed=child.exitcode == -signal.SIGKILL,
        wrong_while_running=child.exitcode == 3,
        left_behind=left,
        litter=litter(directory),
        over_quota=stored_bytes(directory) > QUOTA_BYTES,
    )


def litter(directory: Path) -> int:
    """Count files that nobody is writing any more, and directories that hold no range."""
    homes = [home for home in directory.glob("objects/*") if not list(home.glob("*-*"))]
    return len(list(directory.glob("writing/*"))) + len(homes)


def stored_bytes(directory: Path) -> int:
    """Return the bytes of all ranges, whole disk blocks."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in directory.glob("objects/*/*-*"))


def compare_all(directory: Path) -> Counter[str]:
    """Read every stored range and compare its bytes."""
    cache = RangeCache(directory, QUOTA_BYTES)
    counts: Counter[str] = Counter()
    for number, key in enumerate(KEYS):
        for path in list((directory / "objects" / key.digest.hex()).glob("*-*")):
            offset, length = map(int, path.name.split("-"))
            asked: list[tuple[int, int]] = []

            def refetch(
                ranges: Sequence[tuple[int, int]], number: int = number, asked: list[tuple[int, int]] = asked
            ) -> list[bytes]:
                asked.extend(ranges)
                return fetch(number, ranges)

            found = cache.get_ranges(key, [(offset, length)], refetch)[0]
            wanted = DATA[number][offset : offset + length]
            wrong = sum(a != b for a, b in zip(found, wanted, strict=True)) if found != wanted else 0
            counts.update(ranges=1, compared=length, wrong=wrong, damaged=bool(asked))
    return counts


def main() -> None:
    """Kill, compare, and print the figures; the exit code is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    kills = parser.parse_args().kills
    rng = random.Random(0)  # noqa: S311
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "segments"
        counts: Counter[str] = Counter()
        for seed in range(kills):
            counts += kill_one(directory, seed, rng)
        evicted = RangeCache(directory, QUOTA_BYTES).info().evicted_ranges
        compared = compare_all(directory)
    wrong = counts["wrong_while_running"] + compared["wrong"]
    print(f"kills                   {counts['killed']:8d}")
    print(f"left behind by them     {counts['left_behind']:8d}    files and empty directories")
    print(f"ranges evicted          {evicted:8d}")
    print(f"ranges compared         {compared['ranges']:8d}    {compared['compared'] / 1e6:.1f} MB")
    print(f"damaged, fetched again  {compared['damaged']:8d}")
    print(f"litter after next start {counts['litter']:8d}    (wanted: 0)")
    print(f"starts over quota       {counts['over_quota']:8d}    (wanted: 0)")
    print(f"wrong bytes             {wrong:8d}    (wanted: 0)")
    raise SystemExit(bool(wrong or counts["litter"] or counts["over_quota"] or counts["killed"] != kills))


if __name__ == "__main__":
    main()
