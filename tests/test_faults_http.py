"""Whatever an HTTP server does wrong: the exact bytes, the exact frame, or one error of ours in time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _fault_server import FAULTS, FLIPPED_BYTE, LAST_MODIFIED, Answer, Asked, FaultServer, Serve
from _media import Clip
from _oracle import OracleFrame, linear_frames

from mediaref_ursa import (
    CorruptMediaError,
    LanceFrameIndex,
    MediaChangedError,
    MediaRef,
    MediaRefError,
    StoreError,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa._cache import settings
from mediaref_ursa.store import HttpStore, ObjectInfo
from mediaref_ursa.store._cached import CachedStore
from mediaref_ursa.store._download.retry import LowSpeedLimit, retry_after_seconds

DATA = bytes(range(256)) * 800
OTHER = bytes(byte ^ 0x55 for byte in DATA)
RANGES = [(number * 10_000, 3000) for number in range(6)]
STORE = HttpStore(
    connect_timeout_seconds=2,
    read_timeout_seconds=2,
    attempts=3,
    backoff_seconds=0.005,
    deadline_seconds=2,
)
HASTY = replace(STORE, read_timeout_seconds=0.1, attempts=4)  # for faults that only a time-out ends
SLACK_SECONDS = 3  # of a machine that is busy with other things
REPLACED = {"replaced", "replaced, no if-match", "wrong total"}
CURED_BY_A_REPETITION = set(FAULTS) - REPLACED - {"gzip"}


def cut(data: bytes) -> list[bytes]:
    return [data[offset : offset + length] for offset, length in RANGES]


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer({"/a.bin": DATA}) as running:
        yield running


@pytest.fixture
def url(server: FaultServer) -> str:
    server.behave()
    return server.url("/a.bin?X-Signature=secret")


@pytest.fixture
def info(url: str) -> ObjectInfo:
    return STORE.head(url)


def store_for(fault: str) -> HttpStore:
    return HASTY if fault in ("stall", "slow drip") else STORE


def outcome(call: Callable[[], object]) -> object:
    """Return what a call returns or the error that it raises: in time, and without a secret in it."""
    began = time.monotonic()
    try:
        return call()
    except MediaRefError as error:
        assert "secret" not in str(error)
        return error
    finally:
        assert time.monotonic() - began < STORE.deadline_seconds + SLACK_SECONDS


class TestEveryFault:
    @pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
    @pytest.mark.parametrize("fault", FAULTS)
    def test_ranges_of_one_version(
        self, server: FaultServer, url: str, info: ObjectInfo, fault: str, always: bool
    ) -> None:
        for nth in (1, 4):
            server.fail(fault, nth=nth, always=always)
            found = outcome(lambda: store_for(fault).get_ranges_of(url, info, RANGES))
            assert found == cut(DATA) or isinstance(found, StoreError), found
            if fault in REPLACED:
                assert isinstance(found, MediaChangedError)
            elif not always and fault in CURED_BY_A_REPETITION:
                assert found == cut(DATA)

    @pytest.mark.parametrize("fault", FAULTS)
    def test_ranges_of_any_version_are_of_one(self, server: FaultServer, url: str, fault: str) -> None:
        for always in (False, True):
            server.fail(fault, nth=3, always=always)
            found = outcome(lambda: store_for(fault).get_ranges(url, RANGES))
            assert found in (cut(DATA), cut(OTHER)) or isinstance(found, StoreError), found
            if not always and fault in CURED_BY_A_REPETITION:
                assert found == cut(DATA)

    @pytest.mark.parametrize("fault", FAULTS)
    def test_the_whole_object(self, server: FaultServer, url: str, fault: str) -> None:
        for always in (False, True):
            server.fail(fault, always=always)
            found = outcome(lambda: store_for(fault).get(url))
            assert found in (DATA, OTHER) or isinstance(found, StoreError)
            if not always and fault in CURED_BY_A_REPETITION:
                assert found == DATA

    @pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"no etag"} - REPLACED))
    def test_the_head(self, server: FaultServer, url: str, info: ObjectInfo, fault: str) -> None:
        for always in (False, True):
            server.fail(fault, always=always)
            found = outcome(lambda: store_for(fault).head(url))
            assert found == info or isinstance(found, StoreError)
            if not always and fault != "gzip":
                assert found == info

    @pytest.mark.parametrize("fault", FAULTS)
    def test_through_the_cache(
        self, server: FaultServer, url: str, info: ObjectInfo, fault: str, tmp_path: Path
    ) -> None:
        """What is kept after a fault is what should be kept."""
        store = CachedStore(store_for(fault), settings.RangeCache(tmp_path / "cache", 10**8))
        server.fail(fault, nth=2)
        outcome(lambda: store.get_ranges_of(url, info, RANGES))
        server.behave()
        assert store.get_ranges_of(url, info, RANGES) == cut(DATA)
        assert store.get_ranges(url, RANGES) == cut(DATA)


class TestResuming:
    def test_goes_on_from_the_byte_that_was_reached(
        self, server: FaultServer, url: str, info: ObjectInfo
    ) -> None:
        server.fail("cut short")
        assert STORE.get_ranges_of(url, info, [(100, 50_000)]) == [DATA[100:50_100]]
        asked = [request.headers["range"] for request in server.seen]
        assert asked == ["bytes=100-50099", "bytes=25100-50099"]
        assert server.bytes_sent < 52_000

    def test_asks_for_the_version_of_the_first_part(self, server: FaultServer, url: str) -> None:
        server.fail("cut short")
        assert STORE.get_range(url, 0, 50_000) == DATA[:50_000]
        assert "if-match" not in server.seen[0].headers
        assert server.seen[1].headers["if-match"] == STORE.head(url).etag

    def test_an_object_of_many_parts(self, server: FaultServer, url: str) -> None:
        """Each attempt brings half of what is left, until it is too little to be cut."""
        large = bytes(range(256)) * (4 << 12)
        server.put("/large.bin", large)
        server.fail("cut short", always=True)
        found = outcome(lambda: STORE.get(server.url("/large.bin")))
        assert isinstance(found, StoreError)
        asked = [request.headers["range"] for request in server.seen]
        assert asked[0] == "bytes=0-"
        assert asked[1] == f"bytes={len(large) // 2}-{len(large) - 1}"
        assert len(asked) > STORE.attempts  # an attempt that brought a mebibyte does not count

    def test_begins_again_where_nothing_tells_versions_apart(self, server: FaultServer, url: str) -> None:
        def nameless(asked: Asked, serve: Serve) -> Answer:
            broken = len(server.seen) == 1
            answer = serve(asked).without("ETag").without("Last-Modified")
            return Answer(answer.status, answer.headers, answer.body, "cut" if broken else "whole")

        server.fail(nameless, always=True)
        assert STORE.get_range(url, 0, 50_000) == DATA[:50_000]
        assert [request.headers["range"] for request in server.seen] == ["bytes=0-49999"] * 2

    def test_a_change_in_the_middle_is_no_mixture(self, server: FaultServer, url: str) -> None:
        def replaced_while_read(asked: Asked, serve: Serve) -> Answer:
            if len(server.seen) == 1:
                answer = serve(asked)
                return Answer(answer.status, answer.headers, answer.body, "cut")
            return FAULTS["replaced, no if-match"](asked, serve)

        server.fail(replaced_while_read, always=True)
        assert STORE.get_range(url, 0, 50_000) == OTHER[:50_000]

    def test_weak_tags_and_times(self, server: FaultServer, url: str) -> None:
        def weak(asked: Asked, serve: Serve) -> Answer:
            answer = serve(asked)
            return answer.without("ETag").with_headers(ETag=f"W/{answer.header('ETag')}")

        server.fail(weak, always=True)
        info = STORE.head(url)
        assert STORE.get_ranges_of(url, info, RANGES) == cut(DATA)
        assert not any("if-match" in request.headers for request in server.seen)

        def later(asked: Asked, serve: Serve) -> Answer:
            newer = LAST_MODIFIED.replace("2015", "2016")
            return weak(asked, serve).without("Last-Modified").with_headers(Last_Modified=newer)

        server.fail(later, always=True)
        with pytest.raises(MediaChangedError, match="expected the time of change"):
            STORE.get_ranges_of(url, info, RANGES)


class TestDeadline:
    def test_a_drip_does_not_hold_longer(self, server: FaultServer, url: str) -> None:
        patient = HttpStore(read_timeout_seconds=30, deadline_seconds=0.5, attempts=9)
        for call in (patient.get, patient.head, lambda url: patient.get_ranges(url, RANGES)):
            server.fail("slow drip", always=True)
            began = time.monotonic()
            with pytest.raises(StoreError, match=r"not done within 0.5 s \(deadline_seconds\)"):
                call(url)
            assert time.monotonic() - began < 0.5 + SLACK_SECONDS

    def test_a_head_that_drips(self, server: FaultServer, url: str) -> None:
        """Header by header, so that no time-out of a single byte helps."""

        def slow_head(asked: Asked, serve: Serve) -> Answer:
            return Answer(200, {f"X-{number}": "x" * 100 for number in range(90)}, delivery="drip")

        server.fail(slow_head, always=True)
        patient = HttpStore(read_timeout_seconds=30, deadline_seconds=0.4)
        began = time.monotonic()
        with pytest.raises(StoreError, match="deadline_seconds"):
            patient.head(url)
        assert time.monotonic() - began < 0.4 + SLACK_SECONDS

    def test_a_server_that_asks_for_patience_gets_it(self, server: FaultServer, url: str) -> None:
        server.fail(lambda asked, serve: Answer(429, {"Retry-After": "1"}))
        began = time.monotonic()
        assert STORE.get(url) == DATA
        assert time.monotonic() - began >= 1

    @pytest.mark.parametrize("status", [429, 503])
    def test_but_not_more_than_the_deadline(self, server: FaultServer, url: str, status: int) -> None:
        server.fail(lambda asked, serve: Answer(status, {"Retry-After": "60"}))
        began = time.monotonic()
        with pytest.raises(StoreError, match="asks to wait 60 s, and 2 s are left of 2 s"):
            STORE.get(url)
        assert time.monotonic() - began < 1

    def test_one_failure_ends_the_other_ranges(self, server: FaultServer, url: str, info: ObjectInfo) -> None:
        def first_is_gone(asked: Asked, serve: Serve) -> Answer:
            return Answer(404) if asked.headers.get("range") == "bytes=0-9" else Answer(500)

        server.fail(first_is_gone, always=True)
        slow = HttpStore(attempts=100, backoff_seconds=1, max_requests=8)
        began = time.monotonic()
        with pytest.raises(FileNotFoundError):
            slow.get_ranges_of(url, info, [(number * 10, 10) for number in range(8)])
        assert time.monotonic() - began < SLACK_SECONDS


def test_the_pace_of_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = LowSpeedLimit(window_seconds=10)
    seen = []
    for seconds, count in ((0, 1), (9, 5000), (1, 5240), (10, 20_000), (10, 9000)):
        now[0] += seconds
        seen.append(pace.is_too_slow(count))
    assert seen == [False, False, False, False, True]
    assert not LowSpeedLimit(None).is_too_slow(0)


@pytest.mark.parametrize("value", ["-5", "1.5", "", None, "٣", "Wed, 99 Oct"])
def test_a_wait_that_is_none(value: str | None) -> None:
    assert retry_after_seconds(value) is None


def test_many_threads_and_faults(server: FaultServer, url: str, info: ObjectInfo) -> None:
    faults = [FAULTS[name] for name in ("500", "reset", "cut short", "no answer", "length too large")]
    count = iter(range(10**6))
    lock = threading.Lock()

    def every_third(asked: Asked, serve: Serve) -> Answer:
        with lock:
            number = next(count)
        return faults[number // 3 % len(faults)](asked, serve) if number % 3 == 0 else serve(asked)

    server.fail(every_third, always=True)
    stubborn = HttpStore(attempts=12, backoff_seconds=0.005)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: stubborn.get_ranges_of(url, info, RANGES), range(12)))
    assert found == [cut(DATA)] * 12


def test_a_child_forked_amid_failures(server: FaultServer, url: str, info: ObjectInfo) -> None:
    server.fail("500", nth=2)
    stop = threading.Event()

    def read_on() -> None:
        while not stop.is_set():
            STORE.get_ranges_of(url, info, RANGES)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_on)
        for _ in range(3):
            child = os.fork()
            if child == 0:
                os._exit(0 if STORE.get_ranges_of(url, info, RANGES) == cut(DATA) else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        reading.result()


@pytest.fixture(scope="module")
def path(clip: Callable[[str], Clip]) -> Path:
    return clip("h264_29_97_mp4").path


@pytest.fixture(scope="module")
def frames(path: Path) -> list[OracleFrame]:
    return linear_frames(path)


@pytest.fixture(scope="module")
def index(path: Path, tmp_path_factory: pytest.TempPathFactory) -> LanceFrameIndex:
    copy = tmp_path_factory.mktemp("indexed") / "video.mp4"
    copy.write_bytes(path.read_bytes())
    return write_frame_index(copy)


class TestFrames:
    """The same, one storey up: references to frames of a video whose index is at hand."""

    @pytest.fixture(autouse=True)
    def own_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "cache"))
        settings._reset_cache_for_tests()
        yield
        settings._reset_cache_for_tests()

    @pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
    @pytest.mark.parametrize("fault", [*FAULTS, "flipped byte"])
    def test_the_exact_frame_or_one_error(
        self,
        server: FaultServer,
        path: Path,
        frames: list[OracleFrame],
        index: LanceFrameIndex,
        fault: str,
        always: bool,
    ) -> None:
        url = server.put("/video.mp4", path.read_bytes())
        wanted = [3, len(frames) // 2, len(frames) - 1]
        refs = [MediaRef(url, round(frames[number].time * 10**9)) for number in wanted]
        for nth in (1, 2):
            server.fail(FAULTS.get(fault, FLIPPED_BYTE), nth=nth, always=always)
            found = outcome(lambda: batch_decode(refs, frame_index=index, store=store_for(fault)))
            assert isinstance(found, MediaRefError) or all(
                np.array_equal(one, frames[number].rgb)
                for one, number in zip(found, wanted, strict=True)  # type: ignore[call-overload]
            )
            if fault == "flipped byte" and isinstance(found, MediaRefError):
                assert isinstance(found, CorruptMediaError)
        if fault != "flipped byte":  # no store can tell, so that it is kept, and found out each time
            server.behave()
            found = batch_decode(refs, frame_index=index, store=STORE)
            assert all(np.array_equal(a, frames[n].rgb) for a, n in zip(found, wanted, strict=True))
