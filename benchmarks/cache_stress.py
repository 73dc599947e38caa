"""Many processes and threads on one range cache that is too small for them; everything is checked.

An HTTP server on loopback serves objects, and the cache's quota is a quarter of their bytes. Each thread
reads random ranges through the cache, and a whole object now and then, and compares every byte. With
``--frames`` the objects are videos, and each thread reads random frames and compares them with those of the
local files. Meanwhile the bytes on disk are counted.

    python benchmarks/cache_stress.py [--frames] [--processes 8] [--threads 4] [--seconds 60]
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import re
import tempfile
import threading
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mediaref_ursa._cache.settings import ObjectKey, RangeCache
from mediaref_ursa.store import HttpStore, ObjectInfo
from mediaref_ursa.store._cached import CachedStore

CONTEXT = multiprocessing.get_context("fork")
OBJECTS = 24
OBJECT_BYTES = 4 << 20
LONGEST_READ_BYTES = 512 << 10
CHUNK_BYTES = 128 << 10
WHOLE_EVERY = 50
VIDEOS = 12
FRAMES = 90
FRAMES_A_READ = 8


@dataclass
class CountingStore:
    """The network side: what each thread has fetched."""

    inner: HttpStore = field(default_factory=HttpStore)
    here: threading.local = field(default_factory=threading.local)

    def fetched_bytes(self) -> int:
        """Return what the calling thread has fetched so far."""
        return getattr(self.here, "fetched_bytes", 0)

    def head(self, uri: str) -> ObjectInfo:
        """Pass on."""
        return self.inner.head(uri)

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        """Pass on and count."""
        return self.get_ranges(uri, [(offset, length)])[0]

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Pass on and count."""
        found = self.inner.get_ranges(uri, ranges)
        self.here.fetched_bytes = self.fetched_bytes() + sum(map(len, found))
        return found

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Pass on and count."""
        found = self.inner.get(uri, max_bytes)
        self.here.fetched_bytes = self.fetched_bytes() + len(found)
        return found


class Handler(BaseHTTPRequestHandler):
    """Serves bytes from memory, with ranges and entity tags."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    objects: dict[str, bytes]

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer(send_body=False)

    def do_GET(self) -> None:
        """Answer with the object or a range of it."""
        self._answer(send_body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, *, send_body: bool) -> None:
        data = self.objects[self.path]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        begin, end = (int(wanted[1]), int(wanted[2]) + 1) if wanted else (0, len(data))
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{self.path[1:]}"')
        self.send_header("Content-Length", str(end - begin))
        if wanted:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
        self.end_headers()
        if send_body:
            self.wfile.write(memoryview(data)[begin:end])


