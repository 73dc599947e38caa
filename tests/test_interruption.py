"""Ctrl-C, deadlines and forks while something far does not answer: nobody waits for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _http_server import ObjectServer
from _media import CODED_CLIP_NAMES, Clip
from _oracle import linear_frames

import mediaref_ursa
from mediaref_ursa import FetchOptions, LazyVideo, MediaRefError, StoreError, cleanup_cache
from mediaref_ursa._core.daemon_threads import DaemonThreads
from mediaref_ursa._decode.worker_pool import WorkerPool
from mediaref_ursa.store import HttpStore
from mediaref_ursa.store._http import addresses as addresses_module
from mediaref_ursa.store._http import connections
from mediaref_ursa.video_decoder import PyAVVideoDecoder

GetClip = Callable[[str], Clip]
ROOT = Path(mediaref_ursa.__file__).parents[1]
H264 = next(name for name in CODED_CLIP_NAMES if name.startswith("h264"))

INTERRUPTED = """
import sys
from mediaref_ursa import MediaRef, batch_decode
from mediaref_ursa.store import HttpStore
url = sys.argv[1]
store = HttpStore()
try:
    {work}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
WORK = {
    "open one video": "batch_decode([MediaRef(url, 0)])",
    "open many videos": "batch_decode([MediaRef(f'{url}{i}', 0) for i in range(40)], on_error='none')",
    "read many ranges": "store.get_ranges(url, [(i * 100, 10) for i in range(20)])",
}


