"""Reads of one table that wait for one another go together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from mediaref_ursa.store._one_call import _MAX_TOGETHER, ReadsTogether


class Table:
    """Doubles numbers, a call at a time; the first call waits until so many other reads wait for it."""

    def __init__(self, reads: ReadsTogether, waiting: int, name: str = "table") -> None:
        self.reads, self.name = reads, name
        self.calls: list[list[int]] = []
        self._waiting = waiting

    def perform(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append(list(numbers))
        if len(self.calls) == 1:
            while len(self.reads._waiting[self.name]) < self._waiting:
                threading.Event().wait(0.001)
        return [2 * number for number in numbers]

    def read_all(self, numbers: Sequence[int], perform: Callable[[Sequence[int]], list[int]]) -> list[int]:
        with ThreadPoolExecutor(len(numbers)) as pool:
            return list(pool.map(lambda number: self.reads.read(self.name, number, perform), numbers))


def test_reads_that_wait_go_together() -> None:
    table = Table(ReadsTogether(), waiting=9)
    assert table.read_all(range(10), table.perform) == [2 * number for number in range(10)]
    assert [len(call) for call in table.calls] == [1, 9]


def test_no_more_than_so_many_go_together() -> None:
    count = _MAX_TOGETHER + 5
    table = Table(ReadsTogether(), waiting=count - 1)
    assert table.read_all(range(count), table.perform) == [2 * number for number in range(count)]
    assert [len(call) for call in table.calls] == [1, _MAX_TOGETHER, 4]


def test_other_tables_do_not_wait() -> None:
    reads = ReadsTogether()
    slow = Table(reads, waiting=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(reads.read, "table", 1, slow.perform)
        while not slow.calls:
            threading.Event().wait(0.001)
        assert reads.read("other", 3, lambda numbers: [2 * number for number in numbers]) == 6
        second = pool.submit(reads.read, "table", 2, slow.perform)
        assert (first.result(), second.result()) == (2, 4)


def test_of_reads_that_fail_together_each_has_its_own_error() -> None:
    table = Table(ReadsTogether(), waiting=5)

    def perform(numbers: Sequence[int]) -> list[int]:
        if 3 in table.perform(numbers) or 3 in numbers:
            raise ValueError(f"found 3 among {list(numbers)}")
        return [2 * number for number in numbers]

    def read(number: int) -> int | str:
        try:
            return int(table.reads.read(table.name, number, perform))
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(read, range(6)))
    assert found == [0, 2, 4, "found 3 among [3]", 8, 10]
    assert table.reads.read(table.name, 7, perform) == 14, "the table is free again"


def test_an_interrupted_read_lets_the_others_go_on() -> None:
    table = Table(ReadsTogether(), waiting=3)

    def perform(numbers: Sequence[int]) -> list[int]:
        found = table.perform(numbers)
        if len(table.calls) == 1:
            raise KeyboardInterrupt
        return found

    def read(number: int) -> int | None:
        try:
            return int(table.reads.read(table.name, number, perform))
        except KeyboardInterrupt:
            return None

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, range(4)))
    assert found.count(None) == 1
    assert sorted(answer for answer in found if answer is not None) == sorted(
        2 * number for number in range(4) if found[number] is not None
    )


@pytest.mark.parametrize("is_first", [True, False], ids=["the next that performs", "another that waits"])
def test_a_thread_that_is_interrupted_while_it_waits_holds_up_no_other(is_first: bool) -> None:
    reads, go_on = ReadsTogether(), threading.Event()

    def perform(numbers: Sequence[int]) -> list[int]:
        if 0 in numbers:
            go_on.wait()
        return [2 * number for number in numbers]

    def wait_for(count: int) -> None:
        while len(reads._waiting.get("table", [])) < count:
            threading.Event().wait(0.001)

    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ThreadPoolExecutor(4) as pool:
            leads = pool.submit(reads.read, "table", 0, perform)
            while "table" not in reads._waiting:
                threading.Event().wait(0.001)
            others = [] if is_first else [pool.submit(reads.read, "table", 1, perform)]
            wait_for(len(others))
            follows = pool.submit(lambda: (wait_for(len(others) + 1), reads.read("table", 2, perform))[1])
            killer = pool.submit(
                lambda: (wait_for(len(others) + 2), signal.pthread_kill(main, signal.SIGUSR1))
            )
            main = threading.main_thread().ident
            with pytest.raises(Interrupted):
                reads.read("table", 5, perform)
            killer.result()
            go_on.set()
            assert leads.result(10) == 0
            assert [other.result(10) for other in others] == [2] * len(others)
            assert follows.result(10) == 4
        assert reads.read("table", 7, perform) == 14
        assert not reads._waiting
    finally:
        go_on.set()
        signal.signal(signal.SIGUSR1, before)


def test_a_read_inside_a_read_does_not_wait_for_itself() -> None:
    reads = ReadsTogether()

    def perform(numbers: Sequence[int]) -> list[int]:
        if numbers == [1]:
            return [reads.read("table", 2, perform) + 1]
        return [2 * number for number in numbers]

    assert reads.read("table", 1, perform) == 5


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_every_read_has_its_answer(threads: int) -> None:
    reads = ReadsTogether()

    def perform(numbers: Sequence[int]) -> list[int]:
        return [2 * number for number in numbers]

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda number: reads.read(number % 3, number, perform), range(2000)))
    assert found == [2 * number for number in range(2000)]
