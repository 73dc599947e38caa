"""Decode frames of one URL with one library; prints the seconds that it took, as JSON.

Started by ``remote_frames.py`` with the interpreter of each library: imports only what that one has.
"""

from __future__ import annotations

import json
import sys
import time


def with_ours(url: str, pts_ns: list[int], index: str) -> object:
    """Decode with this library, the frame index at hand."""
    from mediaref_ursa import LanceFrameIndex, MediaRef, batch_decode

    opened = LanceFrameIndex.open(index)
    opened.segment_table(0)
    refs = [MediaRef(url, t) for t in pts_ns]
    begin = time.perf_counter()
    frames = batch_decode(refs, frame_index=opened)
    seconds = time.perf_counter() - begin
    counted = vars(frames.counters)
    return {"seconds": seconds, "frames": len(frames), **{k: v for k, v in counted.items() if k[0] != "_"}}


def with_mediaref(url: str, pts_ns: list[int], decoder: str) -> object:
    """Decode with MediaRef 2."""
    from mediaref import MediaRef, batch_decode

    refs = [MediaRef(uri=url, pts_ns=t) for t in pts_ns]
    begin = time.perf_counter()
    frames = batch_decode(refs, decoder=decoder)
    return {"seconds": time.perf_counter() - begin, "frames": len(frames)}


def with_torchcodec(url: str, pts_ns: list[int], mode: str) -> object:
    """Decode with TorchCodec, opened anew."""
    from torchcodec.decoders import VideoDecoder

    begin = time.perf_counter()
    decoder = VideoDecoder(url, seek_mode=mode)
    frames = decoder.get_frames_played_at([t / 1e9 for t in pts_ns])
    return {"seconds": time.perf_counter() - begin, "frames": len(frames)}


READERS = {"ours": with_ours, "mediaref": with_mediaref, "torchcodec": with_torchcodec}

if __name__ == "__main__":
    name, url, times, option = sys.argv[1:]
    print(json.dumps(READERS[name](url, json.loads(times), option)))
