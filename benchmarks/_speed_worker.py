"""Decode frames with one library, as asked by lines of JSON: started by ``speed.py``, one process a reader.

Runs in the virtual environment of its library, and imports only what that has. A request names a video and
calls, each a list of frames; the answer says what the calls took.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Frames = list[int]
Decode = Callable[[Frames], Any]
Opener = Callable[[str, list[int]], Decode]


def ours(option: str) -> Opener:
    """Return ``batch_decode``, with its defaults, one thread, or memory of the caller's."""
    from mediaref_ursa import MediaRef, batch_decode

    options: dict[str, Any] = {"max_workers": 1} if option == "one thread" else {}
    if option == "codec threads":
        threads = len(os.sched_getaffinity(0))
        options = {"decoder": "pyav", "decoder_options": {"num_ffmpeg_threads": threads}}

    def open_video(path: str, pts_ns: list[int]) -> Decode:
        refs = [MediaRef(path, t) for t in pts_ns]
        out: dict[int, Any] = {}

        def decode(frames: Frames) -> Any:
            wanted = [refs[frame] for frame in frames]
            if option == "list":
                return batch_decode(wanted, **options)
            if option != "out":
                return batch_decode(wanted, as_array=True, **options)
            found = batch_decode(wanted, as_array=True, out=out.get(len(frames)), **options)
            out[len(frames)] = found
            return found

        return decode

    return open_video


def frame_by_frame(option: str) -> Opener:
    """Return one reference decoded after another."""
    del option
    from mediaref_ursa import MediaRef

    def open_video(path: str, pts_ns: list[int]) -> Decode:
        return lambda frames: [MediaRef(path, pts_ns[frame]).to_ndarray() for frame in frames]

    return open_video


def limit(option: str) -> Opener:
    """Return feeding of the needed packets, which are in memory, on all cores; nothing is converted."""
    del option
    import threading
    from concurrent.futures import ThreadPoolExecutor

    import av

    from mediaref_ursa import MediaRef, plan_decode
    from mediaref_ursa._pyav.codec import open_context

    local = threading.local()
    cores = len(os.sched_getaffinity(0))
    pool = ThreadPoolExecutor(cores)

    def open_video(path: str, pts_ns: list[int]) -> Decode:
        file = Path(path).read_bytes()
        refs = [MediaRef(path, t) for t in pts_ns]

        def feed(work: tuple[Any, list[tuple[int, bytes, bool]]]) -> None:
            info, packets = work
            contexts = local.__dict__.setdefault("contexts", {})
            context = contexts.get(path)
            if context is None:
                contexts.clear()
                context = contexts[path] = open_context(info)
            else:
                context.flush_buffers()
                context.reorder_depth = info.reorder_depth
            for number, data, key in packets:
                packet = av.Packet(len(data))
                packet.update(data)
                packet.pts, packet.is_keyframe = number, key
                context.decode(packet)
            context.decode(None)

        def prepared(frames: Frames) -> Decode:
            plan = plan_decode([refs[frame] for frame in frames])
            table = plan.segments[0]
            work = []
            for run in sorted(plan.runs, key=lambda run: len(run.packets), reverse=True):
                rows = run.packets
                columns = (
                    rows,
                    table.packets.offset[rows],
                    table.packets.size[rows],
                    table.packets.is_keyframe[rows],
                )
                work.append(
                    (
                        table.info,
                        [
                            (n, file[o : o + s], k)
                            for n, o, s, k in zip(*(c.tolist() for c in columns), strict=True)
                        ],
                    )
                )
            return lambda _: list(pool.map(feed, work))

        prepared.is_prepared = True  # type: ignore[attr-defined]
        return prepared

    return open_video


def mediaref(option: str) -> Opener:
    """Return MediaRef's batches, which open the file anew, or keep it open where it can."""
    from mediaref import MediaRef, batch_decode

    decoder, _, how = option.partition(" ")
    options: dict[str, Any] = {"keep_av_open": True} if how == "kept open" else {}

    def open_video(path: str, pts_ns: list[int]) -> Decode:
        refs = [MediaRef(uri=path, pts_ns=t) for t in pts_ns]
        if how == "frame by frame":
            return lambda frames: [refs[frame].to_ndarray() for frame in frames]
        return lambda frames: batch_decode([refs[frame] for frame in frames], decoder=decoder, **options)

    return open_video


