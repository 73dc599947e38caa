"""What every store does, run on each of them."""

from __future__ import annotations

import copy
import pickle
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import fsspec
import pytest
from _blob_tables import BlobTable
from _http_server import ObjectServer
from _s3 import new_bucket

from mediaref_ursa import (
    LimitExceededError,
    MediaChangedError,
    MediaNotFoundError,
    MediaRefError,
    StoreError,
)
from mediaref_ursa.store import (
    FsspecStore,
    HttpStore,
    LanceBlobStore,
    LocalStore,
    MemoryStore,
    ObjectInfo,
    ObjectStore,
)
from mediaref_ursa.store._cached import CachedStore
from mediaref_ursa.store._protocol import ReadsOneVersion

DATA = bytes(range(256)) * 40


@dataclass(frozen=True)
class Place:
    """A store, and how an object comes to stand in it."""

    store: ObjectStore
    put: Callable[[str, bytes], str]


def _local(folder: Path) -> Place:
    def put(name: str, data: bytes) -> str:
        (folder / name).write_bytes(data)
        return str(folder / name)

    return Place(LocalStore(), put)


def _memory() -> Place:
    store = MemoryStore()

    def put(name: str, data: bytes) -> str:
        store.put(f"memory://{name}", data)
        return f"memory://{name}"

    return Place(store, put)


def _fsspec_memory() -> Place:
    folder = uuid.uuid4().hex

    def put(name: str, data: bytes) -> str:
        fsspec.filesystem("memory").pipe_file(f"/{folder}/{name}", data)
        return f"memory://{folder}/{name}"

    return Place(FsspecStore("memory"), put)


@contextmanager
def _place(kind: str, folder: Path) -> Iterator[Place]:
    if kind == "s3":
        with pytest.MonkeyPatch.context() as patch:
            bucket = new_bucket(patch)
            yield Place(FsspecStore("s3", bucket.options), bucket.put)
    elif kind == "lance-s3":
        with pytest.MonkeyPatch.context() as patch:
            bucket = new_bucket(patch)
            table = BlobTable(f"s3://{bucket.name}/set.lance", bucket.object_store_options)
            yield Place(LanceBlobStore(bucket.options), table.put)
    elif kind == "lance":
        yield Place(LanceBlobStore(is_local=True), BlobTable(folder / "set.lance").put)
    elif kind == "http":
        with ObjectServer() as server:
            yield Place(
                HttpStore(backoff_seconds=0.001), lambda name, data: server.put(f"/{quote(name)}", data)
            )
    else:
        yield {"local": lambda: _local(folder), "memory": _memory, "fsspec-memory": _fsspec_memory}[kind]()


@pytest.fixture(params=["local", "memory", "http", "s3", "fsspec-memory", "lance", "lance-s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with _place(request.param, tmp_path) as place:
        yield place


@pytest.fixture(params=["http", "s3", "fsspec-memory", "lance", "lance-s3"])
def versioned(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """The stores that can read one version of an object and no other."""
    with _place(request.param, tmp_path) as place:
        yield place


class TestContract:
    def test_satisfies_the_protocol(self, place: Place) -> None:
        assert isinstance(place.store, ObjectStore)

    def test_head_tells_the_size(self, place: Place) -> None:
        info = place.store.head(place.put("a.bin", DATA))
        assert isinstance(info, ObjectInfo)
        assert info.size == len(DATA)
        assert info.etag is None or info.etag.startswith('"')
        assert info.modified is None or info.modified > 0

    def test_head_of_an_empty_object(self, place: Place) -> None:
        assert place.store.head(place.put("empty", b"")).size == 0

    def test_get_gives_everything(self, place: Place) -> None:
        assert place.store.get(place.put("a.bin", DATA)) == DATA
        assert place.store.get(place.put("empty", b"")) == b""

    def test_get_stops_at_the_limit(self, place: Place) -> None:
        uri = place.put("a.bin", DATA)
        assert place.store.get(uri, max_bytes=len(DATA)) == DATA
        with pytest.raises(LimitExceededError, match=f"at most {len(DATA) - 1} bytes") as caught:
            place.store.get(uri, max_bytes=len(DATA) - 1)
        assert caught.value.uri == uri

    @pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, len(DATA)), (5, 300), (len(DATA) - 1, 1)])
    def test_get_range_gives_exactly_the_bytes(self, place: Place, offset: int, length: int) -> None:
        assert (
            place.store.get_range(place.put("a.bin", DATA), offset, length) == DATA[offset : offset + length]
        )

    def test_no_bytes_of_an_object_are_no_bytes(self, place: Place) -> None:
        uri = place.put("a.bin", DATA)
        assert place.store.get_range(uri, 7, 0) == b""
        assert place.store.get_ranges(uri, []) == []

    def test_get_ranges_keeps_the_order_asked_for(self, place: Place) -> None:
        ranges = [(i * 97 % 10_000, i % 13 + 1) for i in range(40)] + [(0, 3), (0, 3), (1, 1)]
        found = place.store.get_ranges(place.put("a.bin", DATA), ranges)
        assert found == [DATA[offset : offset + length] for offset, length in ranges]

    @pytest.mark.parametrize(
        ("offset", "length"), [(len(DATA) - 1, 2), (len(DATA), 1), (10**15, 1), (0, 10**15)]
    )
    def test_a_range_past_the_end_is_never_short(self, place: Place, offset: int, length: int) -> None:
        uri = place.put("a.bin", DATA)
        with pytest.raises(StoreError, match=f"expected {length} bytes at offset {offset}, found") as caught:
            place.store.get_range(uri, offset, length)
        assert caught.value.uri == uri
        with pytest.raises(StoreError):
            place.store.get_ranges(uri, [(0, 1), (offset, length)])

    @pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1)])
    def test_negative_ranges_are_misuse(self, place: Place, offset: int, length: int) -> None:
        uri = place.put("a.bin", DATA)
        with pytest.raises(ValueError, match="offset and a length of 0 or more"):
            place.store.get_range(uri, offset, length)

    def test_what_is_missing_is_not_found(self, place: Place) -> None:
        uri = place.put("a.bin", DATA) + ".gone"
        for call in (
            lambda: place.store.head(uri),
            lambda: place.store.get(uri),
            lambda: place.store.get_range(uri, 0, 1),
            lambda: place.store.get_ranges(uri, [(0, 1), (1, 1)]),
        ):
            with pytest.raises(MediaNotFoundError) as caught:
                call()
            assert isinstance(caught.value, FileNotFoundError)
            assert caught.value.uri == uri

    def test_names_may_hold_blanks_and_letters_of_any_script(self, place: Place) -> None:
        assert place.store.get(place.put("Überblick 東京.bin", DATA)) == DATA

    def test_survives_pickling_and_copying(self, place: Place) -> None:
        uri = place.put("a.bin", DATA)
        for twin in (pickle.loads(pickle.dumps(place.store)), copy.deepcopy(place.store)):
            assert twin.get_range(uri, 3, 4) == DATA[3:7]

    def test_is_safe_for_many_threads(self, place: Place) -> None:
        uri = place.put("a.bin", DATA)
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda i: place.store.get_range(uri, i * 31, 100), range(120)))
        assert found == [DATA[i * 31 : i * 31 + 100] for i in range(120)]

    def test_errors_survive_pickling(self, place: Place) -> None:
        uri = place.put("a.bin", DATA)
        with pytest.raises(MediaRefError) as caught:
            place.store.get_range(uri, len(DATA), 1)
        twin = pickle.loads(pickle.dumps(caught.value))
        assert (type(twin), str(twin)) == (type(caught.value), str(caught.value))