def serve(objects: dict[str, bytes], ports: multiprocessing.SimpleQueue[int]) -> None:
    """Serve until the process is ended."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Objects", (Handler,), {"objects": objects}))
    server.daemon_threads = True
    ports.put(server.server_address[1])
    server.serve_forever()


# --- what a thread does -----------------------------------------------------------------------------

Read = Callable[[CachedStore, str, random.Random], tuple[int, bool]]
"""Reads something of a server; returns the bytes that were read and whether they were right."""


def reader_of_bytes(objects: dict[str, bytes]) -> Read:
    """Return what reads random ranges of the objects."""
    names = list(objects)

    def read(store: CachedStore, origin: str, rng: random.Random) -> tuple[int, bool]:
        name = _popular(names, rng)
        data = objects[name]
        if rng.randrange(WHOLE_EVERY) == 0:
            return len(data), store.get(origin + name) == data
        step = rng.choice(
            [1, CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES]
        )  # as runs of frames: mostly the same ones
        ranges = []
        for _ in range(rng.randrange(1, 5)):
            offset = rng.randrange(len(data)) // step * step
            ranges.append((offset, min(rng.randrange(LONGEST_READ_BYTES) // step * step, len(data) - offset)))
        found = store.get_ranges(origin + name, ranges)
        wanted = [data[offset : offset + length] for offset, length in ranges]
        return sum(length for _, length in ranges), found == wanted

    return read


def reader_of_frames(folder: Path, sums: dict[str, list[int]]) -> Read:
    """Return what reads random frames of videos, whose checksums are known from the local files."""
    from mediaref_ursa import LanceFrameIndex
    from mediaref_ursa._lazy.lazy_video import LazyVideo

    indexes = {name: LanceFrameIndex.open(str(folder / name[1:])) for name in sums}
    names = list(sums)

    def read(store: CachedStore, origin: str, rng: random.Random) -> tuple[int, bool]:
        name = _popular(names, rng)
        uri = origin + name
        video = LazyVideo(uri, store=store, frame_index=indexes[name], segment_uris=[uri])
        first = rng.randrange(len(sums[name]))
        frames = video[first : first + FRAMES_A_READ]
        found = [zlib.crc32(frame) for frame in frames]
        return frames.nbytes, found == sums[name][first : first + FRAMES_A_READ]

    return read


def _popular(names: Sequence[str], rng: random.Random) -> str:
    return names[min(int(rng.expovariate(3 / len(names))), len(names) - 1)]


def work(
    read: Read,
    origin: str,
    directory: Path,
    quota_bytes: int,
    until: float,
    threads: int,
    seed: int,
    answers: object,
) -> None:
    """Run the threads of one process and report its counts and errors."""
    network = CountingStore()
    store = CachedStore(network, RangeCache(directory, quota_bytes))

    def loop(number: int) -> tuple[Counter[str], list[str]]:
        rng = random.Random(seed * 1000 + number)  # noqa: S311 - a load, no secret
        counts: Counter[str] = Counter()
        errors: list[str] = []
        while time.monotonic() < until:
            before = network.fetched_bytes()
            try:
                read_bytes, is_right = read(store, origin, rng)
            except Exception:  # whatever it is, it is to be shown
                errors.append(traceback.format_exc())
                continue
            fetched = network.fetched_bytes() - before
            counts.update(reads=1, read=read_bytes, fetched=fetched, hits=not fetched, wrong=not is_right)
        return counts, errors

    with ThreadPoolExecutor(threads) as pool:
        for counts, errors in pool.map(loop, range(threads)):
            found = counts, len(errors), errors[:1]
            answers.put(found)  # type: ignore[attr-defined]


# --- what is read -----------------------------------------------------------------------------------


def make_objects() -> dict[str, bytes]:
    """Return objects of random bytes by their paths."""
    return {f"/{n}.bin": random.Random(n).randbytes(OBJECT_BYTES) for n in range(OBJECTS)}  # noqa: S311


def make_videos(folder: Path) -> dict[str, list[int]]:
    """Encode videos with their frame indexes; return the CRC-32 of each frame, read from the local file."""
    from mediaref_ursa import write_frame_index
    from mediaref_ursa._lazy.lazy_video import LazyVideo

    sums = {}
    for number in range(VIDEOS):
        path = folder / f"{number}.mp4"
        _encode(path, number)
        index = write_frame_index(str(path))
        sums[f"/{path.name}"] = [zlib.crc32(frame) for frame in LazyVideo(str(path), frame_index=index)]
    return sums


def _encode(path: Path, seed: int) -> None:
    import av
    import numpy as np

    noise = np.random.default_rng(seed).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "15", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 30)
        for n in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 7 * n, axis=n % 2), format="rgb24")
            frame.pts = n
            frame.time_base = Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


# --- the run ----------------------------------------------------------------------------------------


def bytes_on_disk(cache: RangeCache) -> int:
    """Return the bytes of all files of the cache, whole disk blocks, those being written included.

    The account is held meanwhile, or what is evicted and what takes its place would both be counted.
    """
    found = {}
    with cache._disk_usage.changing():
        for folder in (cache.directory / "writing", cache.directory / "objects"):  # a file moves that way
            for place, folders, names in os.walk(folder):
                for name in folders + names:
                    with contextlib.suppress(FileNotFoundError):
                        stat = (Path(place) / name).stat()
                        found[stat.st_ino] = -(-stat.st_size // 4096) * 4096
    return sum(found.values())


def main() -> None:
    """Run the load and print its figures; the exit code is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", action="store_true", help="read frames of videos")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        raise SystemExit(run(Path(name), options))


