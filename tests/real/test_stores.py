"""Real files from a path, over HTTP, from S3 and from memory: the same frames, cold and warm."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from _http_server import ObjectServer
from _oracle import linear_frames
from _s3 import new_bucket
from test_shared_media import FILES

from mediaref_ursa import LazyVideo, cleanup_cache, write_frame_index
from mediaref_ursa._cache.settings import _reset_cache_for_tests
from mediaref_ursa.store import MemoryStore


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "cache"))
    _reset_cache_for_tests()
    yield
    _reset_cache_for_tests()


def stacked(path: Path) -> np.ndarray:
    return np.stack([frame.rgb for frame in linear_frames(path)]).transpose(0, 3, 1, 2)


def check(video: LazyVideo, expected: np.ndarray) -> None:
    for _ in range(2):  # a cold cache, and a warm one
        middle = len(expected) // 2
        assert np.array_equal(video[middle : middle + 3], expected[middle : middle + 3])
        assert np.array_equal(video[:], expected)
        cleanup_cache()


@pytest.mark.parametrize("name", FILES)
def test_from_http_and_memory(name: str, shared_media: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(shared_media / name, tmp_path))
    expected, index = stacked(path), write_frame_index(path)
    data = path.read_bytes()
    check(LazyVideo(path, frame_index=index), expected)
    with ObjectServer() as server:
        url = server.put(f"/{name}", data)
        check(LazyVideo(url, frame_index=index, segment_uris=[url]), expected)
        check(LazyVideo(url), expected)
    store = MemoryStore({"memory://a": data})
    check(LazyVideo("memory://a", store=store, frame_index=index, segment_uris=["memory://a"]), expected)
    check(LazyVideo("memory://a", store=store), expected)


def test_from_s3(shared_media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = new_bucket(monkeypatch)
    for name in FILES:
        path = Path(shutil.copy(shared_media / name, tmp_path))
        uri = bucket.put(name, path.read_bytes())
        write_frame_index(uri, storage_options=bucket.options)
        video = LazyVideo.from_uri(uri, storage_options=bucket.options)
        check(video, stacked(path))


def test_several_segments_from_every_store(shared_media: Path, tmp_path: Path) -> None:
    names = ["h265_video.mp4", "unordered.mov", "testsrc2_vp9.webm"]
    paths = [Path(shutil.copy(shared_media / name, tmp_path)) for name in names]
    index = write_frame_index(tmp_path / "whole", segments=paths)
    local = LazyVideo(tmp_path / "whole", frame_index=index, resize=(36, 64))
    expected = local[:]
    assert len(expected) == 44
    store = MemoryStore({f"memory://{path.name}": path.read_bytes() for path in paths})
    parts = [f"memory://{path.name}" for path in paths]
    check(
        LazyVideo("memory://whole", store=store, frame_index=index, segment_uris=parts, resize=(36, 64)),
        expected,
    )
    with ObjectServer() as server:
        urls = [server.put(f"/{path.name}", path.read_bytes()) for path in paths]
        check(
            LazyVideo(server.url("/whole"), frame_index=index, segment_uris=urls, resize=(36, 64)), expected
        )
