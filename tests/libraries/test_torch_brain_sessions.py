"""torch_brain's data sets and samplers over the sessions of a catalog, in torch's loader."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _media import Clip
from _sessions import Recorded

from mediaref_ursa import counters
from mediaref_ursa.catalog import Catalog

torch: Any = pytest.importorskip("torch", reason="torch is not installed")
datasets: Any = pytest.importorskip(
    "torch_brain.datasets", reason="torch_brain is not installed with all that it needs"
)
samplers: Any = pytest.importorskip("torch_brain.samplers", reason="torch_brain is not installed")
td: Any = pytest.importorskip("torch_brain.data", reason="torch_brain is not installed")

pytestmark = pytest.mark.filterwarnings("default")  # those of other libraries are not ours to mend


@pytest.fixture
def recorded(clip: Callable[[str], Clip], tmp_path: Path) -> dict[str, Recorded]:
    path = clip("h264_29_97_mp4").path
    days = [Recorded(tmp_path, path, td, "day1", 100.0), Recorded(tmp_path, path, td, "day2", 500.0)]
    return {day.name: day for day in days}


@pytest.fixture
def catalog(recorded: dict[str, Recorded]) -> Catalog:
    return Catalog([row for day in recorded.values() for row in day.rows], channel_format="NHWC")


def cameras(sample: Any) -> tuple[str, float, np.ndarray, np.ndarray]:
    """Decode the cameras of a sample, in the process that made it."""
    return (
        sample.recording_id,
        float(sample.absolute_start),
        sample.left.frames.copy(),
        sample.right.frames.copy(),
    )


def check(recorded: dict[str, Recorded], sample: Any, length: float) -> None:
    name, start, left, right = sample
    assert np.array_equal(left, recorded[name].shown("left", start, start + length))
    assert np.array_equal(right, recorded[name].shown("right", start, start + length))


def test_a_sampler_gives_windows_across_files_and_a_dropped_frame(
    recorded: dict[str, Recorded], catalog: Catalog
) -> None:
    data = catalog.torch_brain_dataset()
    assert data.recording_ids == ["day1", "day2"]
    before = counters()
    sampler = samplers.SequentialFixedWindowSampler(
        sampling_intervals=data.get_sampling_intervals(), window_length=0.5
    )
    samples = [data[index] for index in sampler]
    assert counters().packets_decoded == before.packets_decoded
    assert len(samples) > 30
    for sample in samples:
        check(recorded, cameras(sample), 0.5)
        start = sample.absolute_start
        spikes = recorded[sample.recording_id].spikes
        inside = spikes[(spikes >= start) & (spikes < start + 0.5)]
        assert np.allclose(sample.spikes.timestamps + start, inside)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_loader_decodes_in_its_workers(
    recorded: dict[str, Recorded], catalog: Catalog, context: str
) -> None:
    catalog.materialize("day1").left.frames[:1]  # used before the fork
    data = catalog.torch_brain_dataset(transform=cameras)
    sampler = samplers.RandomFixedWindowSampler(
        sampling_intervals=data.get_sampling_intervals(),
        window_length=0.5,
        generator=torch.Generator().manual_seed(3),
    )
    loader = torch.utils.data.DataLoader(
        data, sampler=sampler, batch_size=4, num_workers=2, collate_fn=list, multiprocessing_context=context
    )
    samples = [sample for batch in loader for sample in batch]
    assert len(samples) == len(sampler)
    for sample in samples:
        check(recorded, sample, 0.5)


def test_trials_and_data_sets_of_data_sets(recorded: dict[str, Recorded], catalog: Catalog) -> None:
    trials = {
        "day1": td.Interval(np.array([100.5, 101.0]), np.array([100.9, 101.4])),
        "day2": td.Interval(np.array([500.5]), np.array([500.9])),
    }
    nested = datasets.NestedDataset(
        {
            name: catalog.torch_brain_dataset([name], namespace_attributes=["recording_id"])
            for name in catalog.recordings()
        }
    )
    assert sorted(nested.recording_ids) == ["day1/day1", "day2/day2"]
    sampler = samplers.TrialSampler(
        sampling_intervals={f"{name}/{name}": interval for name, interval in trials.items()}
    )
    for index in sampler:
        sample = nested[index]
        own, name = sample.recording_id.split("/")
        assert own == name
        expected = recorded[name].shown("right", index.start, index.end)
        assert np.array_equal(sample.right.frames, expected)


def test_a_data_set_is_pickled_and_hooks_change_their_own_copy(catalog: Catalog) -> None:
    data = pickle.loads(pickle.dumps(catalog.torch_brain_dataset(["day2"])))
    assert isinstance(data, datasets.Dataset)
    one = data.get_recording("day2")
    one.recording_id = "changed"
    one.left.timestamps[:] = 0.0
    other = data.get_recording("day2")
    assert other.recording_id == "day2"
    assert other.left.timestamps[0] == 500.0
    assert "n_recordings=1" in repr(data)
