"""What memory is counted, and what happens where there is none left."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from _media import Clip

import mediaref_ursa
from mediaref_ursa import LazyVideo, LimitExceededError, MediaRef, batch_decode, write_frame_index
from mediaref_ursa._video.source import _by_version

GetClip = Callable[[str], Clip]
SMALL = "h264_one_frame_mp4"


@pytest.mark.parametrize("name", [SMALL, "h264_idr_mp4"])
def test_the_cache_of_indexes_counts_what_it_holds(name: str, clip: GetClip, tmp_path: Path) -> None:
    paths = []
    for number in range(60):
        paths.append(str(tmp_path / f"{number}.mp4"))
        shutil.copy(clip(name).path, paths[-1])
        write_frame_index(paths[-1])
    mediaref_ursa.cleanup_cache()
    batch_decode([MediaRef(path, 0) for path in paths[:10]])
    gc.collect()
    tracemalloc.start()
    try:
        before, counted = tracemalloc.get_traced_memory()[0], _by_version._bytes
        for path in paths[10:]:
            batch_decode([MediaRef(path, 0)])
        gc.collect()
        real = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.7 * real < _by_version._bytes - counted < 3 * real


def test_the_cache_lets_small_videos_go(
    clip: GetClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mediaref_ursa.cleanup_cache()
    monkeypatch.setattr(_by_version, "_max_bytes", 50_000)
    for number in range(30):
        path = tmp_path / f"{number}.mp4"
        shutil.copy(clip(SMALL).path, path)
        batch_decode([MediaRef(str(path), 0)])
    assert 3 < len(_by_version._values) < 12
    assert _by_version._bytes <= 50_000


class TestNoMemory:
    def test_for_a_frame(self, clip: GetClip, monkeypatch: pytest.MonkeyPatch) -> None:
        path = str(clip("h264_idr_mp4").path)

        def none(*_: object, **__: object) -> None:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr("mediaref_ursa._decode.buffer_pool.np", SimpleNamespace(empty=none, uint8=np.uint8))
            batch = batch_decode([MediaRef(path, 0), MediaRef(path, 10**9)], on_error="none")
            assert [type(error) for error in batch.errors.values()] == [LimitExceededError] * 2
            with pytest.raises(LimitExceededError, match="not enough memory"):
                batch_decode([MediaRef(path, 0)])
            with pytest.raises(LimitExceededError, match="not enough memory"):
                LazyVideo.from_uri(path)[0]
        assert batch_decode([MediaRef(path, 0)])[0].shape

    @pytest.mark.parametrize(
        "place", ["_decode.pyav_engine.PyAVEngine.decode", "_scan.scan_uri.scan_segment"]
    )
    def test_elsewhere(self, place: str, clip: GetClip, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(*_: object, **__: object) -> None:
            raise MemoryError

        mediaref_ursa.cleanup_cache()
        path = str(clip("h264_pyramid_mp4").path)
        monkeypatch.setattr(f"mediaref_ursa.{place}", none)
        batch = batch_decode([MediaRef(path, 0)], on_error="none")
        assert [type(error) for error in batch.errors.values()] == [LimitExceededError]

    @pytest.mark.skipif(sys.platform != "linux", reason="the system keeps no limit on the address space")
    @pytest.mark.parametrize("spare_mib", [1, 8, 24, 60])
    def test_a_small_limit_on_the_address_space(self, spare_mib: int, clip: GetClip) -> None:
        """Errors of the tree, or frames that are right; never another error, and an end."""
        path = str(clip("h264_idr_mp4").path)
        wanted = [int(frame.sum()) for frame in batch_decode([MediaRef(path, t * 10**8) for t in range(8)])]
        code = f"""
import json, resource
from pathlib import Path
from mediaref_ursa import LazyVideo, MediaRef, MediaRefError, batch_decode
from mediaref_ursa._scan.sandbox.parent import scan_video
import mediaref_ursa._decode.pyav_engine
refs = [MediaRef({path!r}, t * 10**8) for t in range(8)]
batch_decode(refs[:1])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + ({spare_mib} << 20),) * 2)
found = []
for options in ({{}}, {{"untrusted": True}}, {{"max_workers": 4}}):
    batch = batch_decode(refs, on_error="none", **options)
    found.append([None if frame is None else int(frame.sum()) for frame in batch])
try:
    sum(1 for _ in LazyVideo.from_uri({path!r}))
except MediaRefError:
    pass
print(json.dumps(found))
"""
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        for sums in json.loads(done.stdout):
            assert all(found in (None, right) for found, right in zip(sums, wanted, strict=True))
            assert np.size(sums) == len(wanted)
