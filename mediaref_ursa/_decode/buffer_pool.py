"""Pool of frame buffers: memory of earlier frames is used again, since touching fresh memory costs most.

Fresh memory is given out by the system page by page, which takes about as long as converting frames into it.
"""

from __future__ import annotations

import sys
from math import prod
from typing import Any

import numpy as np

from mediaref_ursa._core.array_types import UINT8, PixelArray, UInt8Array
from mediaref_ursa._core.errors import memory_limits
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import ShortLock

MIN_BYTES = 1 << 20
"""Smaller arrays are not pooled: the allocator mostly has their memory already."""
MAX_BYTES = 64 << 20
"""The largest number of bytes that the pool tracks, in use or idle."""

_probe = [np.empty(1, dtype=np.uint8)]
_REFERENCES_OF_A_LIST = sys.getrefcount(_probe[0])
_COUNTS_ARE_EXACT = getattr(sys, "_is_gil_enabled", lambda: True)()


class BufferPool(ProcessState):
    """Memory blocks of earlier arrays, for the next array of the same size. Threads may share one.

    An array holds its block, and so does every view of it: a block to which only this object refers is
    idle. Idle blocks of another size are freed whenever memory is taken.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = ShortLock()
        self._blocks: list[UInt8Array] = []

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any] = UINT8) -> PixelArray:
        """Return an array of no particular values.

        >>> BufferPool().empty((2, 3)).shape
        (2, 3)
        """
        nbytes = prod(shape) * dtype.itemsize
        if not MIN_BYTES <= nbytes <= MAX_BYTES or not _COUNTS_ARE_EXACT:
            return _new(shape, dtype)
        with self._lock:
            for position in reversed(range(len(self._blocks))):
                if sys.getrefcount(self._blocks[position]) > _REFERENCES_OF_A_LIST:
                    continue
                if self._blocks[position].nbytes == nbytes:
                    return self._blocks[position].view(dtype).reshape(shape)
                del self._blocks[position]
            block: UInt8Array = _new((nbytes,), UINT8)
            self._blocks.append(block)
            while sum(kept.nbytes for kept in self._blocks) > MAX_BYTES:
                del self._blocks[0]
        return block.view(dtype).reshape(shape)

    def close(self) -> None:
        """Free idle blocks; stop tracking blocks still in use."""
        with self._lock:
            self._blocks.clear()


def _new(shape: tuple[int, ...], dtype: np.dtype[Any]) -> PixelArray:
    with memory_limits():
        return np.empty(shape, dtype=dtype)


buffers = register(BufferPool())
"""The buffer pool of this process."""
