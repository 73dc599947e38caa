"""Frames of this package on the stack between ``batch_decode`` and a codec context, and a socket.

    python benchmarks/call_depth.py

Prints, for each, how many there are and their names, outermost first: what one steps through in a debugger.
With several workers the packets of a run are decoded in a thread of the pool, whose frames are counted from
the thread's first one on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import av
import numpy as np

import mediaref_ursa
from mediaref_ursa import MediaRef, batch_decode, write_frame_index

_SERVER = Path(__file__).with_name("_bench_server.py")
PACKAGE = str(Path(mediaref_ursa.__file__).parent)
TARGETS = {
    "a codec context": lambda function: function.__qualname__.endswith("CodecContext.decode"),
    "a socket": lambda function: function.__name__ in ("recv_into", "sendall"),
}


def clip(folder: Path) -> Path:
    """Encode a small video."""
    path = folder / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width = stream.height = 128
        stream.pix_fmt = "yuv420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((128, 128, 3), number * 8, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def own_frames(frame: FrameType | None) -> list[str]:
    """Return the frames of this package that are on a stack, outermost first."""
    names: list[str] = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            module = Path(frame.f_code.co_filename).relative_to(PACKAGE).with_suffix("").as_posix()
            names.append(f"{module}:{getattr(frame.f_code, 'co_qualname', frame.f_code.co_name)}")
        frame = frame.f_back
    return names[::-1]


def stacks_of(work: Callable[[], object]) -> dict[str, list[str]]:
    """Return the longest stack of this package's frames at a call of each target, by its name."""
    found: dict[str, list[str]] = {}

    def profile(frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call":
            return
        for name, is_target in TARGETS.items():
            if is_target(function):
                names = own_frames(frame)
                if names and (name not in found or len(names) > len(found[name])):
                    found[name] = names

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return found


def main() -> None:
    """Print the stacks for a file and for a server, each with a frame index."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["MEDIAREF_URSA_CACHE"] = f"{name}/cache"
        (folder := Path(name) / "served").mkdir()
        path = clip(folder)
        server = subprocess.Popen(  # noqa: S603 - this interpreter and a file beside this one
            [sys.executable, _SERVER, folder, "0"], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        far = f"http://127.0.0.1:{int(server.stdout.readline())}/clip.mp4"
        try:
            for title, uri in (("a file", str(path)), ("over HTTP", far)):
                write_frame_index(uri)
                for target, names in stacks_of(lambda uri=uri: decode(uri)).items():
                    print(f"{title}, to {target}: {len(names)}")
                    print("".join(f"  {name}\n" for name in names))
        finally:
            server.kill()
            server.wait()


def decode(uri: str) -> None:
    """Decode one frame with nothing in memory."""
    mediaref_ursa.cleanup_cache()
    batch_decode([MediaRef(uri, 500_000_000)], max_workers=1)


if __name__ == "__main__":
    main()
