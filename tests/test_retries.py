"""Retries: a pause ends as soon as the result is not wanted any more, whoever says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import pytest

from mediaref_ursa import StoreError
from mediaref_ursa.store._download.retry import (
    Deadline,
    RetryPolicy,
    TransientError,
    each_at_once,
    retried,
    stopped_by,
)

POLICY = RetryPolicy(attempts=5, backoff_seconds=600.0, max_wait_seconds=600.0, deadline_seconds=3600.0)


def waiting(pausing: threading.Event, stop: threading.Event) -> str:
    """Fail at once, so that a pause of 300 s or more begins."""

    def attempt(deadline: Deadline) -> str:
        pausing.set()
        raise TransientError("no answer")

    return retried("http://a/b", POLICY, attempt, stop=stop)


def failing(pausing: threading.Event, stop: threading.Event) -> str:
    assert pausing.wait(60)
    raise StoreError("a sibling failed", uri="http://a/c")


@pytest.mark.parametrize("outer", [0, 1, 2], ids=["alone", "within a call", "within a call's fetch"])
def test_a_failure_ends_the_pause_of_a_sibling(outer: int) -> None:
    pausing = threading.Event()
    reads: list[Callable[[threading.Event], str]] = [partial(failing, pausing), partial(waiting, pausing)]

    def work() -> None:
        with ExitStack() as stack:
            for _ in range(outer):
                stack.enter_context(stopped_by(threading.Event()))
            with pytest.raises(StoreError, match="a sibling failed"):
                each_at_once(reads, lambda read, stop: read(stop), 2, "test")

    assert ends_before_the_pause(work)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["outermost", "inner", "own"])
def test_each_of_nested_stops_ends_a_pause(which: int) -> None:
    stops = [threading.Event() for _ in range(3)]
    pausing = threading.Event()

    def work() -> None:
        with stopped_by(stops[0]), stopped_by(stops[1]), pytest.raises(StoreError):
            waiting(pausing, stops[2])

    assert ends_before_the_pause(work, lambda: pausing.wait(60) and stops[which].set())


def test_a_pause_takes_its_time() -> None:
    began = time.monotonic()
    Deadline(60.0).pause(0.12)
    assert time.monotonic() - began >= 0.12


def ends_before_the_pause(work: Callable[[], None], meanwhile: Callable[[], object] = lambda: None) -> bool:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    meanwhile()
    thread.join(60)
    return not thread.is_alive()