@pytest.fixture
def silent_url() -> Iterator[str]:
    """The address of a server that takes connections, and never answers."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(200)
    yield f"http://127.0.0.1:{server.getsockname()[1]}/video.mp4"
    server.close()


@pytest.mark.parametrize("work", WORK)
def test_an_interruption_waits_for_no_server(work: str, silent_url: str) -> None:
    """All time-outs are those of 30 s and more; how soon exactly is not asserted."""
    command = [sys.executable, "-c", INTERRUPTED.format(work=WORK[work]), silent_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as program:
        _wait_for_connection(silent_url, program)
        program.send_signal(signal.SIGINT)
        try:
            said, _ = program.communicate(timeout=15)
        finally:
            program.kill()
    assert (said.strip(), program.returncode) == ("interrupted", 0)


def _wait_for_connection(url: str, program: subprocess.Popen[str]) -> None:
    """Wait until the program has a connection to the server."""
    port = int(url.split(":")[2].split("/", maxsplit=1)[0])
    until = time.monotonic() + 60
    while program.poll() is None and time.monotonic() < until:
        table = Path(f"/proc/{program.pid}/net/tcp").read_text(encoding="ascii")
        if any(
            f":{port:04X}" in line.split()[2] and line.split()[3] == "01" for line in table.splitlines()[1:]
        ):
            time.sleep(0.3)
            return
        time.sleep(0.02)
    raise AssertionError("expected a connection, found none")


class TestHelperThreads:
    def test_results_come_in_any_number_of_threads(self) -> None:
        with DaemonThreads(3, "test") as threads:
            futures = [threads.submit(pow, number, 2) for number in range(20)]
        assert [future.result() for future in futures] == [number**2 for number in range(20)]

    def test_an_error_is_raised_where_the_result_is_asked_for(self) -> None:
        with DaemonThreads(1, "test") as threads, pytest.raises(ZeroDivisionError):
            threads.submit(lambda: 1 // 0).result()

    def test_an_interrupted_block_waits_for_nobody(self) -> None:
        go_on, begun = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            go_on.wait(60)

        def interrupted() -> None:
            with DaemonThreads(1, "test") as threads:
                futures.extend([threads.submit(work), threads.submit(work)])
                begun.wait(60)
                raise KeyboardInterrupt

        futures: list[Future[None]] = []
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert not futures[0].done()
        assert futures[1].cancelled()
        go_on.set()

    def test_an_error_in_the_block_waits_for_what_has_begun(self) -> None:
        done: list[int] = []
        begun = threading.Event()

        def work() -> None:
            begun.set()
            time.sleep(0.05)
            done.append(1)

        def failing() -> None:
            with DaemonThreads(1, "test") as threads:
                threads.submit(work)
                begun.wait(60)
                raise ValueError("x")

        with pytest.raises(ValueError, match="x"):
            failing()
        assert done == [1]

    def test_without_threads_the_caller_does_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: object) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        with DaemonThreads(3, "test") as threads:
            assert threads.submit(threading.get_ident).result() == threading.get_ident()


class TestDeadlines:
    STORE = HttpStore(connect_timeout_seconds=0.2, deadline_seconds=0.5, attempts=9, backoff_seconds=0.01)

    @pytest.mark.parametrize("public_only", [False, True])
    def test_a_host_of_many_addresses(self, public_only: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[float] = []

        def hang(address: str, port: int, timeout: float, **_: Any) -> socket.socket:
            tried.append(timeout)
            time.sleep(timeout)
            raise TimeoutError("timed out")

        addresses = [f"93.184.0.{number}" for number in range(1, 201)]
        for name in ("resolve", "system_addresses"):
            monkeypatch.setattr(addresses_module, name, lambda host, port: addresses)
        for name in ("open_socket", "_open_socket"):
            monkeypatch.setattr(connections, name, hang)
        cleanup_cache()
        store = HttpStore(**{**vars(self.STORE), "allow_private_hosts": not public_only})
        with pytest.raises(StoreError, match="deadline_seconds"):
            store.get_range("http://media.example/a.bin", 0, 1)
        assert sum(tried) < 0.6  # what was waited for, whatever else took time

    @pytest.mark.parametrize("public_only", [False, True])
    def test_a_name_that_is_not_looked_up(self, public_only: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        go_on = threading.Event()

        def wait(*_: object, **__: object) -> list[Any]:
            go_on.wait(60)
            return []

        monkeypatch.setattr(socket, "getaddrinfo", wait)
        cleanup_cache()
        store = HttpStore(**{**vars(self.STORE), "allow_private_hosts": not public_only})
        with pytest.raises(StoreError, match="deadline_seconds"):
            store.get_range("http://media.example/a.bin", 0, 1)
        assert not go_on.is_set()
        go_on.set()

    @pytest.mark.parametrize("public_only", [False, True])
    def test_the_address_that_answers_is_used(
        self, public_only: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def open_one(address: str, port: int, **_: Any) -> socket.socket:
            if not address.endswith(".3"):
                raise ConnectionRefusedError("refused")
            return socket.create_connection(("127.0.0.1", server.port), 5)

        for name in ("resolve", "system_addresses"):
            monkeypatch.setattr(
                addresses_module, name, lambda host, port: [f"93.184.0.{n}" for n in (1, 2, 3)]
            )
        for name in ("open_socket", "_open_socket"):
            monkeypatch.setattr(connections, name, open_one)
        cleanup_cache()
        with ObjectServer({"/a.bin": b"abc"}) as server:
            store = HttpStore(allow_private_hosts=not public_only)
            assert store.get_range("http://media.example/a.bin", 1, 2) == b"bc"
        cleanup_cache()


SMALL_READS = FetchOptions(max_read_bytes=512, max_requests=2, max_bytes_in_flight=2048, max_gap_bytes=0)
ITERATIONS: dict[str, Callable[[str], Any]] = {
    "lazy video": lambda uri: iter(LazyVideo.from_uri(uri, fetch=SMALL_READS)),
    "decoder": lambda uri: iter(PyAVVideoDecoder(uri)),
}


def _in_child(work: Callable[[], None]) -> int:
    """Run in a forked child that is ended where it hangs; return its exit status."""
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("kind", ITERATIONS)
@pytest.mark.parametrize("is_far", [False, True], ids=["near", "far"])
@pytest.mark.parametrize("given", [1, 4])
def test_a_forked_child_goes_on_iterating(
    kind: str, is_far: bool, given: int, clip: GetClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIAREF_URSA_CACHE_LIMIT", "0")
    path = clip(H264).path
    expected = linear_frames(path)
    with ObjectServer() as server:
        uri = server.put("/video.mp4", path.read_bytes()) if is_far else str(path)
        frames = ITERATIONS[kind](uri)
        before = [next(frames) for _ in range(given)]

        def go_on() -> None:
            shown = np.stack([*before, *frames])
            if shown.shape[-1] != 3:
                shown = shown.transpose(0, 2, 3, 1)
            assert len(shown) == len(expected)

        assert _in_child(go_on) == 0
        assert _in_child(frames.close) == 0
        go_on()  # and so does the parent


def test_work_that_helpers_had_begun_is_an_error_in_a_child() -> None:
    results = WorkerPool(2, lambda: None).results([lambda: iter([1, 2])] * 4)
    next(results)

    def ends() -> None:
        with pytest.raises(MediaRefError, match="forked"):
            list(results)

    assert _in_child(ends) == 0
    assert len(list(results)) == 7
