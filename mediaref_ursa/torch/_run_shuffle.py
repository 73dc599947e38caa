"""``RunShuffle``: a random order of references in which each run is visited about once. Needs NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.public import set_module


@dataclass(frozen=True)
class Shard:
    """One of the equal parts of an epoch: of a rank, and of a worker of it.

    Attributes:
        rank: Its rank, from 0 on.
        world_size: How many ranks there are.
        worker: Its worker, from 0 on.
        num_workers: How many workers each rank has.

    Raises:
        ValueError: A rank or a worker that is none.
    """

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    num_workers: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"expected a rank from 0 to {self.world_size - 1}, found {self.rank}")
        if not 0 <= self.worker < self.num_workers:
            raise ValueError(f"expected a worker from 0 to {self.num_workers - 1}, found {self.worker}")


WHOLE = Shard()


@dataclass(frozen=True)
class Order:
    """The order in which a worker gives its references.

    Attributes:
        stream: int64 ``(n,)``, references as they enter the buffer, run after run.
        drawn: int64 ``(n,)``, positions in the stream, as they are drawn from the buffer.
        capacity: References that the buffer holds: the first as many enter at once, and each that is drawn
            makes room for the next.
    """

    stream: Int64Array
    drawn: Int64Array
    capacity: int

    @property
    def references(self) -> Int64Array:
        """int64 ``(n,)``, references as they are given."""
        return self.stream[self.drawn]


@set_module("mediaref_ursa.torch")
class RunShuffle:
    """A random order of references that visits each run about once an epoch.

    Runs are shuffled; a buffer is filled run after run; what is given is drawn from the buffer at random. The
    order is a function of the seed, the epoch and the shards alone. Each reference comes once an epoch;
    shards are parts of one sequence of runs, of sizes that differ by one batch at most.

    Args:
        runs: int64 ``(n,)``, the run of each reference, by any numbers.
        positions: ``(n,)``, sorts the references of a run; their own order without it.
        batch_size: References of a batch.
        seed: Of the random numbers.
        buffer_references: How many references the buffer of a worker holds. One alone gives run after run,
            and as many as there are references a uniform shuffle.
        drop_last: Leave out what does not fill a batch; with ``even_shards`` what does not fill all ranks.
        even_shards: Give each rank as many references, as torch's ``DistributedSampler`` does: by repeating
            some, or with ``drop_last`` by leaving some out. Without it ranks differ by one reference at most.

    Example:
        >>> shuffle = RunShuffle(np.repeat([7, 8, 9], 4), batch_size=3, buffer_references=4)
        >>> order = shuffle.order(epoch=0).references
        >>> sorted(order.tolist()) == list(range(12)), shuffle.batch_count()
        (True, 4)
    """

    def __init__(
        self,
        runs: Int64Array,
        positions: Int64Array | None = None,
        *,
        batch_size: int = 32,
        seed: int = 0,
        buffer_references: int = 10_000,
        drop_last: bool = False,
        even_shards: bool = False,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("buffer_references", buffer_references)):
            if value < 1:
                raise ValueError(f"expected {name} of 1 or more, found {value}")
        self.batch_size = batch_size
        self.seed = seed
        self.buffer_references = buffer_references
        self.drop_last = drop_last
        self.even_shards = even_shards
        self._runs = np.asarray(runs, dtype=np.int64)
        self._positions = np.arange(len(self._runs)) if positions is None else np.asarray(positions)

    def __len__(self) -> int:
        return len(self._runs)

    def batch_count(self, shard: Shard = WHOLE) -> int:
        """Return the number of batches of a rank."""
        first, stop = self._part_of_rank(shard)
        return (stop - first) // self.batch_size if self.drop_last else -(-(stop - first) // self.batch_size)

    def order(self, epoch: int, shard: Shard = WHOLE) -> Order:
        """Return the order of an epoch for one worker of a rank.

        Batch ``i`` of the rank is batch ``i // num_workers`` of worker ``i % num_workers``, the order in
        which torch's ``DataLoader`` takes them.
        """
        first, stop = self._part_of_rank(shard)
        sizes = self._worker_sizes(shard)
        begin = first + sum(sizes[: shard.worker])
        end = min(begin + sizes[shard.worker], stop)
        stream = self._epoch(epoch).take(np.arange(begin, end), mode="wrap") if len(self) else self._runs[:0]
        capacity = min(self.buffer_references, len(stream))
        rng = np.random.default_rng([self.seed, epoch, 1, begin])
        return Order(stream, _drawn(len(stream), capacity, rng), capacity)

    def _part_of_rank(self, shard: Shard) -> tuple[int, int]:
        count, ranks = len(self), shard.world_size
        if self.even_shards:
            share = count // ranks if self.drop_last else -(-count // ranks)
            return shard.rank * share, (shard.rank + 1) * share
        return shard.rank * count // ranks, (shard.rank + 1) * count // ranks

    def _worker_sizes(self, shard: Shard) -> list[int]:
        """Return how many references each worker of a rank has: the batches go to the workers in turn."""
        first, stop = self._part_of_rank(shard)
        batches = self.batch_count(shard)
        sizes = [
            self.batch_size * len(range(worker, batches, shard.num_workers))
            for worker in range(shard.num_workers)
        ]
        if batches:
            sizes[(batches - 1) % shard.num_workers] -= max(0, batches * self.batch_size - (stop - first))
        return sizes

    @cached_property
    def _sorted(self) -> tuple[Int64Array, Int64Array]:
        """References sorted by run, and where each run begins among them."""
        order = np.lexsort((self._positions, self._runs))
        runs = self._runs[order]
        starts = np.flatnonzero(np.concatenate([[True], runs[1:] != runs[:-1]])) if len(runs) else runs
        return order, starts

    def _epoch(self, epoch: int) -> Int64Array:
        """Return all references, runs in the random order of an epoch."""
        order, starts = self._sorted
        lengths = np.diff(np.append(starts, len(order)))
        runs = np.random.default_rng([self.seed, epoch, 0]).permutation(len(starts))
        lengths = lengths[runs]
        offsets = np.repeat(starts[runs] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        shuffled: Int64Array = order[offsets + np.arange(len(order))]
        return shuffled


def _drawn(count: int, capacity: int, rng: np.random.Generator) -> Int64Array:
    """Return the positions of a stream as they are drawn from a buffer."""
    drawn = np.empty(count, dtype=np.int64)
    chances = rng.random(count).tolist()
    buffer = list(range(capacity))
    entering = iter(range(capacity, count))
    for number, chance in enumerate(chances):
        place = int(chance * len(buffer))
        drawn[number] = buffer[place]
        following = next(entering, None)
        if following is None:
            following = buffer.pop()
            if place == len(buffer):
                continue
        buffer[place] = following
    return drawn
