"""Every fault of a server, at every request from the first to the twentieth, once and from then on.

Two things are read: ranges of bytes of one version of an object, and frames of a video whose index is at
hand. Each trial ends with the exact answer, or with an error of the library within its deadline. Anything
else is counted as wrong, and what does not end as hung.

    python benchmarks/fault_matrix.py [--most 20] [--only http|s3] [--level bytes|frames]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from _fault_server import FAULTS, FLIPPED_BYTE, FaultServer
from _oracle import OracleFrame, linear_frames
from _s3 import Bucket, server_url

from mediaref_ursa import LanceFrameIndex, MediaRef, MediaRefError, batch_decode, write_frame_index
from mediaref_ursa.store import FsspecStore, HttpStore, ObjectStore

RUNS = 24
GOP_FRAMES = 4
DEADLINE_SECONDS = 2.0
HUNG_SECONDS = 30.0
LIMITS: dict[str, Any] = {
    "connect_timeout_seconds": 0.5,
    "read_timeout_seconds": 0.15,
    "attempts": 3,
    "backoff_seconds": 0.005,
    "deadline_seconds": DEADLINE_SECONDS,
}
# What only the checksums of an index find: not a matter of stores.
OF_FRAMES_ONLY = {"flipped byte": FLIPPED_BYTE}


@dataclass(frozen=True)
class Case:
    """A video behind a server that can fail.

    Attributes:
        server: Counts requests from the one on which the fault is set.
        store: Reads through it.
        uri: Of the video.
        data: Its bytes.
    """

    server: FaultServer
    store: ObjectStore
    uri: str
    data: bytes


@dataclass(frozen=True)
class Video:
    """A made video, its index, and what its frames look like when they are decoded one after another."""

    path: Path
    index: LanceFrameIndex
    frames: list[OracleFrame]

    @classmethod
    def made_in(cls, folder: Path) -> Video:
        """Make one of twice as many groups of pictures as runs are read."""
        path = folder / "video.mp4"
        noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(
                "libx264", rate=30, options={"g": str(GOP_FRAMES), "sc_threshold": "0"}
            )
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            stream.time_base = stream.codec_context.time_base = Fraction(1, 30)
            for number in range(2 * RUNS * GOP_FRAMES):
                frame = av.VideoFrame.from_ndarray(np.roll(noise, 2 * number, axis=1), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 30)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return cls(path, write_frame_index(path), linear_frames(path))


@contextmanager
def over_http(video: Video) -> Iterator[Case]:
    """Serve the video over HTTP."""
    data = video.path.read_bytes()
    with FaultServer({"/video.mp4": data}) as server:
        yield Case(server, HttpStore(**LIMITS), server.url("/video.mp4"), data)


@contextmanager
def over_s3(video: Video) -> Iterator[Case]:
    """Serve the video by moto's S3, with a proxy before it that fails."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            del os.environ[name]
    data, bucket = video.path.read_bytes(), Bucket(server_url())
    bucket.client().create_bucket(Bucket=bucket.name)
    uri = bucket.put("video.mp4", data)
    with FaultServer(upstream=bucket.endpoint_url) as server:
        options = {**bucket.options, "endpoint_url": server.url()}
        yield Case(server, FsspecStore("s3", options, max_gap_bytes=0, **LIMITS), uri, data)


