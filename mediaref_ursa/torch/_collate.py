"""``collate``: samples to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import default_collate

from mediaref_ursa._core.public import set_module
from mediaref_ursa.torch._memory import empty_tensor

MISSING = "_is_missing"


class Samples(list[Any]):
    """Samples of one batch, which exists already.

    Attributes:
        batch: The batch, whose tensors the samples are views of; None where samples were changed.
    """

    batch: dict[str, Any] | None = None


@set_module("mediaref_ursa.torch")
def collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return samples as one batch: a ``collate_fn`` for torch's ``DataLoader``.

    Tensors and numbers are stacked as torch's ``default_collate`` does; samples of :class:`RefDataset`
    without a transform are views of a batch already, which is returned without a copy. Where a sample has
    None in place of frames, the batch has zeros, and a tensor of booleans under the key with ``_is_missing``
    behind it. Texts, values that are None, and tensors of different shapes are lists.

    Example:
        >>> import torch
        >>> batch = collate([{"obs": torch.ones(2), "task": "a"}, {"obs": None, "task": "b"}])
        >>> batch["obs"].tolist(), batch["obs_is_missing"].tolist(), batch["task"]
        ([[1.0, 1.0], [0.0, 0.0]], [False, True], ['a', 'b'])
    """
    if isinstance(samples, Samples) and samples.batch is not None:
        return samples.batch
    batch: dict[str, Any] = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        batch[key] = _together(values)
        present = [value for value in values if value is not None]
        if any(isinstance(value, torch.Tensor) for value in present) and len(present) < len(values):
            batch[f"{key}{MISSING}"] = torch.tensor([value is None for value in values])
    return batch


def _together(values: list[Any]) -> Any:
    present = [value for value in values if value is not None]
    if not present or isinstance(present[0], str | bytes):
        return values
    if isinstance(present[0], torch.Tensor):
        if len({(value.shape, value.dtype) for value in present}) > 1:
            return values
        batch = empty_tensor((len(values), *present[0].shape), present[0].dtype)
        rows = batch.numpy()  # torch's own copies wait for threads, which the decoders use
        for row, value in enumerate(values):
            rows[row] = 0 if value is None else value.numpy()
        return batch
    return values if len(present) < len(values) else default_collate(values)
