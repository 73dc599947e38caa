"""``RunShuffleDataset``: whole batches, shuffled by runs, whose frames are decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.public import set_module
from mediaref_ursa._references.columns import ReferenceColumns
from mediaref_ursa.torch._collate import MISSING, collate
from mediaref_ursa.torch._memory import empty_tensor, torch_dtype
from mediaref_ursa.torch._progress import Progress
from mediaref_ursa.torch._ref_dataset import RefDataset, Sample
from mediaref_ursa.torch._run_shuffle import Order
from mediaref_ursa.torch._run_table import RunTable, run_table


@set_module("mediaref_ursa.torch")
class RunShuffleDataset(Progress, IterableDataset[Sample]):
    """Batches of a ``RefDataset`` in an order that is shuffled by runs; each frame is decoded about once.

    Each worker owns runs: it decodes them one after another into a buffer, and draws batches from the buffer
    at random. The order is that of :class:`RunShuffle`, a function of the seed, the epoch, the ranks and the
    number of workers alone; each row comes once an epoch.

    Args:
        dataset: The rows. Its transform is called with each sample.
        batch_size: Rows of a batch.
        seed: Of the random numbers.
        rank: This process's rank among those that train together.
        world_size: How many ranks there are.
        buffer_bytes: The most that decoded frames in the buffer of a worker take, and those of a batch.
        buffer_references: The most rows in the buffer of a worker.
        drop_last: As :class:`RunShuffle` takes it.
        even_shards: As :class:`RunShuffle` takes it: for training that waits for all ranks after each batch.

    Raises:
        ValueError: A rank that is none, or a buffer that does not hold a batch and one row more.
        MediaRefError: As frame indexes raise.

    Example:
        >>> import pyarrow as pa
        >>> from torch.utils.data import DataLoader
        >>> from mediaref_ursa.torch import RefDataset, RunShuffleDataset
        >>> frames = [{"uri": "clip.mp4", "pts_ns": 100_000_000 * i} for i in range(8)]
        >>> rows = RefDataset(pa.table({"frame": frames, "row": range(8)}))
        >>> data = RunShuffleDataset(rows, batch_size=3, seed=1)
        >>> data.set_epoch(0)
        >>> loader = DataLoader(data, batch_size=None)
        >>> sorted(row for batch in loader for row in batch["row"].tolist())
        [0, 1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(
        self,
        dataset: RefDataset,
        batch_size: int = 32,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        buffer_bytes: int = 512 << 20,
        buffer_references: int = 10_000,
        drop_last: bool = False,
        even_shards: bool = False,
    ) -> None:
        self.dataset = dataset
        self._table = run_table(dataset)
        rows = buffer_bytes // max(1, self._table.row_bytes) - batch_size
        if rows < 1:
            raise ValueError(
                f"expected buffer_bytes for the frames of a batch and a row more, "
                f"{(batch_size + 1) * self._table.row_bytes}, found {buffer_bytes}"
            )
        self._begin(
            self._table,
            rank,
            world_size,
            batch_size=batch_size,
            seed=seed,
            buffer_references=min(rows, buffer_references),
            drop_last=drop_last,
            even_shards=even_shards,
        )

    def __iter__(self) -> Iterator[Any]:
        """Give out the batches of this process: of its worker, if it is one."""
        info = get_worker_info()
        worker, num_workers = (0, 1) if info is None else (info.id, info.num_workers)
        epoch, first, worker = self._pass(worker, num_workers)
        if info is not None:
            self._note_workers()
        order = self.shuffle.order(epoch, self.shard(worker, num_workers))
        skipped = len(range(worker, first, num_workers))
        buffer = _FrameBuffer(self.dataset, self._table, order)
        for number, rows in enumerate(buffer.batches(self.shuffle.batch_size, skipped), start=skipped):
            if not self._is_tracked:
                self._given = epoch, number * num_workers + worker + 1
            yield rows
        if info is None and not self._is_tracked:
            self._end(epoch)


@dataclass
class _Held:
    """A decoded frame, and how many rows in the buffer have it."""

    frame: Any
    rows: int


class _FrameBuffer:
    """The decoded frames of the rows that are in the buffer, each once however many rows have it."""

    def __init__(self, dataset: RefDataset, table: RunTable, order: Order) -> None:
        self._dataset, self._table, self._order = dataset, table, order
        self._held: dict[int, _Held] = {}
        self._entered = 0

    def batches(self, size: int, skipped: int) -> Iterator[Any]:
        """Give out batches but the first ones, whose frames are decoded only if later rows have them."""
        drawn, count = self._order.drawn, len(self._order.drawn)
        gone = np.zeros(count, dtype=np.bool_)
        gone[drawn[: skipped * size]] = True
        for begin in range(skipped * size, count, size):
            positions = drawn[begin : begin + size]
            self._enter(min(count, self._order.capacity + begin + size), gone, size)
            yield self._batch(self._order.stream[positions])
            self._leave(self._order.stream[positions])

    def _enter(self, stop: int, gone: np.ndarray[Any, Any], size: int) -> None:
        """Decode the rows of the stream up to one, some at a time."""
        while self._entered < stop:
            positions = np.arange(self._entered, min(stop, self._entered + max(size, _ROWS_AT_ONCE)))
            self._entered = int(positions[-1]) + 1
            self._decode(self._order.stream[positions[~gone[positions]]])

    def _decode(self, rows: Int64Array) -> None:
        missing: list[ReferenceColumns] = []
        wanted: list[Int64Array] = []
        for key, frames in self._table.frames.items():
            numbers = frames[rows].ravel()
            for number in numbers.tolist():
                held = self._held.get(number)
                if held is not None:
                    held.rows += 1
            new = np.array([number not in self._held for number in numbers.tolist()], dtype=np.bool_)
            unique, first, counts = np.unique(numbers[new], return_index=True, return_counts=True)
            for number, times in zip(unique.tolist(), counts.tolist(), strict=True):
                self._held[number] = _Held(None, times)
            references = self._dataset.references(key, rows)
            missing.append(references.take(np.flatnonzero(new)[first]))
            wanted.append(unique)
        for numbers, decoded in zip(wanted, self._dataset.decode_each(missing), strict=True):
            for number, frame in zip(numbers.tolist(), decoded, strict=True):
                self._held[number].frame = frame

    def _batch(self, rows: Int64Array) -> Any:
        dataset = self._dataset
        batch: dict[str, Any] = {}
        for key, frames in self._table.frames.items():
            numbers = frames[rows]
            found = [[self._held[number].frame for number in row] for row in numbers.tolist()]
            batch |= _stacked(
                key, found, is_window=dataset.is_window(key), with_mask=dataset.on_error == "none"
            )
        batch |= dataset.other_values(rows)
        if dataset.transform is None:
            return batch
        return collate([dataset.transform(sample) for sample in dataset.samples(batch, len(rows))])

    def _leave(self, rows: Int64Array) -> None:
        for frames in self._table.frames.values():
            for number in frames[rows].ravel().tolist():
                held = self._held[number]
                held.rows -= 1
                if not held.rows:
                    del self._held[number]


_ROWS_AT_ONCE = 64
"""Rows whose frames are decoded by one plan."""


def _stacked(key: str, found: list[list[Any]], *, is_window: bool, with_mask: bool) -> dict[str, Any]:
    """Return frames as one tensor of a batch, and which are missing."""
    first = next((frame for row in found for frame in row if frame is not None), None)
    mask = torch.tensor([[frame is None for frame in row] for row in found])
    masks = {f"{key}{MISSING}": mask if is_window else mask[:, 0]} if with_mask else {}
    if first is None:
        return {key: None, **masks}
    batch = empty_tensor((len(found), len(found[0]), *first.shape), torch_dtype(first.dtype))
    for row, frames in zip(batch.numpy(), found, strict=True):
        for place, frame in zip(row, frames, strict=True):
            place[...] = 0 if frame is None else frame
    return {key: batch if is_window else batch[:, 0], **masks}
