"""The interpreter ends while daemon threads decode: they leave first, so that nothing is aborted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from _media import Clip

import mediaref_ursa
from mediaref_ursa._core.interpreter_exit import _Work
from mediaref_ursa._core.process_state import register_while_alive

PROGRAM = """
import atexit, sys, threading, time
atexit.register(lambda: print([thread.is_alive() for thread in threads], flush=True))  # after the package's
from mediaref_ursa import LazyVideo, batch_decode
path, turns, threads = sys.argv[1], [], []
video = LazyVideo(path)
refs = video.refs()
def go():
    while True:
        {work}
threads += [threading.Thread(target=go, daemon=True) for _ in range(6)]
for thread in threads:
    thread.start()
while len(turns) < 12:
    time.sleep(0.001)
"""
WORK = {
    "iterate": "for frame in video: turns.append(1)",
    "slice": "video[3:9]; turns.append(1)",
    "batch": "batch_decode(refs[3:9]); turns.append(1)",
}


@pytest.mark.parametrize("work", WORK)
def test_daemon_threads_have_left_when_the_interpreter_ends(work: str, clip: Callable[[str], Clip]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(work=WORK[work]), str(clip("hevc_mkv").path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(mediaref_ursa.__file__).parents[1],
    )
    assert (done.returncode, done.stdout.strip()) == (0, str([False] * 6)), done.stderr


def test_a_forked_child_waits_for_no_thread_of_its_parent() -> None:
    work = _Work()
    register_while_alive(work)
    inside, go_on = threading.Event(), threading.Event()

    def go() -> None:
        work.enter()
        inside.set()
        go_on.wait()
        work.leave()

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    inside.wait()
    assert not work._is_empty()
    pid = os.fork()
    if not pid:
        os._exit(0 if work._is_empty() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    go_on.set()
    thread.join()
    assert work._is_empty()
