"""The order of references shuffled by runs: a permutation, the same for a seed, in parts for shards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch: Any = pytest.importorskip("torch", reason="torch is not installed")
RunShuffle: Any = pytest.importorskip("mediaref_ursa.torch").RunShuffle
Shard: Any = pytest.importorskip("mediaref_ursa.torch._run_shuffle").Shard

SIZES = st.integers(0, 200)


def batches(shuffle: Any, epoch: int, rank: int = 0, world: int = 1, workers: int = 1) -> list[list[int]]:
    """Return the batches of a rank as a loader gives them: from one worker after another."""
    size = shuffle.batch_size
    orders = [
        shuffle.order(epoch, Shard(rank, world, worker, workers)).references.tolist()
        for worker in range(workers)
    ]
    own = [[order[i : i + size] for i in range(0, len(order), size)] for order in orders]
    count = shuffle.batch_count(Shard(rank, world))
    assert count == sum(map(len, own))
    return [own[number % workers][number // workers] for number in range(count)]


@given(
    count=SIZES,
    runs=st.integers(1, 20),
    world=st.integers(1, 8),
    workers=st.integers(1, 4),
    batch_size=st.integers(1, 40),
    buffer=st.integers(1, 300),
    seed=st.integers(0, 2**31),
)
def test_each_reference_once_an_epoch(
    count: int, runs: int, world: int, workers: int, batch_size: int, buffer: int, seed: int
) -> None:
    numbers = np.random.default_rng(seed).integers(0, runs, count)
    shuffle = RunShuffle(numbers, batch_size=batch_size, seed=seed, buffer_references=buffer)
    for epoch in (0, 1):
        parts = [batches(shuffle, epoch, rank, world, workers) for rank in range(world)]
        flat = [row for part in parts for batch in part for row in batch]
        assert sorted(flat) == list(range(count))
        for part in parts:
            assert all(len(batch) == batch_size for batch in part[:-1])
        lengths = [sum(map(len, part)) for part in parts]
        assert max(lengths) - min(lengths) <= 1
        again = RunShuffle(numbers, batch_size=batch_size, seed=seed, buffer_references=buffer)
        assert [batches(again, epoch, rank, world, workers) for rank in range(world)] == parts


@given(
    count=SIZES,
    world=st.integers(1, 8),
    workers=st.integers(1, 4),
    batch_size=st.integers(1, 40),
    drop=st.booleans(),
)
def test_even_shards_are_those_of_torchs_sampler(
    count: int, world: int, workers: int, batch_size: int, drop: bool
) -> None:
    shuffle = RunShuffle(
        np.arange(count) // 10, batch_size=batch_size, drop_last=drop, even_shards=True, buffer_references=16
    )
    parts = [batches(shuffle, 3, rank, world, workers) for rank in range(world)]
    theirs = torch.utils.data.DistributedSampler(range(count), world, rank=0, drop_last=drop)
    whole = len(theirs) // batch_size * batch_size if drop else len(theirs) if count else 0
    assert {sum(map(len, part)) for part in parts} == {whole}
    assert len({len(part) for part in parts}) == 1
    flat = [row for part in parts for batch in part for row in batch]
    if drop:
        assert len(set(flat)) == len(flat)
    elif count:
        assert set(flat) == set(range(count))


def test_drop_last_leaves_out_less_than_a_batch() -> None:
    shuffle = RunShuffle(np.zeros(100), batch_size=32, drop_last=True)
    for workers in (1, 2, 3, 4):
        found = batches(shuffle, 0, workers=workers)
        assert [len(batch) for batch in found] == [32, 32, 32]
        assert len({row for batch in found for row in batch}) == 96


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    runs = np.arange(1000) // 50
    orders = {
        tuple(RunShuffle(runs, seed=seed, buffer_references=64).order(epoch).references)
        for seed in (0, 1)
        for epoch in (0, 1, 2)
    }
    assert len(orders) == 6


@pytest.mark.parametrize("workers", [1, 3])
def test_each_run_enters_the_buffer_once(workers: int) -> None:
    runs = np.random.default_rng(1).integers(0, 40, 2000)
    positions = np.random.default_rng(2).permutation(2000)
    shuffle = RunShuffle(runs, positions, batch_size=8, buffer_references=100)
    visits = 0
    for worker in range(workers):
        order = shuffle.order(5, Shard(0, 1, worker, workers))
        entered = runs[order.stream]
        visits += 1 + int((np.diff(entered) != 0).sum())
        for run in np.unique(entered):
            assert (np.diff(positions[order.stream[entered == run]]) > 0).all()
        late = np.arange(len(order.drawn)) + order.capacity
        assert (order.drawn < late).all()  # nothing is drawn before it entered
    assert 40 <= visits <= 40 + workers - 1


def test_the_buffer_says_how_random_the_order_is() -> None:
    runs = np.arange(10_000) // 100

    def neighbours(buffer: int) -> float:
        rows = RunShuffle(runs, batch_size=32, buffer_references=buffer).order(0).references
        found = runs[rows[: len(rows) // 32 * 32]].reshape(-1, 32)
        return float(np.mean([1 - (len(np.unique(batch)) - 1) / 31 for batch in found]))

    measured = [neighbours(buffer) for buffer in (1, 100, 1_000, 10_000)]
    assert measured[0] > 0.95
    assert measured == sorted(measured, reverse=True)
    uniform = runs[np.random.default_rng(0).permutation(10_000)[: 312 * 32]].reshape(-1, 32)
    assert measured[-1] == pytest.approx(
        np.mean([1 - (len(np.unique(batch)) - 1) / 31 for batch in uniform]), abs=0.02
    )


@pytest.mark.parametrize(
    ("wrong", "message"), [({"batch_size": 0}, "batch_size"), ({"buffer_references": 0}, "buffer_references")]
)
def test_sizes_that_are_none(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunShuffle(np.arange(3), **wrong)


@pytest.mark.parametrize("shard", [(1, 1, 0, 1), (-1, 2, 0, 1), (0, 1, 2, 2)])
def test_shards_that_are_none(shard: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected a"):
        Shard(*shard)
