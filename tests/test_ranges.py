"""Byte ranges: every piece is found in its read, and reads obey their limits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from _tables import PATIENT
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa._core.byte_ranges import MergedRanges, merge_ranges

FILE = bytes(range(256)) * 8
pieces = st.lists(st.tuples(st.integers(0, 1900), st.integers(0, 140)), max_size=12)


def merge(found: list[tuple[int, int]], gap: int = 0, largest: int = 10**9) -> MergedRanges:
    offsets = np.array([offset for offset, _ in found], dtype=np.int64)
    sizes = np.array([size for _, size in found], dtype=np.int64)
    return merge_ranges(offsets, sizes, max_gap_bytes=gap, max_read_bytes=largest)


@pytest.mark.parametrize(
    ("found", "gap", "largest", "ranges"),
    [
        ([], 0, 100, ()),
        ([(5, 10)], 0, 100, ((5, 10),)),
        ([(0, 10), (10, 10)], 0, 100, ((0, 20),)),
        ([(10, 10), (0, 10)], 0, 100, ((0, 20),)),
        ([(0, 10), (11, 10)], 0, 100, ((0, 10), (11, 10))),
        ([(0, 10), (11, 10)], 1, 100, ((0, 21),)),
        ([(0, 10), (10, 10)], 0, 19, ((0, 10), (10, 10))),
        ([(0, 10), (10, 10)], 0, 20, ((0, 20),)),
        ([(0, 500)], 0, 100, ((0, 500),)),
        ([(0, 500), (500, 1)], 0, 100, ((0, 500), (500, 1))),
        ([(0, 10), (0, 10)], 0, 100, ((0, 10),)),
        ([(0, 30), (5, 5)], 0, 100, ((0, 30),)),
        ([(0, 0)], 0, 100, ((0, 0),)),
    ],
)
def test_pieces_merge(
    found: list[tuple[int, int]], gap: int, largest: int, ranges: tuple[object, ...]
) -> None:
    assert merge(found, gap, largest).ranges == ranges


def test_total_bytes_counts_gaps() -> None:
    assert merge([(0, 10), (15, 5), (100, 7)], gap=5).total_bytes == 27


def test_offsets_beyond_32_bits() -> None:
    merged = merge([(2**40, 10), (2**40 + 10, 5), (2**62, 1)])

    assert merged.ranges == ((2**40, 15), (2**62, 1))
    assert merged.start_in_read.tolist() == [0, 10, 0]


@PATIENT
@given(pieces, st.integers(0, 100), st.integers(1, 600))
def test_every_piece_is_cut_out_of_its_read(found: list[tuple[int, int]], gap: int, largest: int) -> None:
    merged = merge(found, gap, largest)

    reads = [FILE[offset : offset + length] for offset, length in merged.ranges]
    for i, (offset, size) in enumerate(found):
        begin = int(merged.start_in_read[i])
        assert begin >= 0
        assert begin + size <= merged.ranges[int(merged.read_of[i])][1]
        assert reads[int(merged.read_of[i])][begin : begin + size] == FILE[offset : offset + size]


@PATIENT
@given(pieces, st.integers(0, 100), st.integers(1, 600))
def test_reads_obey_their_limits(found: list[tuple[int, int]], gap: int, largest: int) -> None:
    """Bounded unless one piece is larger; no gap wider than allowed; no neighbours left apart."""
    merged = merge(found, gap, largest)

    offsets = [offset for offset, _ in merged.ranges]
    assert offsets == sorted(offsets)
    for number, (offset, length) in enumerate(merged.ranges):
        mine = sorted(found[i] for i in range(len(found)) if merged.read_of[i] == number)
        assert length <= max([largest, *(size for _, size in mine)])
        covered = offset
        for begin, size in mine:
            assert begin - covered <= gap
            covered = max(covered, begin + size)
        assert (mine[0][0], covered) == (offset, offset + length)


@PATIENT
@given(pieces, st.integers(0, 100))
def test_without_a_limit_neighbours_are_never_left_apart(found: list[tuple[int, int]], gap: int) -> None:
    ranges = merge(found, gap).ranges

    for (offset, length), (following, _) in pairwise(ranges):
        assert following - (offset + length) > gap
