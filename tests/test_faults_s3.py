"""Whatever goes wrong on the way to S3: the exact bytes, the exact frame, or one error of ours in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from _fault_server import FAULTS, FLIPPED_BYTE, Answer, FaultServer
from _media import Clip
from _oracle import linear_frames
from _s3 import Bucket, leave_aws_alone, server_url

from mediaref_ursa import (
    CorruptMediaError,
    MediaChangedError,
    MediaNotFoundError,
    MediaRef,
    MediaRefError,
    StoreError,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa._cache import settings
from mediaref_ursa.store import FsspecStore, ObjectInfo
from mediaref_ursa.store._cached import CachedStore

DATA = bytes(range(256)) * 400
OTHER = bytes(byte ^ 0x55 for byte in DATA)
RANGES = [(number * 10_000, 3000) for number in range(6)]
DEADLINE_SECONDS = 2.0
SLACK_SECONDS = 3  # of a machine that is busy with other things
REPLACED = {"replaced", "replaced, no if-match", "wrong total"}
CURED_BY_A_REPETITION = set(FAULTS) - REPLACED - {"gzip"}


def cut(data: bytes) -> list[bytes]:
    return [data[offset : offset + length] for offset, length in RANGES]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with pytest.MonkeyPatch.context() as patch:
        bucket = Bucket(server_url())
        leave_aws_alone(patch)
        bucket.client().create_bucket(Bucket=bucket.name)
        bucket.put("a.bin", DATA)
        yield bucket


@pytest.fixture(scope="module")
def proxy(bucket: Bucket) -> Iterator[FaultServer]:
    with FaultServer(upstream=bucket.endpoint_url) as running:
        yield running


@pytest.fixture
def store(request: pytest.FixtureRequest, bucket: Bucket, proxy: FaultServer) -> FsspecStore:
    """Reads through the proxy; where only a time-out ends the fault under test, with a short one."""
    proxy.behave()
    call = getattr(request.node, "callspec", None)
    is_hasty = call is not None and call.params.get("fault") in ("stall", "slow drip")
    return FsspecStore(
        "s3",
        {**bucket.options, "endpoint_url": proxy.url()},
        max_gap_bytes=0,
        connect_timeout_seconds=0.3 if is_hasty else 2,
        read_timeout_seconds=0.12 if is_hasty else 2,
        attempts=3,
        backoff_seconds=0.005,
        deadline_seconds=DEADLINE_SECONDS,
    )


@pytest.fixture
def uri(bucket: Bucket) -> str:
    return f"s3://{bucket.name}/a.bin"


@pytest.fixture
def info(store: FsspecStore, uri: str) -> ObjectInfo:
    return store.head(uri)


def outcome(call: Callable[[], object]) -> object:
    """Return what a call returns or the error that it raises: in time, and without a secret in it."""
    began = time.monotonic()
    try:
        return call()
    except MediaRefError as error:
        assert "hidden-secret" not in str(error)
        return error
    finally:
        assert time.monotonic() - began < DEADLINE_SECONDS + SLACK_SECONDS


class TestEveryFault:
    @pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
    @pytest.mark.parametrize("fault", FAULTS)
    def test_ranges_of_one_version(
        self, proxy: FaultServer, store: FsspecStore, uri: str, info: ObjectInfo, fault: str, always: bool
    ) -> None:
        proxy.fail(fault, nth=3, always=always)
        found = outcome(lambda: store.get_ranges_of(uri, info, RANGES))
        assert found == cut(DATA) or isinstance(found, StoreError), found
        if fault in REPLACED:
            assert isinstance(found, MediaChangedError)
        elif not always and fault in CURED_BY_A_REPETITION:
            assert found == cut(DATA)

    @pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"stall", "slow drip"}))
    def test_ranges_of_any_version_are_of_one(
        self, proxy: FaultServer, store: FsspecStore, uri: str, fault: str
    ) -> None:
        for always in (False, True):
            proxy.fail(fault, nth=3, always=always)
            found = outcome(lambda: store.get_ranges(uri, RANGES))
            assert found in (cut(DATA), cut(OTHER)) or isinstance(found, StoreError), found

    @pytest.mark.parametrize("fault", FAULTS)
    def test_the_whole_object(self, proxy: FaultServer, store: FsspecStore, uri: str, fault: str) -> None:
        for nth in (1, 2):
            proxy.fail(fault, nth=nth)
            found = outcome(lambda: store.get(uri))
            assert found in (DATA, OTHER) or isinstance(found, StoreError)
            if fault in CURED_BY_A_REPETITION:
                assert found == DATA

    @pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"no etag"} - REPLACED))
    def test_the_head(
        self, proxy: FaultServer, store: FsspecStore, uri: str, info: ObjectInfo, fault: str
    ) -> None:
        proxy.fail(fault)
        assert outcome(lambda: store.head(uri)) == info

    @pytest.mark.parametrize("fault", ["replaced", "replaced, no if-match", "cut short", "other range"])
    def test_through_the_cache(
        self, proxy: FaultServer, store: FsspecStore, uri: str, info: ObjectInfo, fault: str, tmp_path: Path
    ) -> None:
        """What is kept after a fault is what should be kept."""
        cached = CachedStore(store, settings.RangeCache(tmp_path / "cache", 10**8))
        proxy.fail(fault, nth=2)
        outcome(lambda: cached.get_ranges_of(uri, info, RANGES))
        proxy.behave()
        assert cached.get_ranges_of(uri, info, RANGES) == cut(DATA)
        assert cached.get_ranges(uri, RANGES) == cut(DATA)


class TestReading:
    def test_goes_on_from_the_byte_that_was_reached(
        self, proxy: FaultServer, store: FsspecStore, uri: str, info: ObjectInfo
    ) -> None:
        proxy.fail("cut short")
        assert store.get_ranges_of(uri, info, [(100, 50_000)]) == [DATA[100:50_100]]
        asked = [request.headers["range"] for request in proxy.seen]
        assert asked == ["bytes=100-50099", "bytes=25100-50099"]
        assert {request.headers["if-match"] for request in proxy.seen} == {info.etag}

    def test_no_head_and_one_request_a_range(
        self, proxy: FaultServer, store: FsspecStore, uri: str, info: ObjectInfo
    ) -> None:
        proxy.behave()
        assert store.get_ranges_of(uri, info, RANGES) == cut(DATA)
        assert [request.method for request in proxy.seen] == ["GET"] * len(RANGES)

    def test_a_request_is_sent_as_often_as_the_store_says(
        self, proxy: FaultServer, store: FsspecStore, uri: str
    ) -> None:
        """Neither botocore nor s3fs add retries of their own, which would multiply."""
        for call in (lambda: store.get_range(uri, 0, 10), lambda: store.head(uri)):
            proxy.fail("503", always=True)
            assert isinstance(outcome(call), StoreError)
            assert len(proxy.seen) == store.attempts

    def test_a_server_that_asks_for_more_time_than_there_is(
        self, proxy: FaultServer, store: FsspecStore, uri: str
    ) -> None:
        proxy.fail(lambda asked, serve: Answer(503, {"Retry-After": "60"}))
        with pytest.raises(StoreError, match="asks to wait 60 s, and 2 s are left of 2 s"):
            store.get_range(uri, 0, 10)

    def test_a_drip_does_not_hold_longer(
        self, proxy: FaultServer, store: FsspecStore, bucket: Bucket, uri: str
    ) -> None:
        patient = FsspecStore("s3", store.options, read_timeout_seconds=30, deadline_seconds=0.5)
        for call in (lambda: patient.get_range(uri, 0, 9000), lambda: patient.head(uri)):
            proxy.fail("slow drip", always=True)
            began = time.monotonic()
            with pytest.raises(StoreError, match=r"not done within 0.5 s \(deadline_seconds\)"):
                call()
            assert time.monotonic() - began < 0.5 + SLACK_SECONDS

    def test_an_object_that_was_replaced(self, store: FsspecStore, bucket: Bucket) -> None:
        uri = bucket.put("b.bin", DATA)
        before = store.head(uri)
        bucket.put("b.bin", OTHER)
        with pytest.raises(MediaChangedError, match="PreconditionFailed") as caught:
            store.get_ranges_of(uri, before, RANGES)
        assert caught.value.uri == uri
        assert store.get_ranges_of(uri, store.head(uri), RANGES) == cut(OTHER)
        bucket.client().delete_object(Bucket=bucket.name, Key="b.bin")
        with pytest.raises(MediaNotFoundError):
            store.get_ranges_of(uri, before, RANGES)

    def test_a_long_range_is_read_in_pieces_of_one_version(
        self, proxy: FaultServer, store: FsspecStore, uri: str, info: ObjectInfo
    ) -> None:
        pieces = FsspecStore("s3", store.options, max_read_bytes=30_000)
        proxy.behave()
        assert pieces.get_ranges_of(uri, info, [(10, 100_000)]) == [DATA[10:100_010]]
        assert len(proxy.seen) == 4
        proxy.fail("replaced", nth=3)
        with pytest.raises(MediaChangedError):
            pieces.get_ranges_of(uri, info, [(10, 100_000)])


def test_other_file_systems_are_asked_afterwards() -> None:
    memory, store = fsspec.filesystem("memory"), FsspecStore("memory")
    memory.pipe_file("/faults/a.bin", DATA)
    info = store.head("memory://faults/a.bin")
    assert store.get_ranges_of("memory://faults/a.bin", info, RANGES) == cut(DATA)
    memory.pipe_file("/faults/a.bin", DATA + b"more")
    with pytest.raises(MediaChangedError, match=f"expected {len(DATA)} bytes in all"):
        store.get_ranges_of("memory://faults/a.bin", info, RANGES)


@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("fault", ["500", "reset", "cut short", "other range", "replaced", "flipped byte"])
def test_the_exact_frame_or_one_error(
    proxy: FaultServer,
    bucket: Bucket,
    store: FsspecStore,
    clip: Callable[[str], Clip],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    always: bool,
) -> None:
    monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "cache"))
    settings._reset_cache_for_tests()
    path = tmp_path / "video.mp4"
    path.write_bytes(clip("h264_29_97_mp4").path.read_bytes())
    frames, index = linear_frames(path), write_frame_index(path)
    uri = bucket.put("video.mp4", path.read_bytes())
    wanted = [3, len(frames) - 1]
    refs = [MediaRef(uri, round(frames[number].time * 10**9)) for number in wanted]
    for nth in (1, 2):
        proxy.fail(FAULTS.get(fault, FLIPPED_BYTE), nth=nth, always=always)
        found = outcome(lambda: batch_decode(refs, frame_index=index, store=store))
        assert isinstance(found, MediaRefError) or all(
            np.array_equal(one, frames[number].rgb)
            for one, number in zip(found, wanted, strict=True)  # type: ignore[call-overload]
        )
        if fault == "flipped byte" and isinstance(found, MediaRefError):
            assert isinstance(found, CorruptMediaError)
    settings._reset_cache_for_tests()
