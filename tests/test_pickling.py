"""Whatever the library hands out can be copied and sent to another process."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _media import CODED_CLIP_NAMES, Clip

import mediaref_ursa
from mediaref_ursa import (
    DataURI,
    FetchOptions,
    LazyVideo,
    MediaRef,
    MediaRefError,
    batch_decode,
    counters,
    counting,
    plan_decode,
    write_frame_index,
)
from mediaref_ursa._index.frame_index import LanceFrameIndex
from mediaref_ursa.store import FsspecStore, HttpStore, LocalStore, MemoryStore
from mediaref_ursa.video_decoder import PyAVVideoDecoder

GetClip = Callable[[str], Clip]
H264 = next(name for name in CODED_CLIP_NAMES if name.startswith("h264"))


def _counted() -> Any:
    with counting() as counted:
        pass
    return counted


MAKERS: dict[str, Callable[[str], Any]] = {
    "batch": lambda uri: batch_decode([MediaRef(uri, 0), MediaRef(uri, 100_000_000)]),
    "batch with errors": lambda uri: batch_decode(
        [MediaRef(uri, 10**15), MediaRef("no.mp4", 0)], on_error="none"
    ),
    "array": lambda uri: batch_decode([MediaRef(uri, 0)], as_array=True),
    "counters": lambda uri: counters(),
    "counted": lambda uri: _counted(),
    "plan": lambda uri: plan_decode([MediaRef(uri, 0), MediaRef(uri, 100_000_000)]),
    "reference": lambda uri: MediaRef(uri, 5),
    "data URI": lambda uri: DataURI.from_uri("data:text/plain,a"),
    "frame": lambda uri: PyAVVideoDecoder(uri).get_frame_at(0),
    "frames": lambda uri: PyAVVideoDecoder(uri).get_frames_at([0, 1]),
    "decoder": PyAVVideoDecoder,
    "decoder metadata": lambda uri: PyAVVideoDecoder(uri).metadata,
    "index": LanceFrameIndex.open,
    "lazy video": LazyVideo,
    "window of a lazy video": lambda uri: LazyVideo(uri)[1:3],
    "lazy video metadata": lambda uri: LazyVideo(uri).metadata,
    "timestamps": lambda uri: LazyVideo(uri).timestamps,
    "fetch options": lambda uri: FetchOptions(max_requests=3),
    "HTTP store": lambda uri: HttpStore(headers={"a": "b"}),
    "local store": lambda uri: LocalStore(),
    "memory store": lambda uri: MemoryStore({"memory://a": b"abc"}),
    "cloud store": lambda uri: FsspecStore("s3", {"key": "a", "secret": "b"}),
}


def _same(found: Any, expected: Any) -> bool:
    """Compare what has an equality; of the rest, how it shows itself."""
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(_same, found, expected))
    if isinstance(expected, np.ndarray):
        return np.array_equal(found, expected)
    if hasattr(expected, "data") and hasattr(expected.data, "shape"):
        return np.array_equal(found.data, expected.data)
    if isinstance(expected, HttpStore):
        return bool(found == expected)
    return type(found) is type(expected) and str(found).split(" at 0x")[0] == str(expected).split(" at 0x")[0]


@pytest.fixture
def video(clip: GetClip, tmp_path: Path) -> str:
    path = tmp_path / "video.mp4"
    path.write_bytes(clip(H264).path.read_bytes())
    write_frame_index(path)
    return str(path)


@pytest.mark.parametrize("name", MAKERS)
def test_a_value_survives_pickling_and_copying(name: str, video: str) -> None:
    value = MAKERS[name](video)
    for copied in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert _same(copied, value)


def test_the_errors_and_counts_of_a_batch_go_along(video: str) -> None:
    batch = batch_decode([MediaRef(video, 0), MediaRef("no.mp4", 7)], on_error="none")
    found = pickle.loads(pickle.dumps(batch))
    assert found.counters == batch.counters
    assert found.counters.frames == 1
    assert type(found.errors[1]) is type(batch.errors[1])
    assert (found.errors[1].uri, found.errors[1].pts_ns) == (batch.errors[1].uri, batch.errors[1].pts_ns)
    found.counters.add(frames=1)  # a copy counts for itself
    assert batch.counters.frames == 1


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_worker_may_return_a_batch(video: str, method: str) -> None:
    refs = [MediaRef(video, 0), MediaRef(video, 10**15)]
    expected = batch_decode(refs, on_error="none")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        found = pool.submit(batch_decode, refs, on_error="none").result(timeout=100)
    assert np.array_equal(found[0], expected[0])
    assert found[1] is None
    assert str(found.errors[1]) == str(expected.errors[1])


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for name in mediaref_ursa.__all__
        if isinstance(kind := getattr(mediaref_ursa, name), type) and issubclass(kind, MediaRefError)
    ],
)
def test_every_error_survives_pickling_and_copying(kind: type[MediaRefError]) -> None:
    error = kind("what", uri="a.mp4", pts_ns=3)
    for copied in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert (type(copied), copied.message, copied.uri, copied.pts_ns) == (kind, "what", "a.mp4", 3)


def test_an_open_file_says_why_it_cannot_be_sent(clip: GetClip) -> None:
    """Its position is this process's: no copy could read it too."""
    with clip(H264).path.open("rb") as file, pytest.raises(TypeError, match="pickle"):
        pickle.dumps(PyAVVideoDecoder(file))
    assert len(pickle.loads(pickle.dumps(PyAVVideoDecoder(clip(H264).path.read_bytes()))))
