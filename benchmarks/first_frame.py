"""The first frame of a two-hour video, opened anew: ``python benchmarks/first_frame.py``.

With an index beside the video, against TorchCodec, which reads the whole table of samples to seek exactly.
Each is measured in fresh processes, after its imports, in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
from _bench_peers import python_of, run
from index_a_long_video import encode

from mediaref_ursa import write_frame_index

_READER = """
import json, sys, time
who, path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
if who == "ours":
    import lance
    from mediaref_ursa import batch_decode
    import mediaref_ursa._decode.execute
    begin = time.perf_counter()
    frames = batch_decode([{"uri": path, "pts_ns": int(seconds * 1e9)}])
else:
    from torchcodec.decoders import VideoDecoder
    begin = time.perf_counter()
    frames = VideoDecoder(path, seek_mode=who).get_frames_played_at([seconds]).data
print(json.dumps({"seconds": time.perf_counter() - begin, "frames": len(frames)}))
"""


def main() -> None:
    """Print the milliseconds that each takes, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mediaref-ursa-bench")
    parser.add_argument("--seconds", type=int, default=7200)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / f"long-{options.seconds}s.mp4"
    if not path.exists():
        encode(path, options.seconds)
    write_frame_index(path, overwrite=True)
    script = options.folder / "first_frame_reader.py"
    script.write_text(_READER, encoding="utf-8")
    readers = {"ours": "ours", "exact": "torchcodec-0.13.0", "approximate": "torchcodec-0.13.0"}
    took: dict[str, list[float]] = {name: [] for name in readers}
    for repeat in range(options.repeats):
        seconds = np.random.default_rng(repeat).uniform(0, options.seconds - 1)
        for name, peer in readers.items():
            found = run(
                python_of(peer, options.folder), script, [name, str(path), str(seconds)], dict(os.environ)
            )
            took[name].append(found["seconds"])
    medians = {name: statistics.median(values) for name, values in took.items()}
    for name, values in took.items():
        print(f"{name:12}{1e3 * medians[name]:8.1f} ms  ({1e3 * min(values):.1f} to {1e3 * max(values):.1f})")
    print(f"ours is {medians['ours'] / medians['exact']:.3f} of TorchCodec exact")


if __name__ == "__main__":
    main()
