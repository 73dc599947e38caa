"""Search for the last value of a prefix that is not above a limit, for many prefixes at once. Pure."""

from __future__ import annotations

import numpy as np

from mediaref_ursa._core.array_types import Int64Array


def last_not_above(values: Int64Array, last: Int64Array, limit: Int64Array) -> Int64Array:
    """Return the last position up to ``last`` whose value is not above ``limit``, -1 where there is none.

    Takes ``O((k + n) log k)``: each position knows the nearest smaller value before it, and the one
    2, 4, 8 ... such steps away.

    Args:
        values: int64 ``(k,)``.
        last: int64 ``(n,)``, from -1 to ``k - 1``.
        limit: int64 ``(n,)``.

    >>> last_not_above(np.array([3, 1, 4, 9]), np.array([3, 3, 0]), np.array([5, 2, 2])).tolist()
    [2, 1, -1]
    """
    position: Int64Array = last.copy()
    above = np.flatnonzero(position >= 0)
    above = above[values[position[above]] > limit[above]]
    if not len(above):
        return position
    jumps = [_nearest_smaller(values)]
    while (jumps[-1] >= 0).any():
        jumps.append(np.append(jumps[-1], -1)[jumps[-1]])
    here = position[above]
    for jump in reversed(jumps):  # as far as values stay above the limit
        there = jump[here]
        goes = (there >= 0) & (values[np.maximum(there, 0)] > limit[above])
        here = np.where(goes, there, here)
    position[above] = jumps[0][here]
    return position


def _nearest_smaller(values: Int64Array) -> Int64Array:
    """Return int64 ``(k,)``: the last position before each one that has a smaller value, or -1."""
    before: Int64Array = np.full(len(values), -1, dtype=np.int64)
    stack: list[int] = []
    for position, value in enumerate(values.tolist()):
        while stack and values[stack[-1]] >= value:
            stack.pop()
        if stack:
            before[position] = stack[-1]
        stack.append(position)
    return before
