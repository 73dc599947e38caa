"""Memory of arrays that are gone is used again, and never that of an array which somebody has."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mediaref_ursa import cleanup_cache
from mediaref_ursa._decode.buffer_pool import MAX_BYTES, MIN_BYTES, BufferPool, buffers

SHAPE = (4, 512, 1024)


@pytest.fixture
def memory() -> BufferPool:
    return BufferPool()


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_the_memory_of_an_array_that_is_gone_is_used_again(memory: BufferPool) -> None:
    first = memory.empty(SHAPE)
    place = address(first)
    del first
    assert address(memory.empty(SHAPE)) == place


def test_what_somebody_has_is_left_alone(memory: BufferPool) -> None:
    array = memory.empty(SHAPE)
    array[:] = 7
    view = array[1:2, ::2]
    buffer = memoryview(view)
    del array, view
    others = [memory.empty(SHAPE) for _ in range(3)]
    for other in others:
        other[:] = 0
    assert np.asarray(buffer).min() == 7
    assert len({address(other) for other in others}) == 3


def test_arrays_of_another_size_let_go_of_what_is_nobodys(memory: BufferPool) -> None:
    memory.empty(SHAPE)
    held = memory.empty((2, *SHAPE))
    assert [block.nbytes for block in memory._blocks] == [held.nbytes]


def test_small_and_large_arrays_are_not_kept(memory: BufferPool) -> None:
    for count in (MIN_BYTES - 1, MAX_BYTES + 1):
        assert memory.empty((count,)).base is None
    assert memory._blocks == []


def test_so_much_is_kept_at_most(memory: BufferPool) -> None:
    held = [memory.empty((MAX_BYTES // 4,)) for _ in range(9)]
    assert sum(block.nbytes for block in memory._blocks) <= MAX_BYTES
    for number, array in enumerate(held):
        array[:] = number
    assert [int(array[0]) for array in held] == list(range(9))


def test_cleanup_lets_go_and_leaves_arrays_alone() -> None:
    array = buffers.empty(SHAPE)
    array[:] = 3
    cleanup_cache()
    assert buffers._blocks == []
    buffers.empty(SHAPE)[:] = 9
    assert array.min() == 3


def test_a_forked_child_begins_with_nothing() -> None:
    array = buffers.empty(SHAPE)
    array[:] = 3
    pid = os.fork()
    if not pid:
        good = buffers._blocks == [] and buffers.empty(SHAPE).shape == SHAPE and array.min() == 3
        os._exit(0 if good else 1)
    assert os.waitpid(pid, 0)[1] == 0
