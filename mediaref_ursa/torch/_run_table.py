"""Which references of a data set share a run, and which frames they name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mediaref_ursa._batch.decoded_batch import window_length
from mediaref_ursa._batch.frame_shapes import frame_shapes, max_frame_bytes
from mediaref_ursa._batch.resolve import BatchRequest, ResolvedBatch, resolve_batch
from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa.torch._ref_dataset import RefDataset


@dataclass(frozen=True)
class RunTable:
    """The rows of a data set by run. A run is what is decoded from one random access point on.

    Attributes:
        runs: int64 ``(n,)``, a number for the run of each row's first frame; a number of its own where that
            is an image, or cannot be found.
        positions: int64 ``(n,)``, in which the rows of a run are decoded in one go.
        frames: int64 ``(n, window)`` for each key, a number for each frame; equal numbers are the same frame.
        row_bytes: The bytes that the frames of a row take at most.
    """

    runs: Int64Array
    positions: Int64Array
    frames: dict[str, Int64Array]
    row_bytes: int


def run_table(dataset: RefDataset) -> RunTable:
    """Resolve all references of a data set against the frame indexes, decoding nothing.

    Raises:
        ValueError: Rows that are lists of different lengths.
        UnsupportedMediaError: Images or videos whose frames have no size before they are decoded.
    """
    frames: dict[str, Int64Array] = {}
    runs = positions = np.empty(0, dtype=np.int64)
    row_bytes, first_number = 0, 0
    for key in dataset.columns:
        part = dataset.references(key)
        window = window_length(part.lengths) or 1
        request = dataset.request([part])
        resolved = resolve_batch(request)
        number, run = _numbers(resolved, len(part))
        number[number >= 0] += first_number
        number[number < 0] -= first_number
        first_number += int(np.abs(number).max(initial=0)) + 1
        frames[key] = number.reshape(-1, window)
        if len(frames) == 1:
            runs, positions = run.reshape(-1, window)[:, 0], frames[key][:, 0]
        row_bytes += window * _frame_bytes(dataset, request, resolved)
    return RunTable(runs, positions, frames, row_bytes)


def _numbers(resolved: ResolvedBatch, count: int) -> tuple[Int64Array, Int64Array]:
    """Return a number for the frame of each slot, negative where there is none, and one for its run."""
    lengths = [len(table) for table in resolved.segments]
    packets = [len(table.packets) for table in resolved.segments]
    first_frame = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    first_packet = np.concatenate([[0], np.cumsum(packets, dtype=np.int64)])
    number = -1 - np.arange(count, dtype=np.int64)
    run = first_packet[-1] + np.arange(count, dtype=np.int64)
    starts = np.concatenate([np.empty(0, np.int64), *(table.start for table in resolved.segments)])
    found = first_frame[resolved.segment] + resolved.frame
    number[resolved.slot] = found
    run[resolved.slot] = first_packet[resolved.segment] + starts[found]
    return number, run


def _frame_bytes(dataset: RefDataset, request: BatchRequest, resolved: ResolvedBatch) -> int:
    """Return how many bytes a decoded frame takes at most."""
    shapes = frame_shapes(request, resolved, dataset.spec)
    if shapes is None:
        raise UnsupportedMediaError(
            "expected videos, found images, whose size is not known before they are decoded; pass "
            "resize=(height, width)"
        )
    return max_frame_bytes(resolved, dataset.spec, shapes)
