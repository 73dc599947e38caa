"""Threads that work on one call: all jobs are done once, parts may change hands, and ends wait for nobody."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from mediaref_ursa._core.counters import count, counting
from mediaref_ursa._decode.worker_pool import WorkerPool, threads


def numbers(first: int, stop: int) -> Iterator[int]:
    for number in range(first, stop):
        time.sleep(0.001)
        yield number


def crew(workers: int) -> WorkerPool[int]:
    return WorkerPool(workers, lambda: None)


@pytest.mark.parametrize("workers", [1, 2, 5, 80])
def test_all_results_come_once(workers: int) -> None:
    jobs = [partial(numbers, first, first + 5) for first in range(0, 100, 5)]
    assert sorted(crew(workers).results(jobs)) == list(range(100))


def test_no_jobs_give_no_results() -> None:
    assert list(crew(3).results([])) == []


def test_one_worker_does_nothing_ahead() -> None:
    done = []

    def job(number: int) -> Iterator[int]:
        done.append(number)
        yield number

    results = crew(1).results([partial(job, 0), partial(job, 1)])
    assert next(results) == 0
    assert done == [0]


def test_an_idle_thread_takes_parts_of_the_only_job() -> None:
    ours = crew(2)
    threads = set()

    def part(number: int) -> tuple[int]:
        threads.add(threading.get_ident())
        time.sleep(0.005)
        return (number,)

    def job() -> Iterator[int]:
        for number in range(40):
            time.sleep(0.005)
            handed = partial(part, number)
            if not ours.offload(handed):
                yield from handed()

    assert sorted(ours.results([job])) == list(range(40))
    assert len(threads) == 2


def test_alone_nothing_is_handed_over() -> None:
    assert not crew(1).offload(lambda: (1,))


@pytest.mark.parametrize("place", [0, 1, 7])
def test_an_error_of_any_thread_is_raised_where_results_are_awaited(place: int) -> None:
    def fail() -> Iterator[int]:
        raise KeyError("no")
        yield

    jobs = [fail if number == place else partial(numbers, 0, 3) for number in range(8)]
    with pytest.raises(KeyError, match="no"):
        list(crew(3).results(jobs))


def test_closing_early_ends_helpers_and_frees_those_that_wait() -> None:
    freed = threading.Event()

    def waits() -> Iterator[int]:
        yield 1
        freed.wait(30)
        yield 2

    results = WorkerPool(2, freed.set).results([waits, waits, waits])
    begin = time.monotonic()
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin < 5


def test_what_helpers_do_counts_for_the_block_of_the_caller() -> None:
    def job() -> Iterator[int]:
        time.sleep(0.01)
        count(frames=1)
        yield 1

    with counting() as counted:
        list(crew(4).results([job] * 12))
    assert counted.frames == 12


def test_many_calls_at_once_share_the_threads() -> None:
    found: list[list[int]] = []

    def call() -> None:
        jobs = [partial(numbers, first, first + 2) for first in range(0, 20, 2)]
        found.append(sorted(crew(8).results(jobs)))

    callers = [threading.Thread(target=call) for _ in range(20)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
    assert found == [list(range(20))] * 20


def test_a_forked_child_makes_threads_of_its_own() -> None:
    jobs = [partial(numbers, 0, 3)] * 6
    list(crew(3).results(jobs))
    pid = os.fork()
    if not pid:
        os._exit(0 if len(list(crew(3).results(jobs))) == 18 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    threads.close()
    assert len(list(crew(3).results(jobs))) == 18


def test_threads_may_be_let_go_at_any_time() -> None:
    stop = threading.Event()

    def let_go() -> None:
        while not stop.is_set():
            threads.close()

    other = threading.Thread(target=let_go)
    other.start()
    try:
        for _ in range(200):
            assert sorted(crew(3).results([partial(iter, [1, 2])] * 4)) == [1] * 4 + [2] * 4
    finally:
        stop.set()
        other.join()