def run(folder: Path, options: argparse.Namespace) -> int:
    """Run the load in ``folder``; return the exit code."""
    if options.frames:
        made = CONTEXT.Pool(1)  # FFmpeg and Lance are used in a process of their own, before the others fork
        sums = made.apply(make_videos, (folder,))
        made.close()
        objects = {name: (folder / name[1:]).read_bytes() for name in sums}
        read = reader_of_frames(folder, sums)
    else:
        objects = make_objects()
        read = reader_of_bytes(objects)
    ports: multiprocessing.SimpleQueue[int] = CONTEXT.SimpleQueue()
    server = CONTEXT.Process(target=serve, args=(objects, ports), daemon=True)
    server.start()
    origin = f"http://127.0.0.1:{ports.get()}"
    working_set_bytes = sum(map(len, objects.values()))
    directory, quota_bytes = folder / "segments", working_set_bytes // 4
    until = time.monotonic() + options.seconds
    answers: multiprocessing.Queue[tuple[Counter[str], int, list[str]]] = CONTEXT.Queue()
    workers = [
        CONTEXT.Process(
            target=work,
            args=(read, origin, directory, quota_bytes, until, options.threads, seed, answers),
            daemon=True,
        )
        for seed in range(options.processes)
    ]
    for worker in workers:
        worker.start()
    cache, peak_bytes = RangeCache(directory, quota_bytes), 0
    cache.get_ranges(ObjectKey("", ""), [], list)  # begins, and makes the directory
    while time.monotonic() < until:
        peak_bytes = max(peak_bytes, bytes_on_disk(cache))
        time.sleep(0.1)
    found = [answers.get(timeout=120) for _ in range(options.processes * options.threads)]
    for worker in workers:
        worker.join(60)
    server.terminate()
    return report(options, found, cache, working_set_bytes, peak_bytes)


def report(
    options: argparse.Namespace,
    found: list[tuple[Counter[str], int, list[str]]],
    cache: RangeCache,
    working_set_bytes: int,
    peak_bytes: int,
) -> int:
    """Print the figures; return the exit code."""
    counts = sum((one for one, _, _ in found), Counter[str]())
    errors = sum(count for _, count, _ in found)
    info, mb = cache.info(), 10**6
    print(f"{options.processes} processes x {options.threads} threads, {options.seconds:.0f} s")
    print(f"working set      {working_set_bytes / mb:10.1f} MB")
    print(f"quota            {info.quota_bytes / mb:10.1f} MB")
    print(f"peak on disk     {peak_bytes / mb:10.1f} MB")
    print(f"reads            {counts['reads']:10d}    {counts['read'] / mb:.0f} MB of {_what(options)}")
    print(f"hits             {counts['hits']:10d}    no byte fetched")
    print(f"fetched          {counts['fetched'] / mb:10.1f} MB")
    print(f"evicted ranges   {info.evicted_ranges:10d}")
    print(f"litter           {cache.prune().orphans:10d}    (wanted: 0)")
    print(f"wrong            {counts['wrong']:10d}    (wanted: 0)")
    print(f"errors           {errors:10d}    (wanted: 0)")
    print("".join([text for _, _, texts in found for text in texts][:2]))
    return 1 if errors or counts["wrong"] or peak_bytes > info.quota_bytes else 0


def _what(options: argparse.Namespace) -> str:
    return "frames" if options.frames else "bytes"


if __name__ == "__main__":
    main()
