"""Handlers of signals that call the library amid the call that they interrupt: right, or an error at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _http_server import ObjectServer
from _media import CODED_CLIP_NAMES, Clip

import mediaref_ursa
from mediaref_ursa import (
    MediaRef,
    ReentrantCallError,
    batch_decode,
    cleanup_cache,
    counting,
)
from mediaref_ursa._cache.entry import ObjectKey, Span
from mediaref_ursa._cache.settings import RangeCache
from mediaref_ursa._cache.single_flight import SingleFlight
from mediaref_ursa._core import reentrancy
from mediaref_ursa._core.counters import in_this_context
from mediaref_ursa._core.daemon_threads import DaemonThreads
from mediaref_ursa.store._file_object import FileObjectStore

GetClip = Callable[[str], Clip]
H264 = next(name for name in CODED_CLIP_NAMES if name.startswith("h264"))
ROOT = Path(mediaref_ursa.__file__).parents[1]

PROGRAM = """
import faulthandler, signal, sys, time
faulthandler.dump_traceback_later(60, exit=True)
import numpy as np
from mediaref_ursa import MediaRef, MediaRefError, batch_decode, cleanup_cache
uri, what = sys.argv[1:]
refs = [MediaRef(uri, i * 80_000_000) for i in range(10)]
right = [frame.copy() for frame in batch_decode(refs, resize=(300, 400))]
same = lambda found, expected: all(map(np.array_equal, found, expected))
done, typed = [], []

def handler(*_):
    try:
        if what == "cleanup":
            cleanup_cache()
        else:
            assert same(batch_decode(refs[3:6], resize=(300, 400)), right[3:6])
        done.append(1)
    except MediaRefError as error:
        typed.append(error)

signal.signal(signal.SIGALRM, handler)
until = time.monotonic() + 4
while time.monotonic() < until:
    signal.setitimer(signal.ITIMER_REAL, 0.0004 * (1 + len(done + typed) % 20))
    if what == "batch":
        try:
            cleanup_cache()
        except MediaRefError as error:
            typed.append(error)
    assert same(batch_decode(refs, resize=(300, 400)), right)
signal.setitimer(signal.ITIMER_REAL, 0)
assert done
"""


@pytest.mark.parametrize("what", ["batch", "cleanup"])
@pytest.mark.parametrize("is_far", [False, True], ids=["near", "far"])
def test_a_handler_may_call(what: str, is_far: bool, clip: GetClip) -> None:
    path = clip(H264).path
    with ObjectServer() as server:
        uri = server.put("/video.mp4", path.read_bytes()) if is_far else str(path)
        command = [sys.executable, "-c", PROGRAM, uri, what]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def amid_change() -> Any:
    """A lock such as the caches have, held by this thread."""
    lock = reentrancy.ShortLock()
    with lock:
        yield lock


@pytest.mark.usefixtures("amid_change")
@pytest.mark.parametrize("call", [cleanup_cache, lambda: batch_decode([MediaRef("a.png", 0)])])
def test_a_call_amid_a_change_is_an_error_at_once(call: Callable[[], object]) -> None:
    with pytest.raises(ReentrantCallError, match="signal"):
        call()


def test_only_the_thread_that_changes_is_refused(amid_change: Any) -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(reentrancy.is_amid_change()))
    thread.start()
    thread.join()
    assert found == [False]
    assert reentrancy.is_amid_change()


def test_what_was_held_at_a_fork_is_not_held_in_the_child(amid_change: Any) -> None:
    child = os.fork()
    if child == 0:
        os._exit(int(reentrancy.is_amid_change()))
    assert os.waitpid(child, 0)[1] == 0
    assert amid_change._is_owned()


@pytest.mark.usefixtures("amid_change")
def test_helpers_are_not_waited_for_amid_a_change() -> None:
    with DaemonThreads(2, "test") as threads:
        assert threads.submit(threading.get_ident).result() == threading.get_ident()


class TestLongLock:
    def test_its_thread_is_refused(self) -> None:
        lock = reentrancy.LongLock()
        with lock.held(), pytest.raises(ReentrantCallError), lock.held():
            pass
        with lock.held():
            pass

    def test_another_thread_waits(self) -> None:
        lock = reentrancy.LongLock()
        held: list[int] = []

        def work() -> None:
            with lock.held():
                held.append(2)

        with lock.held():
            thread = threading.Thread(target=in_this_context(work))
            thread.start()
            held.append(1)
        thread.join()
        assert held == [1, 2]


def test_a_file_object_is_not_read_amid_its_own_reading() -> None:
    class File:
        def seek(self, offset: int, whence: int = 0) -> int:
            return offset

        def read(self, size: int) -> bytes:
            with pytest.raises(ReentrantCallError):
                store.get_range("file", 0, 1)
            return b"x" * size

    store = FileObjectStore(File())
    assert store.get_range("file", 2, 3) == b"xxx"


def test_a_range_that_the_own_thread_fetches_is_fetched_anew() -> None:
    flights, key, span = SingleFlight(), ObjectKey("a", '"x"'), Span(0, 3)
    fetches: list[int] = []

    def fetch(spans: Any) -> list[bytes]:
        fetches.append(1)
        if len(fetches) == 1:  # as the handler of a signal would
            assert flights.fetch(key, [span], fetch, lambda *_: None) == {span: b"abc"}
        return [b"abc" for _ in spans]

    assert flights.fetch(key, [span], fetch, lambda *_: None) == {span: b"abc"}
    assert len(fetches) == 2


def test_the_account_of_the_cache_is_not_waited_for(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path / "cache", 10**6)
    key = ObjectKey("a", '"x"')
    assert cache.get_ranges(key, [(0, 3)], lambda spans: [b"abc" for _ in spans]) == [b"abc"]
    with cache._disk_usage.changing():
        found = cache.get_ranges(key, [(5, 2)], lambda spans: [b"de" for _ in spans])
    assert found == [b"de"]


def test_counts_go_on_within_a_count() -> None:
    from mediaref_ursa._core import counters

    with counting() as counted, counters._lock:
        counters.count(frames=2)
    assert counted.frames == 2
