"""What one table for many videos costs, against an index next to each of them.

Tables of a few videos stand for many: every row is compressed by itself, so that copies cost no less.
Run it by hand, with nothing else running::

    python benchmarks/collection.py --videos 1000 10000 100000 --media FOLDER

Without ``--media`` it encodes three small clips. Requests to S3 are those that reach a server of moto on
loopback; on disk they are read calls of this process.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import lance
import numpy as np

from mediaref_ursa import CollectionIndex, LanceFrameIndex, MediaRefError
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa._index.lance_table import write_index
from mediaref_ursa._model.segment import SegmentTable

_LOOKED_UP = 64
_PUT_AT_ONCE = 512
_OPENINGS = 7
_KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}


@dataclass(frozen=True)
class Reads:
    """What looking up 64 videos took.

    Attributes:
        requests: Read calls on disk, or requests to S3.
        bytes: What they gave.
        milliseconds: In all.
    """

    requests: int
    bytes: int
    milliseconds: float


@dataclass(frozen=True)
class Result:
    """One size of a collection.

    Attributes:
        videos: How many there are.
        frames: Of all videos.
        bytes_per_frame: Of the table after compaction.
        sidecar_bytes_per_frame: Of 64 indexes next to their videos.
        put_ms_per_video: Packing and committing, without scans.
        compact_seconds: One compaction.
        open_ms: Opening, the median.
        disk: 64 random videos, on disk.
        disk_sidecars: The same from 64 sidecars.
        s3: 64 random videos, from S3.
        s3_sidecars: The same from 64 sidecars.
        peak_mib: Memory of this process at its peak so far.
    """

    videos: int
    frames: int
    bytes_per_frame: float
    sidecar_bytes_per_frame: float
    put_ms_per_video: float
    compact_seconds: float
    open_ms: float
    disk: Reads
    disk_sidecars: Reads
    s3: Reads
    s3_sidecars: Reads
    peak_mib: float


def encode(path: Path, frames: int) -> None:
    """Write a small H.264 video with B-frames."""
    import av

    random = np.random.default_rng(frames)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=30, options={"preset": "ultrafast", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            picture = random.integers(0, int(random.integers(2, 255)), (72, 64), dtype=np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        output.mux(stream.encode(None))


def real_tables(folder: Path, media: Path | None) -> list[SegmentTable]:
    """Return the segment tables of some videos."""
    if media is None:
        paths = [folder / f"clip{frames}.mp4" for frames in (150, 300, 900)]
        for path in paths:
            encode(path, int(path.stem[4:]))
    else:
        paths = sorted(path for path in media.iterdir() if path.is_file())
    found = []
    for path in paths:
        try:
            found.append(scan_frame_index(path).segment_table(0))
        except MediaRefError as error:
            print(f"left out: {error}")
    return found


class Server:
    """moto's S3 on loopback, which counts what it answers."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self.requests = self.bytes = 0
        self._answer = DomainDispatcherApplication(create_backend_app)
        server = make_server("127.0.0.1", 0, self._counted, threaded=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"

    def _counted(self, environment: dict[str, Any], start: Callable[..., Any]) -> Any:
        def begin(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            self.requests += 1
            if environment["REQUEST_METHOD"] == "GET":
                self.bytes += int(dict(headers).get("Content-Length", 0))
            return start(status, headers, *rest)

        return self._answer(environment, begin)

    @property
    def options(self) -> dict[str, str]:
        """``storage_options`` for the server."""
        return {"key": "key", "secret": "secret", "endpoint_url": self.url}

    def upload(self, folder: Path, bucket: str) -> None:
        """Put all files of a folder into a bucket."""
        import boto3

        client = boto3.client("s3", endpoint_url=self.url, **_KEYS)
        client.create_bucket(Bucket=bucket)
        for path in folder.rglob("*"):
            if path.is_file():
                client.upload_file(str(path), bucket, path.relative_to(folder).as_posix())


def video_name(number: int) -> str:
    """Return the path of a video below the root."""
    return f"takes/{number // 100:05d}/clip_{number:07d}.mp4"


def fill(collection: CollectionIndex, tables: Sequence[SegmentTable], videos: int) -> float:
    """Put copies of tables in; return seconds."""
    began = time.perf_counter()
    for first in range(0, videos, _PUT_AT_ONCE):
        numbers = range(first, min(first + _PUT_AT_ONCE, videos))
        some = {f"{collection.root}/{video_name(number)}": number for number in numbers}
        collection._table.put(
            {uri: [tables[number % len(tables)].with_uri(uri)] for uri, number in some.items()}
        )
    return time.perf_counter() - began


def write_sidecars(root: Path, tables: Sequence[SegmentTable], numbers: Sequence[int]) -> float:
    """Write an index next to each of some videos; return bytes a frame."""
    size = frames = 0
    for number in numbers:
        uri = str(root / video_name(number))
        table = tables[number % len(tables)].with_uri(uri)
        write_index(f"{uri}.lance", [table])
        size += folder_bytes(Path(f"{uri}.lance"))
        frames += len(table)
    return size / frames


def folder_bytes(folder: Path) -> int:
    """Return the size of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def reads_on_disk() -> Iterator[Callable[[], Reads]]:
    """Yield a function that returns the read calls of this process since the block began."""

    def counts() -> tuple[int, int]:
        fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(fields["syscr"]), int(fields["rchar"])

    (calls, size), began = counts(), time.perf_counter()
    yield lambda: Reads(counts()[0] - calls, counts()[1] - size, (time.perf_counter() - began) * 1e3)


@contextmanager
def reads_of(server: Server) -> Iterator[Callable[[], Reads]]:
    """Yield a function that returns the requests to a server since the block began."""
    (requests, size), began = (server.requests, server.bytes), time.perf_counter()
    yield lambda: Reads(server.requests - requests, server.bytes - size, (time.perf_counter() - began) * 1e3)


def from_collection(uri: str, videos: Sequence[str], options: dict[str, str] | None) -> None:
    """Open a collection, and read the columns of some videos."""
    found = CollectionIndex.open(uri, storage_options=options).get_many(videos)
    assert len(found) == len(videos)
    for index in found.values():
        index.segment_table(0)


def from_sidecars(videos: Sequence[str], options: dict[str, str] | None) -> None:
    """Open the index next to each of some videos, and read its columns."""
    for video in videos:
        LanceFrameIndex.open(video, storage_options=options).segment_table(0)


def measure(videos: int, tables: Sequence[SegmentTable], folder: Path, server: Server) -> Result:
    """Build one collection and look things up in it."""
    root = folder / f"set{videos}"
    root.mkdir()
    place = str(root / "index.lance")
    collection = CollectionIndex.open(place, create=True)
    put_seconds = fill(collection, tables, videos)
    began = time.perf_counter()
    collection.compact()
    compact_seconds = time.perf_counter() - began
    lance.dataset(place).cleanup_old_versions(older_than=timedelta(0))  # they are kept for an hour
    size = folder_bytes(root / "index.lance")
    frames = sum(len(tables[number % len(tables)]) for number in range(videos))
    numbers = np.random.default_rng(1).choice(videos, min(_LOOKED_UP, videos), replace=False).tolist()
    sidecars = root / "sidecars"
    sidecar_bytes = write_sidecars(sidecars, tables, numbers)
    names = [video_name(number) for number in numbers]
    openings = []
    for _ in range(_OPENINGS):
        began = time.perf_counter()
        CollectionIndex.open(place)
        openings.append((time.perf_counter() - began) * 1e3)
    with reads_on_disk() as read:
        from_collection(place, [str(root / name) for name in names], None)
        disk = read()
    with reads_on_disk() as read:
        from_sidecars([str(sidecars / name) for name in names], None)
        disk_sidecars = read()
    bucket = f"videos-{videos}"
    server.upload(root, bucket)
    with reads_of(server) as read:
        uris = [f"s3://{bucket}/{name}" for name in names]
        from_collection(f"s3://{bucket}/index.lance", uris, server.options)
        s3 = read()
    with reads_of(server) as read:
        from_sidecars([f"s3://{bucket}/sidecars/{name}" for name in names], server.options)
        s3_sidecars = read()
    return Result(
        videos=videos,
        frames=frames,
        bytes_per_frame=size / frames,
        sidecar_bytes_per_frame=sidecar_bytes,
        put_ms_per_video=put_seconds * 1e3 / videos,
        compact_seconds=compact_seconds,
        open_ms=median(openings),
        disk=disk,
        disk_sidecars=disk_sidecars,
        s3=s3,
        s3_sidecars=s3_sidecars,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def lines_of(result: Result) -> list[str]:
    """Return a result as text."""

    def line(what: str, one: Reads, many: Reads) -> str:
        return (
            f"  {what}: {one.requests} requests, {one.bytes} bytes, {one.milliseconds:.0f} ms; 64 sidecars "
            f"{many.requests}, {many.bytes}, {many.milliseconds:.0f} ms; "
            f"{many.requests / one.requests:.1f} times fewer requests"
        )

    return [
        f"{result.videos} videos, {result.frames} frames:",
        f"  {result.bytes_per_frame:.1f} bytes a frame, sidecars {result.sidecar_bytes_per_frame:.1f}",
        f"  {result.put_ms_per_video:.2f} ms a video to put in, {result.compact_seconds:.2f} s to compact",
        f"  {result.open_ms:.1f} ms to open, {result.peak_mib:.0f} MiB at the peak",
        line("disk", result.disk, result.disk_sidecars),
        line("S3", result.s3, result.s3_sidecars),
    ]


def main() -> None:
    """Print what each size costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, nargs="+", default=[1_000])
    parser.add_argument("--media", type=Path, help="a folder of videos whose tables are used")
    parser.add_argument("--json", type=Path, help="write the results there too")
    given = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    results = []
    with tempfile.TemporaryDirectory() as folder:
        tables, server = real_tables(Path(folder), given.media), Server()
        for videos in given.videos:
            results.append(measure(videos, tables, Path(folder), server))
            print("\n".join(lines_of(results[-1])), flush=True)
            shutil.rmtree(Path(folder) / f"set{videos}")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")


if __name__ == "__main__":
    main()
