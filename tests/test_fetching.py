"""What is read from afar: which ranges, how many at once, and nothing that is not needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _media import Clip
from _oracle import linear_frames
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaref_ursa import (
    CorruptMediaError,
    FetchOptions,
    MediaChangedError,
    MediaRef,
    StoreError,
    batch_decode,
    cleanup_cache,
    counters,
    counting,
    plan_decode,
    write_frame_index,
)
from mediaref_ursa._cache.settings import RangeCache
from mediaref_ursa._core.byte_ranges import merge_ranges
from mediaref_ursa._core.wording import counted
from mediaref_ursa._index.frame_index import LanceFrameIndex
from mediaref_ursa._plan.runs import Run
from mediaref_ursa._plan.tasks import DecodeSchedule, DecodeTask
from mediaref_ursa.store import MemoryStore, ObjectInfo
from mediaref_ursa.store._cached import CachedStore

GetClip = Callable[[str], Clip]
URI = "far://host/video.mp4"


class FarStore:
    """One object in memory that takes a while, and notes what it is asked for."""

    def __init__(self, data: bytes, seconds: float = 0.0) -> None:
        self.inner = MemoryStore({URI: data})
        self.seconds = seconds
        self.ranges: list[tuple[int, int]] = []
        self.heads = 0
        self.at_once = self.most_at_once = 0
        self.fail_from: int | None = None
        self._lock = threading.Lock()

    def head(self, uri: str) -> ObjectInfo:
        self.heads += 1
        return self.inner.head(uri)

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        return self.get_ranges(uri, [(offset, length)])[0]

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return self.get_ranges_of(uri, self.inner.head(uri), ranges)

    def get_ranges_of(self, uri: str, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        with self._lock:
            self.ranges += ranges
            self.at_once += len(ranges)
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(self.seconds)
            if info.etag != self.inner.head(uri).etag:
                raise MediaChangedError("another object", uri=uri)
            if self.fail_from is not None and any(sum(pair) > self.fail_from for pair in ranges):
                raise StoreError("no more", uri=uri)
            return self.inner.get_ranges(uri, ranges)
        finally:
            with self._lock:
                self.at_once -= len(ranges)

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        return self.inner.get(uri, max_bytes)


@pytest.fixture
def path(clip: GetClip) -> Path:
    return clip("h264_pyramid_mp4").path


@pytest.fixture
def data(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture
def index(data: bytes, tmp_path: Path) -> LanceFrameIndex:
    """The index of the object, with its entity tag."""
    from mediaref_ursa._index.build import scan_frame_index

    return scan_frame_index(URI, store=FarStore(data))


def far(store: FarStore, tmp_path: Path, quota_bytes: int = 10**9) -> CachedStore:
    return CachedStore(store, RangeCache(tmp_path / "cache", quota_bytes=quota_bytes))


def references(path: Path, places: Sequence[int]) -> tuple[list[MediaRef], list[np.ndarray]]:
    frames = linear_frames(path)
    return (
        [MediaRef(URI, round(frames[i].time * 10**9)) for i in places],
        [frames[i].rgb for i in places],
    )


@pytest.mark.parametrize("max_workers", [1, 3])
@pytest.mark.parametrize("fetch", [FetchOptions(), FetchOptions(0, 1, 1, 1), FetchOptions(0, 3000, 4, 5000)])
def test_frames_are_exact_and_nothing_else_is_read(
    fetch: FetchOptions, max_workers: int, path: Path, data: bytes, index: LanceFrameIndex, tmp_path: Path
) -> None:
    places = [40, 3, 3, 21, 22, 47, 0]
    refs, expected = references(path, places)
    store = FarStore(data)
    options = {"store": far(store, tmp_path), "frame_index": index, "fetch": fetch}
    plan = plan_decode(refs, **options)
    assert f"{counted(plan.requests, 'request')}, {counted(plan.bytes_read, 'byte')}" in plan.explain()
    found = batch_decode(refs, max_workers=max_workers, **options)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert store.heads == 0, "the index knows length and entity tag"
    assert sorted(store.ranges) == sorted((read.offset, read.length) for read in plan.read_plan.reads)
    assert store.most_at_once <= fetch.max_requests
    assert found.counters.frames == 6
    assert found.counters.packets_decoded == plan.packets
    assert found.counters.bytes_from_cache == 0
    again = batch_decode(refs, **options)
    assert all(np.array_equal(a, b) for a, b in zip(again, expected, strict=True))
    assert len(store.ranges) == plan.requests, "all else came from the cache"
    assert again.counters.bytes_from_cache == plan.bytes_read


def test_requests_are_sent_at_once_and_ahead(
    path: Path, data: bytes, index: LanceFrameIndex, tmp_path: Path
) -> None:
    refs, expected = references(path, range(48))
    store = FarStore(data, seconds=0.05)
    fetch = FetchOptions(max_gap_bytes=0, max_read_bytes=1500, max_requests=5)
    found = batch_decode(refs, store=far(store, tmp_path), frame_index=index, fetch=fetch)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert store.most_at_once == 5
    cleanup_cache()
    deadline = time.monotonic() + 5
    while left := [thread for thread in threading.enumerate() if thread.name.startswith("mediaref-decode")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_bytes_in_flight_are_bounded(
    path: Path, data: bytes, index: LanceFrameIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mediaref_ursa._decode import fetch as fetch_module

    held: list[int] = []
    send = fetch_module._ReadAhead._send_next

    def noting(self: fetch_module._ReadAhead) -> None:
        send(self)
        held.append(self._bytes_in_flight)

    monkeypatch.setattr(fetch_module._ReadAhead, "_send_next", noting)
    refs, _ = references(path, range(48))
    fetch = FetchOptions(max_gap_bytes=0, max_read_bytes=1000, max_requests=3, max_bytes_in_flight=6000)
    batch_decode(refs, store=far(FarStore(data), tmp_path), frame_index=index, fetch=fetch, max_workers=1)
    largest = int(index.segment_table(0).packets.size.max())
    assert max(held) <= 6000 + max(1000, largest)


def test_what_cannot_be_read_fails_alone(
    path: Path, data: bytes, index: LanceFrameIndex, tmp_path: Path
) -> None:
    refs, expected = references(path, range(48))
    store = FarStore(data)
    table = index.segment_table(0)
    store.fail_from = int(table.packets.offset[30])
    fetch = FetchOptions(max_gap_bytes=0, max_read_bytes=1)
    found = batch_decode(refs, store=far(store, tmp_path), frame_index=index, fetch=fetch, on_error="none")
    assert found.errors
    assert all(isinstance(error, StoreError) for error in found.errors.values())
    for place, frame in enumerate(found):
        assert (frame is None) == (place in found.errors)
        assert frame is None or np.array_equal(frame, expected[place])
    assert sum(frame is not None for frame in found) > 10


def test_an_object_that_was_replaced_is_opened_again(
    path: Path, data: bytes, clip: GetClip, tmp_path: Path
) -> None:
    refs, expected = references(path, [5, 30])
    store = FarStore(data)
    through = far(store, tmp_path, quota_bytes=0)
    assert np.array_equal(batch_decode(refs, store=through)[0], expected[0])
    heads = store.heads
    assert np.array_equal(batch_decode(refs, store=through)[1], expected[1])
    assert store.heads == heads, "the second call knows the entity tag"
    other = clip("h264_idr_mp4").path
    store.inner.put(URI, other.read_bytes())
    refs, expected = references(other, [5, 30])
    found = batch_decode(refs, store=through)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


class ExchangedStore(FarStore):
    """Another object stands there after some ranges were read."""

    def __init__(self, data: bytes, other: bytes, after: int) -> None:
        super().__init__(data)
        self.other, self.after = other, after

    def get_ranges_of(self, uri: str, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if len(self.ranges) >= self.after:
            self.inner.put(URI, self.other)
        return super().get_ranges_of(uri, info, ranges)


@pytest.mark.parametrize("quota_bytes", [0, 10**9])
@pytest.mark.parametrize("after", [1, 2, 5])
def test_one_call_never_gives_frames_of_two_versions(
    after: int, quota_bytes: int, path: Path, data: bytes, clip: GetClip, tmp_path: Path
) -> None:
    from mediaref_ursa._index.build import scan_frame_index

    other = clip("h264_idr_mp4").path
    refs, expected = references(other, range(0, 48, 4))
    store = ExchangedStore(data, other.read_bytes(), after=10**9)
    through = far(store, tmp_path, quota_bytes)
    batch_decode(refs[:2], store=through)  # what it holds then is of the first version
    assert scan_frame_index(URI, store=store).segments[0].etag is not None
    store.after = len(store.ranges) + after
    fetch = FetchOptions(max_gap_bytes=0, max_read_bytes=1)
    found = batch_decode(refs, store=through, fetch=fetch, max_workers=1)
    if quota_bytes:  # the scan put the whole first version into the cache
        _, expected = references(path, range(0, 48, 4))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_the_cache_holds_of_an_earlier_version_does_not_mix(
    path: Path, data: bytes, index: LanceFrameIndex, clip: GetClip, tmp_path: Path
) -> None:
    other = clip("h264_idr_mp4").path
    refs, expected = references(other, range(0, 48, 4))
    store = FarStore(data)
    through = far(store, tmp_path)
    from mediaref_ursa._video.source import open_source
    from mediaref_ursa.store._location import Location

    source = open_source(Location(URI, through))  # known in memory, and all of it on disk
    assert source.segments
    table = source.segments[0]
    info = ObjectInfo(table.info.length, table.info.etag, None)
    through.clear_ranges(URI, info, [(int(table.packets.offset[30]), 1)])
    store.inner.put(URI, other.read_bytes())
    found = batch_decode(refs, store=through)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


class FailingEngine:
    """An engine whose decoder cannot be made."""

    joins_runs = True
    keeps_bits = False

    def begin(self, tables: object, stores: object, runs: Sequence[Run]) -> DecodeSchedule:
        return DecodeSchedule(tasks=[DecodeTask(run) for run in runs])

    def may_need_earlier_start(self, info: object) -> bool:
        return False

    def pixels(self, picture: object, new: object) -> object:
        raise AssertionError("nothing was decoded")

    def decode(self, table: object, step: object, feed: object) -> Iterator[tuple[int, object]]:
        raise CorruptMediaError("no decoder")
        yield


def test_a_decoder_that_cannot_be_made_ends_each_run_and_lets_its_bytes_go(
    path: Path, data: bytes, index: LanceFrameIndex, tmp_path: Path
) -> None:
    from mediaref_ursa._decode.execute import decoded_frames
    from mediaref_ursa._decode.fetch import Fetcher
    from mediaref_ursa._video.source import VideoSource

    refs, _ = references(path, [3, 40])
    store = far(FarStore(data), tmp_path)
    plan = plan_decode(refs, store=store, frame_index=index)
    sources = [VideoSource(URI, store, plan.segments)]
    for workers in (1, 2):
        frames = list(decoded_frames(plan, sources, FailingEngine(), max_workers=workers))
        assert len(frames) == 2
        assert all(isinstance(frame.error, CorruptMediaError) for frame in frames)
    with Fetcher(plan, sources, range(len(plan.runs))) as fetcher:
        for run in range(len(plan.runs)):
            fetcher.packets_of_run(run).close()  # never begun
            fetcher.release_run(run)
        assert fetcher._ahead is not None
        assert fetcher._ahead._sent == {}
        assert fetcher._ahead._bytes_in_flight == 0


def test_an_early_end_does_not_wait_for_a_store_that_stalls(
    path: Path, data: bytes, index: LanceFrameIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mediaref_ursa._decode.execute import decoded_frames, make_engine
    from mediaref_ursa._model.pixels import PixelSpec
    from mediaref_ursa._video.source import VideoSource

    refs, _ = references(path, range(48))
    slow = FarStore(data)
    store = far(slow, tmp_path)
    fetch = FetchOptions(max_gap_bytes=0, max_read_bytes=2000)
    plan = plan_decode(refs, store=store, frame_index=index, fetch=fetch)
    monkeypatch.setattr(
        "mediaref_ursa._decode.execute._PIXELS_A_WORKER", 1
    )  # so few are one thread's work else
    slow.seconds = 5.0
    threading.Timer(0.3, lambda: setattr(slow, "seconds", 5.0)).start()
    sources = [VideoSource(URI, store, plan.segments)] * len(plan.segments)
    frames = decoded_frames(plan, sources, make_engine("pyav", PixelSpec()), max_workers=2)
    begin = time.monotonic()
    reader = threading.Thread(target=lambda: next(frames, None), daemon=True)
    reader.start()
    time.sleep(0.5)
    assert reader.is_alive(), "it waits for the first bytes"
    task_pool = [t for t in threading.enumerate() if t.name.startswith("mediaref-decode")]
    assert task_pool
    closing = next(f for f in _fetchers(frames))
    closing.close()
    reader.join(timeout=4)
    assert not reader.is_alive()
    assert time.monotonic() - begin < 4.5


def _fetchers(frames: object) -> Iterator[Any]:
    yield frames.gi_frame.f_locals["fetcher"]  # type: ignore[attr-defined]


def test_an_index_of_another_version_is_an_error(
    path: Path, data: bytes, index: LanceFrameIndex, clip: GetClip, tmp_path: Path
) -> None:
    from mediaref_ursa import FrameIndexStaleError

    refs, _ = references(path, [5])
    other = bytearray(data)
    other[-1] ^= 1
    with pytest.raises(FrameIndexStaleError, match="ETag"):
        batch_decode(refs, store=far(FarStore(bytes(other)), tmp_path), frame_index=index)


def _fetching_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("mediaref-fetch")]


def test_abandoned_iteration_leaves_no_threads(
    path: Path, data: bytes, index: LanceFrameIndex, tmp_path: Path
) -> None:
    from mediaref_ursa import LazyVideo

    video = LazyVideo(URI, store=far(FarStore(data, seconds=0.01), tmp_path), frame_index=index)
    frames = iter(video)
    next(frames)
    frames.close()
    deadline = time.monotonic() + 5
    while (left := _fetching_threads()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == []


def test_counts_of_blocks_and_of_the_process(path: Path, data: bytes, tmp_path: Path) -> None:
    refs, _ = references(path, [5, 6])
    before = counters()
    with counting() as outer, counting() as inner:
        frames = batch_decode([MediaRef(str(path), ref.pts_ns) for ref in refs])
    assert outer == inner == frames.counters
    assert outer.frames == 2
    assert outer.requests == 0, "nothing of this machine is a request"
    assert counters().frames - before.frames == 2
    with counting() as later:
        pass
    assert later.frames == 0


def test_lazy_windows_fetch_ahead_too(
    path: Path, data: bytes, index: LanceFrameIndex, tmp_path: Path
) -> None:
    from mediaref_ursa import LazyVideo

    store = FarStore(data)
    video = LazyVideo(URI, store=far(store, tmp_path), frame_index=index, channel_format="NHWC")
    assert store.heads == len(store.ranges) == 0
    expected = [frame.rgb for frame in linear_frames(path)]
    assert np.array_equal(video[10:20], np.stack(expected[10:20]))
    assert store.heads == 0
    assert len(store.ranges) == 1
    assert np.array_equal(np.stack(list(video)), np.stack(expected))


def test_options_that_are_wrong() -> None:
    for wrong in (
        {"max_gap_bytes": -1},
        {"max_read_bytes": 0},
        {"max_requests": 0},
        {"max_bytes_in_flight": 0},
    ):
        with pytest.raises(ValueError, match="expected max_"):
            FetchOptions(**wrong)


@given(
    pieces=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), max_size=30),
    gap=st.integers(0, 30),
    limit=st.integers(1, 100),
)
@settings(max_examples=300)
def test_merged_ranges_cover_the_pieces(pieces: list[tuple[int, int]], gap: int, limit: int) -> None:
    offsets, sizes = (np.array([piece[i] for piece in pieces], dtype=np.int64) for i in range(2))
    merged = merge_ranges(offsets, sizes, max_gap_bytes=gap, max_read_bytes=limit)
    for (offset, size), read, start in zip(
        pieces, merged.read_of.tolist(), merged.start_in_read.tolist(), strict=True
    ):
        first, length = merged.ranges[read]
        assert first + start == offset
        assert start + size <= length
    starts = [offset for offset, _ in merged.ranges]
    assert starts == sorted(starts)
    for first, length in merged.ranges:
        inside = [(o, s) for o, s in pieces if first <= o and o + s <= first + length]
        assert length <= limit or len(inside) == 1 or length == max(s for _, s in inside)


def test_an_index_beside_a_local_copy_needs_no_tag(path: Path, data: bytes, tmp_path: Path) -> None:
    copied = tmp_path / "copy.mp4"
    copied.write_bytes(data)
    index = write_frame_index(copied)
    refs, expected = references(path, [7])
    store = FarStore(data)
    found = batch_decode(refs, store=far(store, tmp_path), frame_index=index)
    assert np.array_equal(found[0], expected[0])
    assert store.heads == 1, "the index says no tag: the length is compared"


def test_bytes_that_were_spoilt_on_their_way_are_fetched_again(
    path: Path, data: bytes, index: LanceFrameIndex, tmp_path: Path
) -> None:
    refs, expected = references(path, range(48))
    spoilt = bytearray(data)
    table = index.segment_table(0)
    for packet in (5, 17):
        spoilt[int(table.packets.offset[packet]) + 9] ^= 0xFF
    store, true = FarStore(data), MemoryStore({URI: data})
    store.inner._objects[URI] = (bytes(spoilt), true.head(URI).etag or "")
    through = far(store, tmp_path)
    found = batch_decode(refs, store=through, frame_index=index, on_error="none")
    assert found.errors
    store.inner = true
    for _ in range(2):  # the cache let go of what was wrong
        found = batch_decode(refs, store=through, frame_index=index)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    asked = len(store.ranges)
    batch_decode(refs, store=through, frame_index=index)
    assert len(store.ranges) == asked