def torchcodec(option: str) -> Opener:
    """Return TorchCodec: ``exact`` or ``approximate``, ``open`` or ``anew``, and FFmpeg's threads."""
    from torchcodec.decoders import VideoDecoder

    mode, how, threads = option.split()

    def open_video(path: str, pts_ns: list[int]) -> Decode:
        def opened() -> Any:
            return VideoDecoder(path, seek_mode=mode, num_ffmpeg_threads=int(threads))

        if how == "anew":
            return lambda frames: opened().get_frames_at(frames).data
        decoder = opened()
        return lambda frames: decoder.get_frames_at(frames).data

    return open_video


def decord(option: str) -> Opener:
    """Return decord, with its default of threads or a number of them."""
    from decord import VideoReader, cpu

    def open_video(path: str, pts_ns: list[int]) -> Decode:
        reader = VideoReader(path, ctx=cpu(0), num_threads=int(option))
        return lambda frames: reader.get_batch(frames).asnumpy()

    return open_video


def opencv(option: str) -> Opener:
    """Return OpenCV: a seek unless frames follow one another."""
    import cv2

    if option == "one thread":
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "threads;1"

    def open_video(path: str, pts_ns: list[int]) -> Decode:
        capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        following = [0]

        def decode(frames: Frames) -> Any:
            found = []
            for frame in frames:
                if frame != following[0]:
                    capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
                good, picture = capture.read()
                if not good:
                    raise RuntimeError(f"no frame {frame}")
                found.append(picture)
                following[0] = frame + 1
            return found

        return decode

    return open_video


READERS: dict[str, Callable[[str], Opener]] = {
    "ours": ours,
    "frame_by_frame": frame_by_frame,
    "limit": limit,
    "mediaref": mediaref,
    "torchcodec": torchcodec,
    "decord": decord,
    "opencv": opencv,
}


def _status(name: str) -> int:
    """Return a figure of this process, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def measure(calls: list[tuple[Decode, Frames]], seconds: float) -> dict[str, Any]:
    """Make calls until the time is over, at least one; return what they took."""
    packets = _packets_of_ours()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    resident, read, fed = _status("VmRSS"), _bytes_read(), packets()
    frames = 0
    output_bytes = 0
    begin, cpu = time.perf_counter(), time.process_time()
    for number, (decode, wanted) in enumerate(calls, start=1):
        found = decode(wanted)
        frames += len(wanted)
        if number == 1:
            output_bytes = _nbytes(found)
        del found
        if time.perf_counter() - begin > seconds:
            break
    took, cpu = time.perf_counter() - begin, time.process_time() - cpu
    return {
        "seconds": took,
        "cpu_seconds": cpu,
        "calls": number,
        "frames": frames,
        "bytes_read": _bytes_read() - read,
        "packets": packets() - fed,
        "peak_mb": max(0, _status("VmHWM") - resident) / 1024,
        "output_mb": output_bytes / 2**20,
    }


def _nbytes(found: Any) -> int:
    if found is None:
        return 0
    return (
        sum(_nbytes(part) for part in found) if isinstance(found, list) else int(getattr(found, "nbytes", 0))
    )


def _packets_of_ours() -> Callable[[], int]:
    if "mediaref_ursa" not in sys.modules:
        return lambda: 0
    from mediaref_ursa import counters

    return lambda: counters().packets_decoded


def answers(opener: Opener) -> Iterator[dict[str, Any]]:
    """Yield the answer to each request on standard input."""
    opened: dict[str, Decode] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            calls = []
            for path, frames in request["calls"]:
                if path not in opened:
                    opened[path] = opener(path, request["pts_ns"])
                decode = opened[path]
                calls.append((decode(frames) if hasattr(decode, "is_prepared") else decode, frames))
            begin = time.perf_counter()
            for decode, frames in calls[: request["warm_calls"]]:
                decode(frames)
                if time.perf_counter() - begin > request["seconds"]:
                    break
            yield measure(calls[request["warm_calls"] :], request["seconds"])
        except Exception as error:  # a peer may fail in any way; the table says so
            yield {"error": f"{type(error).__name__}: {error}"[:200]}


if __name__ == "__main__":
    answer_to = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    with os.fdopen(answer_to, "w") as answers_out:
        for answer in answers(READERS[sys.argv[1]](sys.argv[2])):
            print(json.dumps(answer), file=answers_out, flush=True)
