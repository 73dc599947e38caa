"""A file over byte ranges reads as a file does, and asks for no more than it needs."""

from __future__ import annotations

import io
import random

import pytest
from _tables import PATIENT
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa._containers import range_file
from mediaref_ursa._containers.range_file import RangeReader

BLOCK = 64
FILE = random.Random(1).randbytes(BLOCK * 20 + 7)


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> None:
    """Files of a few blocks stand for files of many megabytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(range_file, "_BLOCK_BYTES", BLOCK)
        patch.setattr(range_file, "_BLOCKS_KEPT", 3)
        yield


class Recorder:
    """Serves ranges of a file and remembers which."""

    def __init__(self, data: bytes = FILE) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def __call__(self, offset: int, length: int) -> bytes:
        assert 0 <= offset < offset + length <= len(self.data), "asked for bytes outside the file"
        self.asked.append((offset, length))
        return self.data[offset : offset + length]


def reader_over(data: bytes = FILE) -> tuple[RangeReader, Recorder]:
    source = Recorder(data)
    return RangeReader(source, len(data)), source


steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 300)),
        st.tuples(st.just("seek"), st.integers(0, len(FILE) + 50)),
        st.tuples(st.just("skip"), st.integers(0, 100)),
        st.tuples(st.just("from the end"), st.integers(-len(FILE), 20)),
        st.tuples(st.just("peek"), st.integers(0, len(FILE) + 50)),
    ),
    max_size=20,
)


@PATIENT
@given(steps)
def test_it_reads_as_a_file_does(script: list[tuple[str, int]]) -> None:
    """A random walk, held against io.BytesIO."""
    reader, _ = reader_over()
    real = io.BytesIO(FILE)
    for step, value in script:
        if step == "read":
            assert reader.read(value) == real.read(value)
        elif step == "seek":
            assert reader.seek(value) == real.seek(value)
        elif step == "skip":
            assert reader.seek(value, io.SEEK_CUR) == real.seek(value, io.SEEK_CUR)
        elif step == "from the end":
            assert reader.seek(value, io.SEEK_END) == real.seek(value, io.SEEK_END)
        else:
            assert reader.read_at(value, 90) == FILE[value : value + 90]
        assert reader.tell() == real.tell()


def test_one_pass_reads_every_byte_once() -> None:
    reader, source = reader_over()

    pieces = iter(lambda: reader.read(10), b"")

    assert b"".join(pieces) == FILE
    assert reader.bytes_read == len(FILE)
    assert source.asked == [(at, min(BLOCK, len(FILE) - at)) for at in range(0, len(FILE), BLOCK)]


def test_going_back_a_little_is_free() -> None:
    reader, source = reader_over()
    reader.read(2 * BLOCK)
    asked = len(source.asked)

    reader.seek(0)
    assert reader.read(2 * BLOCK) == FILE[: 2 * BLOCK]

    assert len(source.asked) == asked


def test_few_blocks_are_kept() -> None:
    reader, source = reader_over()
    reader.read()

    reader.read_at(0, 1)

    assert source.asked[-1] == (0, BLOCK)
    assert reader.bytes_read == len(FILE) + BLOCK


def test_a_block_that_was_used_lately_is_kept() -> None:
    reader, source = reader_over()
    for block in (0, 1, 2, 0, 3, 0):
        reader.read_at(block * BLOCK, 1)

    assert [offset // BLOCK for offset, _ in source.asked] == [0, 1, 2, 3]


def test_the_end_of_the_file() -> None:
    reader, source = reader_over()

    assert reader.read_at(len(FILE) - 3, 100) == FILE[-3:]
    assert reader.read_at(len(FILE), 1) == b""
    assert reader.read_at(0, 0) == b""
    assert reader.seek(5, io.SEEK_END) == len(FILE) + 5
    assert reader.read(10) == b""
    assert reader.read() == b""
    assert len(source.asked) == 1


def test_an_empty_file() -> None:
    reader, source = reader_over(b"")

    assert reader.read() == reader.read(5) == reader.read_at(0, 5) == b""
    assert source.asked == []


def test_a_position_before_the_start_is_an_error() -> None:
    reader, _ = reader_over()
    reader.seek(3)

    with pytest.raises(ValueError, match="before the start"):
        reader.seek(-4, io.SEEK_CUR)
    assert reader.tell() == 3


def test_it_says_what_it_can_do() -> None:
    reader, _ = reader_over()

    assert reader.readable()
    assert reader.seekable()
    assert reader.length == len(FILE)


def test_a_failing_store_is_asked_again_next_time() -> None:
    """What a store raises comes through, and no half block is kept."""
    failing = True

    def read_range(offset: int, length: int) -> bytes:
        if failing:
            raise OSError("the network is down")
        return FILE[offset : offset + length]

    reader = RangeReader(read_range, len(FILE))
    with pytest.raises(OSError, match="network"):
        reader.read(10)
    failing = False

    assert reader.read(10) == FILE[:10]