def one_version(place: Place) -> Callable[..., list[bytes]]:
    assert isinstance(place.store, ReadsOneVersion)
    return place.store.get_ranges_of


class TestOneVersion:
    """What a store may have besides: reading the object that a description is of, and no other."""

    def test_gives_exactly_the_bytes_in_the_order_asked_for(self, versioned: Place) -> None:
        uri = versioned.put("a.bin", DATA)
        ranges = [(i * 97 % 10_000, i % 13 + 1) for i in range(20)] + [(0, 0), (0, len(DATA))]
        found = one_version(versioned)(uri, versioned.store.head(uri), ranges)
        assert found == [DATA[offset : offset + length] for offset, length in ranges]

    def test_an_index_knows_no_time_of_change(self, versioned: Place) -> None:
        uri = versioned.put("a.bin", DATA)
        info = replace(versioned.store.head(uri), modified=None)
        assert one_version(versioned)(uri, info, [(5, 4)]) == [DATA[5:9]]

    @pytest.mark.parametrize("other", [DATA[::-1], DATA[:100], DATA + b"more", b""], ids=len)
    def test_never_gives_bytes_of_another(self, versioned: Place, other: bytes) -> None:
        info = versioned.store.head(versioned.put("a.bin", DATA))
        uri = versioned.put("a.bin", other)
        if len(other) == info.size and versioned.store.head(uri).etag is None:
            return  # fsspec's memory knows no tags: nothing tells the one from the other
        with pytest.raises(MediaChangedError) as caught:
            one_version(versioned)(uri, info, [(50, 40), (7000, 10)])
        assert caught.value.uri == uri
        assert "mediaref-ursa index --overwrite" in str(caught.value)

    @pytest.mark.parametrize(("offset", "length"), [(len(DATA) - 1, 2), (10**15, 1), (0, 10**15)])
    def test_a_range_past_the_end(self, versioned: Place, offset: int, length: int) -> None:
        uri = versioned.put("a.bin", DATA)
        info = versioned.store.head(uri)
        with pytest.raises(StoreError, match=f"expected {length} bytes at offset {offset}, found"):
            one_version(versioned)(uri, info, [(0, 1), (offset, length)])

    def test_what_is_missing_is_not_found(self, versioned: Place) -> None:
        uri = versioned.put("a.bin", DATA)
        info = versioned.store.head(uri)
        with pytest.raises(MediaNotFoundError):
            one_version(versioned)(uri + ".gone", info, [(0, 1)])

    @pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1)])
    def test_negative_ranges_are_misuse(self, versioned: Place, offset: int, length: int) -> None:
        uri = versioned.put("a.bin", DATA)
        with pytest.raises(ValueError, match="0 or more"):
            one_version(versioned)(uri, versioned.store.head(uri), [(offset, length)])


def test_which_stores_read_one_version() -> None:
    assert isinstance(HttpStore(), ReadsOneVersion)
    assert isinstance(FsspecStore("memory"), ReadsOneVersion)
    assert isinstance(LanceBlobStore(), ReadsOneVersion)
    assert isinstance(CachedStore(MemoryStore()), ReadsOneVersion)
    assert not isinstance(LocalStore(), ReadsOneVersion)


def test_every_public_name_is_there() -> None:
    from mediaref_ursa import store

    assert {name for name in store.__all__ if getattr(store, name, None) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'S3Store'"):
        _ = store.S3Store
