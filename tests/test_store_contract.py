"""What every store does, run on each of them."""

from __future__ import annotations

import copy
import pickle
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import fsspec
import pytest
from _http_server import ObjectServer
from _s3 import new_bucket

from mediaref_ursa import LimitExceededError, MediaNotFoundError, MediaRefError, StoreError
from mediaref_ursa.store import FsspecStore, HttpStore, LocalStore, MemoryStore, ObjectInfo, ObjectStore

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


@pytest.fixture(params=["local", "memory", "http", "s3", "fsspec-memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if request.param == "s3":
        bucket = new_bucket(monkeypatch)
        yield Place(FsspecStore("s3", bucket.options), bucket.put)
    elif request.param == "fsspec-memory":
        yield _fsspec_memory()
    elif request.param == "http":
        with ObjectServer() as server:
            yield Place(
                HttpStore(backoff_seconds=0.001), lambda name, data: server.put(f"/{quote(name)}", data)
            )
    else:
        yield _local(tmp_path) if request.param == "local" else _memory()


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


def test_every_public_name_is_there() -> None:
    from mediaref_ursa import store

    assert {name for name in store.__all__ if getattr(store, name, None) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'S3Store'"):
        _ = store.S3Store
