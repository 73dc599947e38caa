"""Positions of frames by what stands in square brackets: slices, lists, arrays and masks. Pure."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from mediaref_ursa._core.array_types import Int64Array


def is_selection(key: Any) -> bool:
    """Whether a key chooses frames, any number of them, and not one: a slice, a list, an array of one axis.

    >>> is_selection([3]), is_selection(slice(3)), is_selection(3), is_selection(np.int64(3))
    (True, True, False, False)
    """
    return isinstance(key, (slice, list, range)) or getattr(key, "ndim", 0) > 0


def selected_positions(key: Any, count: int) -> Int64Array:
    """Return the positions that a key chooses, as NumPy's indexing does.

    Args:
        key: A slice; a list, a range or an array of integers, negative ones from the end; a boolean mask of
            ``count``.
        count: How many frames there are.

    Returns:
        int64 ``(n,)``, in the order of the key, from 0 to ``count - 1``.

    Raises:
        IndexError: A position that there is not, a mask of another length, or several axes.
        TypeError: Neither integers nor booleans.

    >>> selected_positions([0, 5, -1], 10).tolist(), selected_positions([True, False, True], 3).tolist()
    ([0, 5, 9], [0, 2])
    """
    if isinstance(key, slice):
        return np.arange(*key.indices(count), dtype=np.int64)
    chosen = np.asarray(key)
    if chosen.ndim != 1:
        raise IndexError(f"expected numbers of frames in one row, found an array of the shape {chosen.shape}")
    if chosen.dtype == np.bool_:
        return _under_mask(chosen, count)
    if chosen.dtype.kind not in "iu":
        chosen = _integers(chosen)
    wrong = np.asarray(chosen >= count, dtype=np.bool_)
    if chosen.dtype.kind != "u":
        wrong |= np.asarray(chosen < -count, dtype=np.bool_)
    if wrong.any():
        raise outside(int(chosen[wrong][0]), count)
    positions = chosen.astype(np.int64)
    return np.where(positions < 0, positions + count, positions)


def outside(position: int, count: int) -> IndexError:
    """Return the error for a position that there is not."""
    if not count:
        return IndexError(f"expected a frame of a window that has none, found {position}")
    return IndexError(f"expected a frame from {-count} to {count - 1}, found {position}")


def _under_mask(mask: Any, count: int) -> Int64Array:
    if len(mask) != count:
        raise IndexError(f"expected a mask of {count} booleans, one for each frame, found {len(mask)}")
    return np.flatnonzero(mask).astype(np.int64)


def _integers(values: Any) -> Any:
    """Return values of no integer type, such as those of an empty list, as integers.

    Raises:
        TypeError: They are none.
    """
    if not len(values):
        return np.empty(0, dtype=np.int64)
    if values.dtype != object:
        raise TypeError(f"expected integers or booleans to choose frames, found {values.dtype}")
    try:
        return np.array([operator.index(value) for value in values], dtype=object)
    except TypeError:
        raise TypeError("expected integers or booleans to choose frames, found other objects") from None
