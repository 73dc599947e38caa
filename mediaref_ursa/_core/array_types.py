"""Names of array types."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]
PixelArray = npt.NDArray[Any]
"""Pixels: uint8, or with ``dtype="native"`` the type that keeps all bits."""

UINT8 = np.dtype(np.uint8)
