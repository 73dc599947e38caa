"""The same frames from every store, with a cold and a warm cache; what is asked of a server, counted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from _http_server import ObjectServer
from _media import Clip
from _oracle import linear_frames

from mediaref_ursa import LazyVideo, MediaRef, batch_decode, cleanup_cache, write_frame_index
from mediaref_ursa._cache.settings import _reset_cache_for_tests

GetClip = Callable[[str], Clip]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "cache"))
    _reset_cache_for_tests()
    yield tmp_path / "cache"
    _reset_cache_for_tests()


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with ObjectServer() as server:
        yield server


@pytest.fixture
def path(clip: GetClip, tmp_path: Path) -> Path:
    return Path(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "video.mp4"))


def requests(server: ObjectServer) -> list[str]:
    """Return the methods of the requests since the last call."""
    methods = [request.method for request in server.seen]
    server.seen.clear()
    return methods


def test_no_request_before_the_first_slice_and_no_get_after_it(server: ObjectServer, path: Path) -> None:
    index = write_frame_index(path)
    url = server.put("/video.mp4", path.read_bytes())
    expected = np.stack([frame.rgb for frame in linear_frames(path)]).transpose(0, 3, 1, 2)
    video = LazyVideo(url, frame_index=index, segment_uris=[url])
    window = video.lazy_slice(0.2, 1.4).lazy_slice(0.3, 1.2)
    assert len(window.refs()) == len(window)
    assert requests(server) == []
    first = window.slice(0.3, 1.2).frames
    assert "GET" in requests(server)
    again = window.slice(0.3, 1.2).frames
    assert "GET" not in requests(server)
    start = int(np.searchsorted(video.timestamps, 0.3))
    assert np.array_equal(first, expected[start : start + len(first)])
    assert np.array_equal(again, first)
    other = LazyVideo(url, frame_index=index, segment_uris=[url])  # as another process would
    assert np.array_equal(other.slice(0.3, 1.2).frames, first)
    assert "GET" not in requests(server)


def test_a_slice_fetches_what_it_needs_and_little_more(server: ObjectServer, path: Path) -> None:
    index = write_frame_index(path)
    url = server.put("/video.mp4", path.read_bytes())
    video = LazyVideo(url, frame_index=index, segment_uris=[url])
    video[:4]
    ranges = [request.headers.get("Range") for request in server.seen if request.method == "GET"]
    assert len(ranges) == 1
    assert ranges[0] is not None
    first, last = ranges[0].removeprefix("bytes=").split("-")
    assert int(last) - int(first) < path.stat().st_size / 2


def test_a_replaced_object_is_found_out(server: ObjectServer, path: Path, clip: GetClip) -> None:
    index = write_frame_index(path)
    url = server.put("/video.mp4", path.read_bytes())
    video = LazyVideo(url, frame_index=index, segment_uris=[url])
    frames = video[:4]
    data = path.read_bytes()
    server.put("/video.mp4", data[:3000] + bytes(reversed(data[3000:])))
    with pytest.raises(ValueError, match=r"CRC-32|ETag"):
        LazyVideo(url, frame_index=index, segment_uris=[url])[40:]
    server.put("/video.mp4", data)
    assert np.array_equal(LazyVideo(url, frame_index=index, segment_uris=[url])[:4], frames)


def test_references_over_http_without_an_index(server: ObjectServer, clip: GetClip) -> None:
    paths = {name: clip(name).path for name in ("h264_29_97_mp4", "h264_ts", "vp9_alt_ref_webm")}
    for path in paths.values():
        url = server.put(f"/{path.name}?signature=secret".partition("?")[0], path.read_bytes())
        frames = linear_frames(path)
        refs = [MediaRef(f"{url}?signature=secret", round(frame.time * 10**9)) for frame in frames]
        for _ in range(2):
            found = batch_decode(refs)
            assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True))
            cleanup_cache()
    methods = requests(server)
    assert methods.count("GET") < 20


def test_local_files_are_never_copied(path: Path, own_cache: Path) -> None:
    LazyVideo(path)[:5]
    assert not own_cache.exists() or not any(file.is_file() for file in own_cache.rglob("*-*"))