def read_bytes(case: Case) -> Callable[[], bool]:
    """Return what reads ranges of one version and says whether they are exact."""
    info: Any = case.store.head(case.uri)
    size = len(case.data)
    ranges = [(size * number // RUNS, size // (2 * RUNS)) for number in range(RUNS)]
    expected = [case.data[offset : offset + length] for offset, length in ranges]
    store: Any = case.store
    return lambda: store.get_ranges_of(case.uri, info, ranges) == expected


def read_frames(case: Case, video: Video) -> Callable[[], bool]:
    """Return what reads a frame of every second group of pictures and says whether all are exact."""
    from mediaref_ursa._plan.reads import FetchOptions

    wanted = [2 * GOP_FRAMES * number + 1 for number in range(RUNS)]
    refs = [MediaRef(case.uri, round(video.frames[number].time * 10**9)) for number in wanted]
    fetch = FetchOptions(max_gap_bytes=0)

    def read() -> bool:
        found: Any = batch_decode(
            refs, frame_index=video.index, store=case.store, fetch=fetch, on_error="none"
        )
        pairs = list(zip(found, wanted, strict=True))
        if not all(one is None or np.array_equal(one, video.frames[n].rgb) for one, n in pairs):
            return False
        if found.errors:
            raise found.errors[min(found.errors)]
        return True

    return read


def outcome(pool: ThreadPoolExecutor, read: Callable[[], bool]) -> str:
    """Run one trial."""
    began = time.monotonic()
    try:
        is_exact = pool.submit(read).result(HUNG_SECONDS)
    except MediaRefError:
        return "typed errors"
    except TimeoutError:
        return "hung"
    except Exception as error:
        print(f"unexpected: {error!r}", file=sys.stderr)
        return "wrong"
    finally:
        took = time.monotonic() - began
        SLOWEST[0] = max(SLOWEST[0], took)
    return "exact" if is_exact else "wrong"


SLOWEST = [0.0]
COLUMNS = ("tried", "exact", "typed errors", "wrong", "hung")


def run_case(
    name: str, case: Case, read: Callable[[], bool], faults: dict[str, Any], most: int
) -> Counter[str]:
    """Try each fault and print a line of each."""
    total: Counter[str] = Counter()
    for fault, strike in faults.items():
        for always in (False, True):
            counts: Counter[str] = Counter()
            SLOWEST[0] = 0.0
            for nth in range(1, most + 1):
                case.server.fail(strike, nth=nth, always=always)
                with ThreadPoolExecutor(1) as pool:
                    counts[outcome(pool, read)] += 1
                counts["tried"] += 1
            print_line(name, f"{fault}, {'always' if always else 'once'}", counts, f"{SLOWEST[0]:.1f} s")
            total += counts
        case.server.behave()
        if not read():
            raise SystemExit("a server that behaves gives other bytes: the benchmark is wrong")
        if len(case.server.seen) < most:
            raise SystemExit(f"expected {most} requests in a trial, found {len(case.server.seen)}")
    return total


def print_line(*parts: Any) -> None:
    """Print a line of the table."""
    name, fault, counts, slowest = parts
    figures = "".join(f"{counts[column]:>14}" for column in COLUMNS)
    print(f"{name:<12} {fault:<32}{figures}{slowest:>10}", flush=True)


def main() -> None:
    """Run the matrix."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=20, help="the last request that a fault strikes first")
    parser.add_argument("--only", choices=("http", "s3"), help="one kind of store")
    parser.add_argument("--level", choices=("bytes", "frames"), help="one kind of reading")
    given = parser.parse_args()
    os.environ["MEDIAREF_URSA_CACHE_LIMIT"] = "0"  # each trial reads from the server
    servers = {"http": over_http, "s3": over_s3}
    print(f"{'':<12} {'fault at the Nth request':<32}" + "".join(f"{c:>14}" for c in COLUMNS) + "   slowest")
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        video = Video.made_in(Path(folder))
        for kind, serve in servers.items():
            if given.only in (None, kind):
                with serve(video) as case:
                    if given.level in (None, "bytes"):
                        total += run_case(f"{kind} bytes", case, read_bytes(case), FAULTS, given.most)
                    if given.level in (None, "frames"):
                        faults = {**FAULTS, **OF_FRAMES_ONLY}
                        read = read_frames(case, video)
                        total += run_case(f"{kind} frames", case, read, faults, given.most)
    print_line("in all", "", total, "")
    if total["wrong"] or total["hung"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
