"""Memory of batches, and whether this is a loader's worker process."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info


def empty_tensor(shape: tuple[int, ...], dtype: torch.dtype, *, pin_memory: bool = False) -> torch.Tensor:
    """Return a tensor of no particular values.

    In a worker process it is in shared memory, so that it goes to the training process without a copy.

    Args:
        shape: Of the tensor.
        dtype: Of the tensor.
        pin_memory: Page-lock it for copies to a GPU; in the training process only.
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype, pin_memory=pin_memory)
    flat = torch.empty(0, dtype=dtype)
    count = int(np.prod(shape))
    storage = flat.untyped_storage()._new_shared(max(count, 1) * dtype.itemsize, device=flat.device)
    return flat.set_(storage, 0, shape, torch.empty(shape, dtype=dtype, device="meta").stride())


def torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    """Return torch's type of a NumPy type."""
    return torch.from_numpy(np.empty(0, dtype)).dtype
