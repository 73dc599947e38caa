"""``index_videos`` of many small videos, killed several times: each video has one row, none is there twice.

Run it by hand::

    python benchmarks/ray_index_kill.py --videos 10000 --kills 5

The whole session of Ray is killed with the job, as when a machine is lost; then the job is called again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lance
import pyarrow as pa
from collection import encode

from mediaref_ursa import CollectionIndex
from mediaref_ursa._index.collection_build import CommitBatch, Wanted
from mediaref_ursa._index.outcome_rows import from_table
from mediaref_ursa.ray._index_videos import ScanVideos

_MAX_WAIT_SECONDS = 8
_JOB = """
import json, sys, time
from pathlib import Path
import ray
from mediaref_ursa.ray import index_videos
ray.init(num_cpus=2, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False,
         logging_level="error")
ray.data.DataContext.get_current().enable_progress_bars = False
print("begun", flush=True)
began = time.perf_counter()
report = index_videos(sorted(map(str, Path(sys.argv[1]).glob("*.mp4"))), sys.argv[2])
states = report["state"].to_pylist()
print(json.dumps({state: states.count(state) for state in sorted(set(states))}))
print(time.perf_counter() - began, flush=True)
"""


def job(videos: Path, into: Path) -> subprocess.Popen[str]:
    """Start the job in a session of its own."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", _JOB, str(videos), str(into)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def stop_ray() -> None:
    """Kill what is left of the cluster."""
    ray = Path(sys.executable).with_name("ray")
    subprocess.run([str(ray), "stop", "--force"], check=False, capture_output=True)  # noqa: S603


def kill(videos: Path, into: Path, seed: int) -> int:
    """Start the job, kill it within some seconds of its first commit, and return how many rows there are."""
    before = commits(into)
    running = job(videos, into)
    assert running.stdout is not None
    with running.stdout as output:
        output.readline()
        while commits(into) < before + 2 and running.poll() is None:
            time.sleep(0.05)
        time.sleep(_MAX_WAIT_SECONDS * random.Random(seed).random())  # noqa: S311
        os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL, "the job had ended"
    stop_ray()
    return check(into)


def commits(into: Path) -> int:
    """Return how many versions of the table there are."""
    return len(list((into / "_versions").glob("*.manifest")))


def check(into: Path) -> int:
    """Check the rows, and return how many there are."""
    if not into.exists():
        return 0
    rows = lance.dataset(str(into)).to_table(columns=["uri"]).column("uri").to_pylist()
    assert len(rows) == len(set(rows)), "a row is there twice"
    return len(rows)


def commit_ms(videos: list[str], into: Path) -> float:
    """Return how many milliseconds a video takes in the process that commits: unpacking and committing."""
    collection = CollectionIndex.open(into, create=True)
    scan = ScanVideos(collection, Wanted(on_error="skip"))
    tables = list(scan(pa.table({"uri": videos})))
    began = time.perf_counter()
    batch = CommitBatch(collection._table, lambda video: None)
    for table in tables:
        for row in from_table(table):
            batch.put(row.to_outcome())
    batch.commit()
    return (time.perf_counter() - began) / len(videos) * 1e3


def main() -> None:
    """Kill, go on, check; print JSON, a line each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos, into = Path(folder) / "videos", Path(folder) / "set.lance"
        videos.mkdir()
        source = videos / "00000.mp4"
        encode(source, 30)
        for number in range(1, options.videos):
            shutil.copy(source, videos / f"{number:05d}.mp4")
        for number in range(options.kills):
            print(json.dumps({"kill": number + 1, "rows": kill(videos, into, number)}), flush=True)
        running = job(videos, into)
        output, _ = running.communicate()
        stop_ray()
        assert running.returncode == 0, output
        assert check(into) == options.videos, "a video was lost"
        assert len(list(CollectionIndex.open(into))) == options.videos
        print(json.dumps({"last call": output.splitlines()[1:], "rows": options.videos}))
        some = sorted(str(path) for path in videos.glob("*.mp4"))[:1000]
        print(json.dumps({"commit_ms": round(commit_ms(some, Path(folder) / "some.lance"), 2)}))


if __name__ == "__main__":
    main()
