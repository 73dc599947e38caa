"""A store behind the range cache: the same bytes, fewer requests."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from _http_server import Fault, ObjectServer
from test_store_contract import Place, TestContract
from test_store_contract import TestOneVersion as TestOneVersionContract

from mediaref_ursa import LimitExceededError, MediaChangedError, MediaNotFoundError, StoreError
from mediaref_ursa._cache import settings
from mediaref_ursa._cache.settings import RangeCache
from mediaref_ursa.store import HttpStore, LocalStore, MemoryStore, ObjectInfo, ObjectStore, _cached
from mediaref_ursa.store._cached import CachedStore, cached, object_key

__all__ = ["TestContract", "TestOneVersionContract"]  # run here on a store behind the cache

DATA = bytes(range(256)) * 1000
URI = "remote://host/a.mp4"


class RecordingStore:
    """A store that tells what was asked of it, and whose objects can be replaced."""

    def __init__(self, **objects: bytes) -> None:
        self.memory = MemoryStore({f"remote://host/{name}.mp4": data for name, data in objects.items()})
        self.calls: list[str] = []

    def put(self, data: bytes, uri: str = URI) -> None:
        self.memory.put(uri, data)

    def head(self, uri: str) -> ObjectInfo:
        self.calls.append("head")
        return self.memory.head(uri.partition("?")[0])

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        return self.get_ranges(uri, [(offset, length)])[0]

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.calls.append(f"ranges {list(ranges)}")
        return self.memory.get_ranges(uri.partition("?")[0], ranges)

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        self.calls.append("get")
        return self.memory.get(uri, max_bytes)

    def since(self) -> list[str]:
        calls, self.calls = self.calls, []
        return calls


class OneVersionStore(RecordingStore):
    """As above, and it reads one version of an object and no other."""

    def get_ranges_of(self, uri: str, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.calls.append(f"ranges of {info.etag} {list(ranges)}")
        if self.memory.head(uri) != info:
            raise MediaChangedError("replaced", uri=uri)
        return self.memory.get_ranges(uri, ranges)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(settings, "_DEFAULT_CACHE_DIR", tmp_path / "segments")
    settings._reset_cache_for_tests()
    yield tmp_path / "segments"
    settings._reset_cache_for_tests()


@pytest.fixture
def inner() -> RecordingStore:
    return RecordingStore(a=DATA)


@pytest.fixture
def store(inner: RecordingStore) -> CachedStore:
    return CachedStore(inner)


@contextmanager
def _place(kind: str) -> Iterator[Place]:
    if kind == "memory":
        memory = MemoryStore()

        def put(name: str, data: bytes) -> str:
            memory.put(f"memory://{name}", data)
            return f"memory://{name}"

        yield Place(CachedStore(memory), put)
        return
    with ObjectServer() as server:
        http = CachedStore(HttpStore(backoff_seconds=0.001))
        yield Place(http, lambda name, data: server.put(f"/{quote(name)}", data))


@pytest.fixture(params=["http", "memory"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """The stores of the contract suite, behind the cache."""
    with _place(request.param) as place:
        yield place


@pytest.fixture(params=["http", "memory"])
def versioned(request: pytest.FixtureRequest) -> Iterator[Place]:
    """The same: behind the cache, any store reads one version."""
    with _place(request.param) as place:
        yield place


def files(directory: Path) -> list[Path]:
    return list(directory.glob("objects/*/*-*"))


def test_a_second_epoch_asks_for_nothing(store: CachedStore, inner: RecordingStore) -> None:
    ranges = [(10, 100), (5000, 1)]
    expected = [DATA[10:110], DATA[5000:5001]]

    assert store.get_ranges(URI, ranges) == expected
    assert inner.since() == ["head", "ranges [(10, 100), (5000, 1)]", "head"]
    assert store.get_ranges(URI, ranges) == expected
    assert store.get_range(URI, 20, 5) == DATA[20:25]
    assert inner.since() == []


def test_a_new_process_asks_for_the_tag_only(store: CachedStore, inner: RecordingStore) -> None:
    store.get_range(URI, 10, 100)
    inner.since()

    for twin in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
        assert twin.get_range(URI, 10, 100) == DATA[10:110]
        assert twin.get_range(URI, 10, 100) == DATA[10:110]
        assert twin.inner.since() == ["head"]


def test_a_forked_child_asks_for_the_tag_anew(store: CachedStore, inner: RecordingStore) -> None:
    store.get_range(URI, 10, 100)
    inner.since()
    with store._lock:
        child = os.fork()
        if child == 0:
            found = store.get_range(URI, 10, 100)
            os._exit(0 if (found, inner.since()) == (DATA[10:110], ["head"]) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_whole_object_is_kept(store: CachedStore, inner: RecordingStore) -> None:
    assert store.get(URI) == DATA
    assert inner.since() == ["head", "get", "head"]
    assert store.get(URI, max_bytes=len(DATA)) == DATA
    assert store.get_range(URI, 70_000, 100) == DATA[70_000:70_100]
    assert inner.since() == []


def test_the_whole_object_needs_what_is_missing_only(store: CachedStore, inner: RecordingStore) -> None:
    store.get_range(URI, 100, 100)
    inner.since()

    assert store.get(URI) == DATA
    assert inner.since() == [f"ranges [(0, 100), (200, {len(DATA) - 200})]", "head"]


def test_the_limit_counts_for_what_is_on_disk(store: CachedStore) -> None:
    store.get(URI)

    with pytest.raises(LimitExceededError):
        store.get(URI, max_bytes=10)


def test_head_is_asked_each_time(store: CachedStore, inner: RecordingStore) -> None:
    assert store.head(URI) == store.head(URI) == inner.memory.head(URI)
    assert inner.since() == ["head", "head"]


def test_a_new_tag_is_a_new_entry(store: CachedStore, inner: RecordingStore) -> None:
    assert store.get_range(URI, 0, 10) == DATA[:10]
    inner.put(DATA[::-1])
    store.head(URI)

    assert store.get_range(URI, 0, 10) == DATA[::-1][:10]
    inner.put(DATA)
    store.head(URI)
    inner.since()
    assert store.get_range(URI, 0, 10) == DATA[:10]
    assert inner.since() == []


@pytest.mark.parametrize("inner", [RecordingStore(a=DATA), OneVersionStore(a=DATA)])
def test_an_object_that_is_replaced_is_not_mixed_with_the_earlier_one(
    store: CachedStore, inner: RecordingStore
) -> None:
    inner.put(DATA)
    store.get_range(URI, 0, 100)
    inner.put(DATA[::-1])

    assert store.get_range(URI, 50, 100) == DATA[::-1][50:150]
    inner.put(DATA[: len(DATA) // 2])
    assert store.get(URI) == DATA[: len(DATA) // 2]
    inner.put(DATA)
    assert store.get_range(URI, 0, 200) == DATA[:200]


def test_an_object_that_changes_all_the_time_is_read_without_the_cache(
    store: CachedStore, inner: RecordingStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_ranges = inner.get_ranges
    count = iter(range(100))

    def changing(uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        found = get_ranges(uri, ranges)
        inner.put(DATA + bytes([next(count)]))
        return found

    monkeypatch.setattr(inner, "get_ranges", changing)

    assert store.get_range(URI, 0, 10) == DATA[:10]
    assert files(directory) == []


def test_an_error_makes_the_tag_be_asked_anew(store: CachedStore, inner: RecordingStore) -> None:
    store.get_range(URI, 0, 10)
    inner.memory.delete(URI)
    with pytest.raises(StoreError):
        store.get_range(URI, 5000, 100)
    inner.put(DATA[:20])
    inner.since()

    assert store.get_range(URI, 0, 10) == DATA[:10]
    assert inner.since() == ["head", "ranges [(0, 10)]", "head"]


def test_an_object_that_became_shorter(store: CachedStore, inner: RecordingStore) -> None:
    store.get_range(URI, 0, 10)
    inner.put(DATA[:20])

    with pytest.raises(StoreError, match="expected 100 bytes at offset 5000, found 0"):
        store.get_range(URI, 5000, 100)


class TestOneVersion:
    """Ranges of the object that an index describes, without asking what stands there."""

    @pytest.fixture(params=[RecordingStore, OneVersionStore])
    def inner(self, request: pytest.FixtureRequest) -> RecordingStore:
        return request.param(a=DATA)

    @pytest.fixture
    def info(self, inner: RecordingStore) -> ObjectInfo:
        return inner.memory.head(URI)

    def test_no_head_where_the_store_can(self) -> None:
        inner = OneVersionStore(a=DATA)
        store, info = CachedStore(inner), inner.memory.head(URI)

        assert store.get_ranges_of(URI, info, [(5, 10), (0, 0), (90, 1)]) == [DATA[5:15], b"", DATA[90:91]]
        assert inner.since() == [f"ranges of {info.etag} [(5, 10), (90, 1)]"]
        assert store.get_ranges_of(URI, info, [(7, 3), (90, 1)]) == [DATA[7:10], DATA[90:91]]
        assert inner.since() == []
        assert store.get_range(URI, 7, 3) == DATA[7:10]  # kept under the same key
        assert inner.since() == ["head"]

    def test_any_other_store_is_asked_afterwards(self) -> None:
        inner = RecordingStore(a=DATA)
        store, info = CachedStore(inner), inner.memory.head(URI)

        assert store.get_ranges_of(URI, info, [(5, 10)]) == [DATA[5:15]]
        assert inner.since() == ["ranges [(5, 10)]", "head"]
        assert store.get_ranges_of(URI, info, [(5, 10)]) == [DATA[5:15]]
        assert inner.since() == []

    def test_another_version_is_an_error_and_is_not_kept(
        self, store: CachedStore, inner: RecordingStore, info: ObjectInfo, directory: Path
    ) -> None:
        for data in (DATA[::-1], DATA + b"more", DATA[:100]):
            inner.put(data)
            with pytest.raises(MediaChangedError) as caught:
                store.get_ranges_of(URI, info, [(50_000, 10)])
            assert caught.value.uri == URI
        assert files(directory) == []
        inner.put(DATA)
        assert store.get_ranges_of(URI, info, [(50_000, 10)]) == [DATA[50_000:50_010]]

    def test_a_cached_range_is_of_the_version_asked_for(
        self, store: CachedStore, inner: RecordingStore, info: ObjectInfo
    ) -> None:
        store.get_ranges_of(URI, info, [(0, 10)])
        inner.put(DATA[::-1])
        store.head(URI)

        assert store.get_range(URI, 0, 10) == DATA[::-1][:10]
        assert store.get_ranges_of(URI, info, [(0, 10)]) == [DATA[:10]]

    def test_replaced_between_the_reading_and_the_asking(self, directory: Path) -> None:
        inner = RecordingStore(a=DATA)
        store, info = CachedStore(inner), inner.memory.head(URI)
        inner.put(DATA[::-1])
        head = inner.head
        inner.head = lambda uri: (inner.put(DATA), head(uri))[1]  # type: ignore[method-assign]

        # A store that cannot read one version cannot tell a change there and back again.
        assert store.get_ranges_of(URI, info, [(0, 10)]) == [DATA[::-1][:10]]

    def test_ranges_past_the_end_need_no_request(
        self, store: CachedStore, inner: RecordingStore, info: ObjectInfo
    ) -> None:
        with pytest.raises(StoreError, match=f"expected 2 bytes at offset {len(DATA) - 1}, found 1"):
            store.get_ranges_of(URI, info, [(len(DATA) - 1, 2)])
        with pytest.raises(ValueError, match="0 or more"):
            store.get_ranges_of(URI, info, [(-1, 2)])
        assert inner.since() == []

    def test_without_a_cache(
        self, store: CachedStore, inner: RecordingStore, info: ObjectInfo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settings, "_DEFAULT_CACHE_QUOTA_GB", 0)
        assert store.get_ranges_of(URI, info, [(0, 10)]) == [DATA[:10]]
        inner.put(DATA[::-1])
        with pytest.raises(MediaChangedError):
            store.get_ranges_of(URI, info, [(0, 10)])

    def test_nothing_but_a_length_is_known(self, directory: Path) -> None:
        store = CachedStore(RecordingStore(a=DATA))
        assert store.get_ranges_of(URI, ObjectInfo(len(DATA), None, None), [(0, 5)]) == [DATA[:5]]
        assert files(directory) == []
        with pytest.raises(MediaChangedError, match="bytes in all"):
            store.get_ranges_of(URI, ObjectInfo(len(DATA) - 1, None, None), [(0, 5)])


def test_what_is_gone_is_not_found(store: CachedStore, inner: RecordingStore) -> None:
    store.get_range(URI, 0, 10)
    inner.memory.delete(URI)

    with pytest.raises(MediaNotFoundError):
        store.get_range(URI, 20, 10)
    with pytest.raises(MediaNotFoundError):
        store.get_range(URI, 0, 10)


def test_signatures_are_no_part_of_the_key(store: CachedStore, inner: RecordingStore) -> None:
    store.get_range(URI + "?signature=1", 0, 10)
    inner.since()

    assert store.get_range(URI + "?signature=2", 0, 10) == DATA[:10]
    assert inner.since() == ["head"]


@pytest.mark.parametrize("uri", ["clip.bin", "file:clip.bin"])
def test_a_local_file_is_never_copied(
    uri: str, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.bin").write_bytes(DATA)
    uri = uri.replace("file:", f"file://{tmp_path}/")
    store = CachedStore(LocalStore())

    assert store.get_range(uri, 5, 10) == DATA[5:15]
    assert store.get(uri) == DATA
    assert not directory.exists()


@pytest.mark.parametrize("inner", [LocalStore(), MemoryStore(), CachedStore(MemoryStore())])
def test_stores_that_need_no_cache_come_back_as_they_are(inner: ObjectStore) -> None:
    assert cached(inner) is inner


def test_other_stores_are_wrapped(inner: RecordingStore) -> None:
    store = cached(inner)

    assert isinstance(store, CachedStore)
    assert isinstance(store, ObjectStore)
    assert store.inner is inner


def test_a_quota_of_nothing_leaves_the_store_alone(
    store: CachedStore, inner: RecordingStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "_DEFAULT_CACHE_QUOTA_GB", 0)

    assert store.get_range(URI, 0, 10) == DATA[:10]
    assert store.get(URI) == DATA
    assert inner.since() == ["ranges [(0, 10)]", "get"]
    assert not directory.exists()


def test_a_cache_of_one_s_own(inner: RecordingStore, directory: Path, tmp_path: Path) -> None:
    store = CachedStore(inner, RangeCache(tmp_path / "own", 10**6))
    store.get_range(URI, 0, 10)

    assert len(files(tmp_path / "own")) == 1
    assert pickle.loads(pickle.dumps(store)).get_range(URI, 0, 10) == DATA[:10]
    assert not directory.exists()


def test_many_uris_are_not_remembered_for_ever(
    store: CachedStore, inner: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cached, "_MAX_REMEMBERED", 3)
    store.forget()
    for number in range(5):
        store.head(f"{URI}?{number}")
    store.get_range(f"{URI}?4", 0, 1)
    inner.since()
    store.get_range(f"{URI}?0", 0, 1)

    assert inner.since() == ["head"]


# --- what identifies an object ------------------------------------------------------------------------


def key(uri: str = URI, etag: str | None = None, modified: float | None = None, size: int = 5) -> object:
    return object_key(uri, ObjectInfo(size, etag, modified))


def test_the_key_changes_with_what_changes() -> None:
    keys = [
        key(etag='"1"'),
        key(etag='"2"'),
        key(etag='"1"', size=6),
        key("remote://host/b.mp4", etag='"1"'),
        key(modified=1.0),
        key(modified=2.0),
        key(modified=1.0, size=6),
        key(etag='W/"1"', modified=1.0),
        key(etag='W/"2"', modified=1.0),
    ]

    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_what_nothing_identifies_is_not_kept() -> None:
    assert key() is None
    assert key(etag='W/"1"') is None
    assert key("remote://host/a?name=b", modified=1.0) is None


@pytest.mark.parametrize(
    "headers", [{"ETag": ""}, {"ETag": 'W/"1"'}, {"Last-Modified": ""}, {"ETag": "", "Last-Modified": ""}]
)
def test_servers_without_tags_or_times(headers: dict[str, str]) -> None:
    with ObjectServer() as server:
        uri = server.put("/a", DATA)
        server.always = Fault(headers=headers)
        store = CachedStore(HttpStore(backoff_seconds=0.001))

        assert [store.get_range(uri, 5, 500) for _ in range(2)] == [DATA[5:505]] * 2


def test_a_server_without_ranges() -> None:
    with ObjectServer() as server:
        uri = server.put("/a", DATA)
        server.always = Fault(ignore_range=True)
        store = CachedStore(HttpStore(backoff_seconds=0.001))

        assert [store.get_range(uri, 5, 500) for _ in range(2)] == [DATA[5:505]] * 2
        assert [request.method for request in server.seen] == ["HEAD", "GET", "GET"]
