"""``RunBatchSampler``: batches of row numbers, shuffled by runs, for map-style data sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Sampler

from mediaref_ursa._core.public import set_module
from mediaref_ursa.torch._progress import Progress
from mediaref_ursa.torch._ref_dataset import RefDataset
from mediaref_ursa.torch._run_table import run_table


@set_module("mediaref_ursa.torch")
class RunBatchSampler(Progress, Sampler[list[int]]):
    """Batches of the row numbers of a ``RefDataset``: rows that share a run go to the same worker.

    For loaders that must have a map-style data set. Workers share no decoded frames, and each decodes a batch
    alone: :class:`RunShuffleDataset` decodes less. A small buffer makes batches of neighbours, which decode
    fast, and a large one batches that are more random.

    Args:
        dataset: The rows.
        batch_size: Rows of a batch.
        num_workers: That of the loader.
        seed: Of the random numbers.
        rank: This process's rank among those that train together.
        world_size: How many ranks there are.
        buffer_references: How many rows the buffer of each worker stands for.
        drop_last: As :class:`RunShuffle` takes it.
        even_shards: As :class:`RunShuffle` takes it.

    Example:
        >>> import pyarrow as pa
        >>> from torch.utils.data import DataLoader
        >>> from mediaref_ursa.torch import RefDataset, RunBatchSampler, collate
        >>> frames = [{"uri": "clip.mp4", "pts_ns": 100_000_000 * i} for i in range(8)]
        >>> data = RefDataset(pa.table({"frame": frames, "row": range(8)}))
        >>> sampler = RunBatchSampler(data, batch_size=4)
        >>> loader = DataLoader(data, batch_sampler=sampler, collate_fn=collate)
        >>> sorted(row for batch in loader for row in batch["row"].tolist())
        [0, 1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(
        self,
        dataset: RefDataset,
        batch_size: int = 32,
        *,
        num_workers: int = 0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        buffer_references: int = 1_000,
        drop_last: bool = False,
        even_shards: bool = False,
    ) -> None:
        self._begin(
            run_table(dataset),
            rank,
            world_size,
            batch_size=batch_size,
            seed=seed,
            buffer_references=buffer_references,
            drop_last=drop_last,
            even_shards=even_shards,
        )
        self.num_workers = num_workers

    def __iter__(self) -> Iterator[list[int]]:
        """Give out the batches of this rank: batch ``i`` for worker ``i % num_workers``."""
        workers = max(1, self.num_workers)
        epoch, first, _ = self._pass(0, workers)
        size = self.shuffle.batch_size
        orders = [self.shuffle.order(epoch, self.shard(i, workers)).references for i in range(workers)]
        if self.num_workers:
            self._note_workers()
        for number in range(first, len(self)):
            if not self._is_tracked and not self.num_workers:
                self._given = epoch, number + 1
            begin = number // workers * size
            yield orders[number % workers][begin : begin + size].tolist()
        if not self._is_tracked:
            self._end(epoch)

    def track(self, loader: Any) -> Iterator[Any]:
        """Iterate over a loader, and count the batches that it gives out for :meth:`state_dict`.

        Args:
            loader: A ``DataLoader`` with this sampler and as many workers as it says.

        Raises:
            ValueError: It has another number of workers, or gives batches in any order.
        """
        if loader.num_workers != self.num_workers:
            raise ValueError(
                f"expected a loader of {self.num_workers} workers, as the sampler says, found one of "
                f"{loader.num_workers}"
            )
        return super().track(loader)
