"""``sort_by_run``: a data set of Ray sorted so that references that share a run share a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Dataset

from mediaref_ursa._batch.column_decoder import ColumnDecoder
from mediaref_ursa._batch.resolve import ResolvedBatch, resolve_batch
from mediaref_ursa._core.public import set_module
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._references.table_columns import NullableColumn, reference_names

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mediaref_ursa._batch.options import RuleOptions

RUN, POSITION = "__mediaref_run", "__mediaref_position"
_LAST = "~"


@set_module("mediaref_ursa.ray")
def sort_by_run(dataset: Dataset, column: str | None = None, **options: Unpack[RuleOptions]) -> Dataset:
    """Return the rows sorted by video and run, in presentation order within each run.

    A run is decoded from one random access point on: its rows come out in one block, where one plan decodes
    each of its frames once. Frame indexes are read, and no media that have one. The order of rows that name
    the same frame stays. Rows that name no frame come last of their video; null rows last of all.

    Args:
        dataset: The rows.
        column: The column of references; that which holds some, without it. Of lists the first reference
            counts.
        **options: Those of ``plan_decode`` by which references are resolved, ``frame_index`` for instance.

    Returns:
        A data set with the same columns.

    Raises:
        InvalidReferenceError: The column is missing, or holds no references; when the data set is executed.

    Example:
        >>> rows = ray.data.from_arrow(table)  # doctest: +SKIP
        >>> sort_by_run(rows, "frame").map_batches(DecodeFrames, ...)  # doctest: +SKIP
    """
    decoder = ColumnDecoder.from_options(PixelSpec(), options, on_error="none")
    keyed = dataset.map_batches(
        _AddRun(column, decoder),
        batch_format="pyarrow",
    )
    # One key: Ray puts equal keys into one block, and neighbours of several keys wherever these differ.
    return keyed.sort(RUN).map_batches(_in_order, batch_format="pyarrow", batch_size=None)


class _AddRun:
    """A callable class for ``map_batches``: adds a column that names the run, and the position in it."""

    def __init__(self, column: str | None, decoder: ColumnDecoder) -> None:
        self._column, self._decoder = column, decoder

    def __call__(self, batch: pa.Table) -> pa.Table:
        runs, positions = self._keys(batch) if batch.num_rows else ([], [])
        keyed = batch.append_column(RUN, pa.array(runs, pa.string()))
        return keyed.append_column(POSITION, pa.array(positions, pa.int64()))

    def _keys(self, batch: pa.Table) -> tuple[list[str], list[int]]:
        """Return a text for the run of each row, and the position of its first frame."""
        name = next(iter(reference_names(batch, self._column).values()))
        part = NullableColumn.from_arrow(batch.column(name))
        runs, positions = self._runs(part)
        firsts = [None if slots is None or not len(slots) else int(slots[0]) for slots in part.row_slots()]
        return (
            [_LAST if first is None else runs[first] for first in firsts],
            [0 if first is None else positions[first] for first in firsts],
        )

    def _runs(self, part: NullableColumn) -> tuple[list[str], list[int]]:
        """Return a text for the run of each reference, which sorts as decoding goes on, and its frame."""
        request = self._decoder.request([part.refs])
        resolved = resolve_batch(request)
        runs = [f"{uri}\0{_LAST}" for uri in request.columns.uris]
        positions = [0] * len(runs)
        number_in_video = _numbers_in_videos(resolved)
        for slot, segment, frame in zip(
            resolved.slot.tolist(), resolved.segment.tolist(), resolved.frame.tolist(), strict=True
        ):
            start = int(resolved.segments[segment].start[frame])
            runs[slot] = f"{request.columns.uris[slot]}\0{number_in_video[segment]:08d}{start:012d}"
            positions[slot] = frame
        return runs, positions


def _numbers_in_videos(resolved: ResolvedBatch) -> list[int]:
    """Return the number of each segment within its own video."""
    numbers, counts = [], dict[int, int]()
    for source in resolved.sources:
        numbers.append(counts.get(id(source), 0))
        counts[id(source)] = numbers[-1] + 1
    return numbers


def _in_order(block: pa.Table) -> pa.Table:
    """Return a block sorted by run and, in each, by position, without the columns of these."""
    keys = block.select([RUN, POSITION]).append_column("row", pa.array(np.arange(block.num_rows)))
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    return block.take(order).drop_columns([RUN, POSITION])
