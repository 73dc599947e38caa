"""How little of a remote video is read to index it: bytes and requests, counted by the server.

A video of 1 GB is made whose packets are padded with holes, so that it takes little room on disk; its
``moov`` is FFmpeg's own. A server on loopback serves byte ranges of it. Run it by hand::

    python benchmarks/index_remote.py --gigabytes 1 --round-trip-ms 30
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

_FILLER_DATA = 12  # a NAL unit type that decoders skip (ITU-T H.264, table 7-1)
_FRAMES_PER_SECOND = 30
_WANTED_SHARE = 0.03
_PAGE_BYTES = 4096


@dataclass
class Traffic:
    """What a server has sent."""

    requests: int = 0
    bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, sent_bytes: int) -> None:
        """Add one reply."""
        with self.lock:
            self.requests += 1
            self.bytes += sent_bytes


class _HoleyFile:
    """A file to write to in which zeros take no room."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.name = file.name

    def write(self, data: bytes) -> int:
        """Write those pages that hold more than zeros."""
        position, end = 0, len(data)
        while position < end:
            page_end = position + _PAGE_BYTES - self._file.tell() % _PAGE_BYTES
            page = data[position:page_end]
            if page.count(0) == len(page):
                self._file.seek(len(page), os.SEEK_CUR)
            else:
                self._file.write(page)
            position += len(page)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def write_large_video(path: Path, total_bytes: int, group_frames: int, frame_bytes: int) -> int:
    """Write H.264 in MP4 whose packets are padded to ``frame_bytes``; return how many there are."""
    import av

    group = _encoded_group(group_frames)
    with path.open("wb") as file, av.open(_HoleyFile(file), "w", format="mp4") as output:
        stream = output.add_stream_from_template(group.stream)
        count = 0
        while count * frame_bytes < total_bytes:
            for pts, dts, is_keyframe, data in group.packets:
                packet = av.Packet(_padded(data, frame_bytes))
                packet.pts, packet.dts = pts + count, dts + count
                packet.time_base, packet.is_keyframe, packet.stream = group.time_base, is_keyframe, stream
                output.mux(packet)
            count += len(group.packets)
    return count


@dataclass(frozen=True)
class _Group:
    """The packets of one closed group of pictures: pts, dts, keyframe flag, bytes."""

    stream: Any
    time_base: Fraction
    packets: list[tuple[int, int, bool, bytes]]


def _encoded_group(frames: int) -> _Group:
    """Encode one group and read it back with its configuration record."""
    import av
    import numpy as np

    scratch = Path(tempfile.mkstemp(suffix=".mp4")[1])
    options = {"x264-params": f"keyint={frames}:min-keyint={frames}:scenecut=0:bframes=2:log-level=none"}
    with av.open(str(scratch), "w") as output:
        stream = output.add_stream("libx264", rate=_FRAMES_PER_SECOND, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 255, (180, 320, 3), dtype=np.uint8)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, number, axis=1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _FRAMES_PER_SECOND)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    source = av.open(str(scratch))
    scratch.unlink()
    video = source.streams.video[0]
    step = Fraction(1, _FRAMES_PER_SECOND) / video.time_base
    packets = [
        (round(p.pts / step), round(p.dts / step), p.is_keyframe, bytes(p))
        for p in source.demux(video)
        if p.size
    ]
    return _Group(video, Fraction(1, _FRAMES_PER_SECOND), packets)


def _padded(data: bytes, size: int) -> bytes:
    """Add a NAL unit of filler data up to ``size`` bytes."""
    room = size - len(data) - 4
    return data if room < 1 else data + room.to_bytes(4, "big") + bytes([_FILLER_DATA]) + bytes(room - 1)


@contextmanager
def serving(path: Path, round_trip_seconds: float) -> Iterator[tuple[str, Traffic]]:
    """Serve byte ranges of one file on loopback; yield its URL and what was sent so far."""
    traffic = Traffic()
    length = path.stat().st_size

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._begin(200, length)

        def do_GET(self) -> None:
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            first, last = (int(wanted[1]), int(wanted[2])) if wanted else (0, length - 1)
            with path.open("rb") as file:
                data = os.pread(file.fileno(), last + 1 - first, first)
            self._begin(206 if wanted else 200, len(data), f"bytes {first}-{last}/{length}")
            self.wfile.write(data)
            traffic.count(len(data))

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _begin(self, status: int, size: int, content_range: str = "") -> None:
            time.sleep(round_trip_seconds)
            self.send_response(status)
            self.send_header("Content-Length", str(size))
            self.send_header("ETag", '"1"')
            if status == 206:
                self.send_header("Content-Range", content_range)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/video.mp4", traffic
    finally:
        server.shutdown()
        server.server_close()


def main() -> None:
    """Index the video over HTTP and print what was moved."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--group-frames", type=int, default=60)
    parser.add_argument("--frame-kilobytes", type=int, default=16)
    parser.add_argument("--round-trip-ms", type=float, default=0.0)
    parser.add_argument("--full", action="store_true", help="read everything, to compare with")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDIAREF_URSA_CACHE"] = f"{folder}/cache"
        path = Path(folder) / "video.mp4"
        frames = write_large_video(
            path, int(given.gigabytes * 10**9), given.group_frames, given.frame_kilobytes * 1000
        )
        from mediaref_ursa import write_frame_index

        length = path.stat().st_size
        print(f"video     {length} bytes, {frames} frames, {path.stat().st_blocks * 512} bytes on disk")
        with serving(path, given.round_trip_ms / 1000) as (url, traffic):
            began = time.perf_counter()
            index = write_frame_index(url, full=given.full or None)
            seconds = time.perf_counter() - began
        assert len(index) == frames
        points = len(index.segment_table(0).random_access_points)
        print(f"index     {index.segments[0].verified}, {len(index)} frames, {points} random access points")
        print(f"moved     {traffic.bytes} bytes in {traffic.requests} requests, {seconds:.1f} s")
        print(f"share     {traffic.bytes / length:.2%} of the video (wanted: under {_WANTED_SHARE:.0%})")


if __name__ == "__main__":
    main()
