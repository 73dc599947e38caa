"""Progress within an epoch: batches that were given out, whatever a loader reads ahead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, get_worker_info

from mediaref_ursa.torch._run_shuffle import RunShuffle, Shard
from mediaref_ursa.torch._run_table import RunTable

_EPOCH, _START, _WORKERS, _WORKERS_READ = range(4)  # in the shared memory


class Progress:
    """Mixin for iteration in the order of a :class:`RunShuffle`: epoch, progress, and their state.

    What a pass begins with lies in shared memory, where workers that outlive a pass read it.

    Attributes:
        shuffle: Gives the order.
        rank: This process's rank.
        world_size: How many ranks there are.
    """

    shuffle: RunShuffle
    rank: int
    world_size: int

    def _begin(self, table: RunTable, rank: int, world_size: int, **shuffled: Any) -> None:
        """Begin before the first epoch, in an order by the runs of a table.

        Args:
            table: The rows by run.
            rank: This process's rank.
            world_size: How many ranks there are.
            **shuffled: The options of :class:`RunShuffle`.
        """
        self.shuffle = RunShuffle(table.runs, table.positions, **shuffled)
        self.rank, self.world_size = rank, world_size
        self.shard(0, 1)  # an error now if there is no such rank
        self._shared = torch.zeros(4, dtype=torch.int64).share_memory_()
        self._own_start: tuple[int, int] | None = None
        self._given: tuple[int, int] | None = None
        self._is_tracked = False
        self._num_workers = 1

    def __len__(self) -> int:
        return self.shuffle.batch_count(self.shard(0, 1))

    def shard(self, worker: int, num_workers: int) -> Shard:
        """Return the shard of a worker of this rank."""
        return Shard(self.rank, self.world_size, worker, num_workers)

    @property
    def epoch(self) -> int:
        """The epoch of the next pass, which chooses its order."""
        return int(self._shared[_EPOCH])

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; call it before each, as for torch's ``DistributedSampler``.

        Another epoch begins with its first batch; the same one where a state that was loaded left off.
        """
        if epoch != self.epoch:
            self._start_at(epoch, 0)

    def track(self, loader: DataLoader[Any]) -> Iterator[Any]:
        """Iterate over a loader, and count the batches that it gives out for :meth:`state_dict`.

        Args:
            loader: A ``DataLoader`` of this object, whose batches come in order.

        Raises:
            ValueError: They do not.
        """
        if not getattr(loader, "in_order", True):
            raise ValueError(
                "expected a loader with in_order=True, found one that gives batches in any order"
            )
        self._num_workers = max(1, loader.num_workers)
        epoch, given = self.epoch, self._first_batch()
        self._is_tracked, self._given = True, (epoch, given)
        try:
            for batch in loader:
                given += 1
                self._given = epoch, given
                yield batch
        finally:
            self._is_tracked = False
        self._end(epoch)

    def state_dict(self) -> dict[str, int]:
        """Return the state from which :meth:`load_state_dict` goes on with the next batch.

        Batches count when they are given out. With worker processes, iterate over :meth:`track`, or use
        torchdata's ``StatefulDataLoader``.

        Raises:
            RuntimeError: Workers read ahead, and nothing counted what was given out.
        """
        info = get_worker_info()
        if self._given is None and info is None and bool(self._shared[_WORKERS_READ]):
            raise RuntimeError(
                "expected batches to be counted, found that worker processes read ahead and nothing says how "
                "many were given out; iterate over .track(loader)"
            )
        epoch, batches = self._given or (self.epoch, self._first_batch())
        workers = self._num_workers if info is None else info.num_workers
        return {"epoch": epoch, "batches": batches, "num_workers": workers, **self._settings()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the batches of a state: the next pass begins there.

        Raises:
            ValueError: It is of another order: another seed, batch size, rank, or number of references.
        """
        mine = self._settings()
        if wrong := {name: state.get(name) for name in mine if state.get(name) != mine[name]}:
            expected = ", ".join(f"{name}={mine[name]}" for name in wrong)
            raise ValueError(f"expected a state with {expected}, found {wrong}")
        self._start_at(int(state["epoch"]), int(state["batches"]), int(state["num_workers"]))

    def _start_at(self, epoch: int, batch: int, num_workers: int = 0) -> None:
        self._given = None
        if get_worker_info() is not None:  # the others go on from states of their own
            self._own_start = epoch, batch
            return
        self._num_workers = max(1, num_workers)
        self._shared[:] = torch.tensor([epoch, batch, num_workers, 0])

    def _first_batch(self) -> int:
        """Return the batch with which the next pass of this process begins."""
        return int(self._shared[_START])

    def _pass(self, worker: int, num_workers: int) -> tuple[int, int, int]:
        """Return epoch, first batch and shard of a pass that begins now, in a worker of a loader.

        A loader takes its first batch from its first worker, wherever the pass begins. One that gives each
        worker a state of its own begins with the worker whose turn it is.

        Raises:
            ValueError: A state was loaded that another number of workers had reached.
        """
        if self._own_start is not None:
            (epoch, batch), self._own_start = self._own_start, None
            return epoch, batch, worker
        epoch, batch, workers, _ = self._shared.tolist()
        if batch and workers not in (0, num_workers):
            raise ValueError(
                f"expected {workers} workers, with which the state was reached, found {num_workers}: the "
                "order depends on their number"
            )
        return epoch, batch, (batch + worker) % num_workers

    def _note_workers(self) -> None:
        """Note that worker processes read, so that a state of the training process must be counted."""
        self._shared[_WORKERS_READ] = 1

    def _end(self, epoch: int) -> None:
        """End a pass: the next one begins with its first batch."""
        self._shared[: _START + 1] = torch.tensor([epoch, 0])

    def _settings(self) -> dict[str, int]:
        return {
            "seed": self.shuffle.seed,
            "batch_size": self.shuffle.batch_size,
            "buffer_references": self.shuffle.buffer_references,
            "drop_last": int(self.shuffle.drop_last),
            "even_shards": int(self.shuffle.even_shards),
            "references": len(self.shuffle),
            "rank": self.rank,
            "world_size": self.world_size,
        }
