"""Forks amid imports and locks of other threads: no child waits for what will never be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _tables import segment_table

import mediaref_ursa
from mediaref_ursa._core import process_state

FIRST_USES = {
    "a reference": "from mediaref_ursa import MediaRef; MediaRef('a.mp4', 5)",
    "a reference to a path": (
        "from mediaref_ursa import MediaRef; from pathlib import Path; MediaRef(Path('a.mp4'), 5)"
    ),
    "a data URI": "from mediaref_ursa import DataURI; DataURI.from_uri('data:text/plain,a')",
    "a batch": "import mediaref_ursa; mediaref_ursa.batch_decode([])",
    "a decoder class": "from mediaref_ursa.video_decoder import PyAVVideoDecoder",
    "a lazy video": "from mediaref_ursa import LazyVideo",
    "a column": "import mediaref_ursa.table as table; table.to_arrow([])",
    "a store": "import mediaref_ursa.store as store; store.HttpStore",
}

PROGRAM = """
import faulthandler, os, sys, threading, time
import numpy
sys.setswitchinterval(1e-5)
import mediaref_ursa
from mediaref_ursa._core import process_state
process_state.WAIT_SECONDS = float(sys.argv[2])

def use():
    exec(sys.argv[1], {})

thread = threading.Thread(target=use)
thread.start()
children = []
while thread.is_alive() and len(children) < 8:
    time.sleep(0.003 * len(children))
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(20, exit=True)
        use()
        os._exit(0)
    children.append(child)
thread.join()
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


def forked_while_first_used(use: str, wait_seconds: float) -> list[int]:
    """Return how the children end that were forked while another thread imported what ``use`` needs."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, use, str(wait_seconds)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes: list[int] = eval(done.stdout)
    assert (codes, done.stderr) == ([0] * len(codes), "")
    return codes


@pytest.mark.parametrize("use", FIRST_USES.values(), ids=FIRST_USES)
def test_a_child_forked_amid_a_first_use(use: str) -> None:
    codes = (forked_while_first_used(use, wait_seconds=30) for _ in range(4))
    assert any(codes), "no fork came amid the import"


@pytest.mark.parametrize("name", ["a reference", "a reference to a path", "a data URI"])
def test_a_child_forked_before_an_import_has_ended_imports_anew(name: str) -> None:
    """A fork does not wait for ever. Extension modules cannot be begun twice; these have few."""
    assert forked_while_first_used(FIRST_USES[name], wait_seconds=0)


def test_a_fork_waits_for_the_import_of_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_module_of_a_test.py").write_text(
        textwrap.dedent("""
        import time
        import mediaref_ursa
        mediaref_ursa.begun_by_a_test = True
        time.sleep(1)
        answer = 42
        """),
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(process_state, "_PACKAGES", {"slow_module_of_a_test"})
    monkeypatch.setattr(mediaref_ursa, "begun_by_a_test", False, raising=False)
    thread = threading.Thread(target=__import__, args=["slow_module_of_a_test"])
    thread.start()
    while "slow_module_of_a_test" not in sys.modules:
        time.sleep(0.001)

    assert process_state.imports_in_other_threads() == ["slow_module_of_a_test"]
    assert exit_code_of_a_child(lambda: __import__("slow_module_of_a_test").answer == 42) == 0

    thread.join()
    assert process_state.imports_in_other_threads() == []


def test_a_fork_within_an_import_does_not_wait_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forking_module_of_a_test.py").write_text(
        "import os\nchild = os.fork()\nif child == 0:\n    os._exit(7)\ncode = os.waitpid(child, 0)[1]\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(process_state, "_PACKAGES", {"forking_module_of_a_test"})
    monkeypatch.setattr(process_state, "WAIT_SECONDS", 100.0)

    begun = time.monotonic()
    module = __import__("forking_module_of_a_test")

    assert os.waitstatus_to_exitcode(module.code) == 7
    assert time.monotonic() - begun < 50


def test_a_child_forked_while_a_table_is_computed_computes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard library's cached_property of Python 3.10 and 3.11 holds one lock for all objects."""
    original = np.full
    computing, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            computing.set()
            go_on.wait(60)
        return original(*arguments, **options)

    monkeypatch.setattr(np, "full", slow)
    busy, idle = (segment_table([0, 1, 2]) for _ in range(2))
    thread = threading.Thread(target=lambda: busy.frame_of_packet)
    thread.start()
    assert computing.wait(60)
    try:
        assert exit_code_of_a_child(lambda: len(idle.frame_of_packet) > 0) == 0
    finally:
        go_on.set()
        thread.join()
    np.testing.assert_array_equal(busy.frame_of_packet, idle.frame_of_packet)


def test_hooks_registered_while_a_fork_waits_release_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[str] = []
    monkeypatch.setattr(process_state, "_registered", [])

    class State(process_state.ProcessState):
        def __init__(self, name: str) -> None:
            self.name = name

        def before_fork(self) -> None:
            called.append(f"{self.name} before_fork")
            process_state.register(State("late"))

        def after_fork(self) -> None:
            called.append(f"{self.name} after_fork")

        def forget(self) -> None:
            called.append(f"{self.name} forget")

    process_state.register(State("first"))

    assert exit_code_of_a_child(lambda: called == ["first before_fork", "first forget", "late forget"]) == 0
    assert called == ["first before_fork", "first after_fork"]


def exit_code_of_a_child(check: Callable[[], bool]) -> int:
    """Fork, check something in the child, and return 0 if it holds; a child that hangs is killed."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL
