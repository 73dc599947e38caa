"""``DecodeFrames``: columns of references decoded by the workers of Ray Data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import ray

from mediaref_ursa._batch.column_decoder import ColumnDecoder
from mediaref_ursa._batch.frame_shapes import max_frame_bytes
from mediaref_ursa._batch.row_frames import ERROR, check_new_columns, decode_rows, shapes_of
from mediaref_ursa._core.public import set_module
from mediaref_ursa._images.encode import ImageEncoder, ImageFormat
from mediaref_ursa._model.pixels import Crop, Dtype, PixelSpec
from mediaref_ursa._references.table_columns import NullableColumn, reference_names
from mediaref_ursa.ray._frame_columns import to_images, to_tensors

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mediaref_ursa._batch.options import RuleOptions

_BLOCK_BYTES = 128 << 20  # Ray's own limit of a block
_UNKNOWN_BYTES = 1920 * 1080 * 3


@set_module("mediaref_ursa.ray")
class DecodeFrames:
    """A callable class for Ray Data's ``map_batches``: references in, frames out.

    The references of a batch are planned at once, over all columns and windows: those that share a run are
    decoded in one go. Frames are given in blocks of at most ``block_bytes``, whatever the batch is, so that
    the object store takes them; a batch whose frames take more is planned in as many parts. Pass
    ``batch_format="pyarrow"`` to ``map_batches``, and a pool of actors as ``compute``: decoders and open
    indexes are kept from batch to batch.

    Args:
        columns: The columns of references whose place the frames take; or, as a dict, the names of new
            columns and those of references, ``{"pixels": "frame"}``, which stay. All columns of references
            without it. A row may be a list of references.
        resize: ``(height, width)`` of every frame in pixels: tensors of one shape in all blocks.
        crop: ``(top, left, height, width)`` in pixels, before resizing.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA``, or ``G`` for one channel.
        channel_format: ``NHWC`` for frames ``(H, W, C)``, ``NCHW`` for ``(C, H, W)``.
        dtype: ``"uint8"``, or ``"native"`` for the type that keeps all bits.
        on_error: ``"raise"`` ends the job with the first reference that fails; ``"none"`` gives zeros, or
            null with ``encode``, and a column ``<column>_error`` of texts, null where all is well.
        encode: ``"jpeg"`` or ``"png"``: image files in a column of bytes, which take a tenth of the object
            store or less. Of lists of references, lists of them.
        quality: That of JPEG, 1 to 100.
        block_bytes: Bytes of decoded frames that are in memory at once.
        max_workers: Threads; as many as Ray gives CPUs to the actor without it.
        **options: Those of ``plan_decode`` by which references are resolved, ``frame_index`` and
            ``storage_options`` for instance, and what may be read: ``untrusted=True`` for a table of an
            untrusted writer. Paths are those of the machines that decode: pass an absolute ``base_dir``.

    Raises:
        ValueError: An option that is none of its values.

    Example:
        >>> from mediaref_ursa.ray import DecodeFrames
        >>> decode = DecodeFrames(["frame"], resize=(48, 64))
        >>> refs = pa.table({"frame": [{"uri": "clip.mp4", "pts_ns": 0}], "label": [1]})
        >>> blocks = list(decode(refs))  # Ray Data calls it so
        >>> blocks[0].column("frame").chunk(0).to_numpy_ndarray().shape
        (1, 48, 64, 3)
    """

    def __init__(
        self,
        columns: Mapping[str, str] | Sequence[str] | str | None = None,
        *,
        resize: tuple[int, int] | None = None,
        crop: Crop | None = None,
        colorspace: str = "RGB",
        channel_format: str = "NHWC",
        dtype: Dtype = "uint8",
        on_error: Literal["raise", "none"] = "raise",
        encode: ImageFormat | None = None,
        quality: int = 90,
        block_bytes: int = _BLOCK_BYTES,
        max_workers: int | None = None,
        **options: Unpack[RuleOptions],
    ) -> None:
        if block_bytes < 1:
            raise ValueError(f"expected block_bytes of 1 or more, found {block_bytes}")
        self._columns = columns
        self._encoder = None if encode is None else ImageEncoder(encode, quality)
        self._block_bytes = block_bytes
        self._decoder = ColumnDecoder.from_options(
            PixelSpec(resize, colorspace, channel_format, dtype=dtype, crop=crop),
            options,
            on_error=on_error,
            max_workers=max_workers,
        )
        if self._encoder is not None:
            self._encoder.check_takes(self._decoder.spec, f"encode={encode!r}")

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows of a batch with their frames, in order, in blocks of bounded size.

        Raises:
            TypeError: A batch that is no Arrow table.
            InvalidReferenceError: A column that is missing, or holds no references; with
                ``on_error="raise"`` a null row.
            MediaRefError: The first reference that fails, with ``on_error="raise"``.
        """
        if not isinstance(batch, pa.Table):
            raise TypeError(
                f"expected a batch that is an Arrow table, found {type(batch).__name__}; pass "
                'batch_format="pyarrow" to map_batches'
            )
        names = reference_names(batch, self._columns)
        check_new_columns(names, batch.column_names, self._decoder.on_error)
        step = self._rows_at_once(_read(batch, names))
        for first in range(0, max(1, batch.num_rows), step):
            yield self._decoded(batch.slice(first, step), names)

    def _rows_at_once(self, parts: Mapping[str, NullableColumn]) -> int:
        """Return the number of rows whose frames take ``block_bytes``, all columns together."""
        row_bytes = 0
        for part in parts.values():
            window = 1 if part.refs.lengths is None else int(part.refs.lengths.max(initial=1))
            shapes, resolved = shapes_of(self._decoder, part.refs)
            row_bytes += window * (
                _UNKNOWN_BYTES if shapes is None else max_frame_bytes(resolved, self._decoder.spec, shapes)
            )
        return max(1, self._block_bytes // max(1, row_bytes))

    def _decoded(self, batch: pa.Table, names: Mapping[str, str]) -> pa.Table:
        """Return the rows with their frames, decoded by one plan."""
        decoder = replace(self._decoder, max_workers=self._workers())
        for name, column in decode_rows(decoder, _read(batch, names)).items():
            frames = to_tensors(column) if self._encoder is None else to_images(column, self._encoder)
            if name in batch.column_names:
                batch = batch.set_column(batch.column_names.index(name), name, frames)
            else:
                batch = batch.append_column(name, frames)
            if self._decoder.on_error == "none":
                batch = batch.append_column(f"{name}{ERROR}", pa.array(column.error_texts(), pa.string()))
        return batch

    def _workers(self) -> int | None:
        """Return the number of threads: that of the CPUs which Ray gives to this actor or task."""
        if self._decoder.max_workers is not None or not ray.is_initialized():
            return self._decoder.max_workers
        try:
            resources = ray.get_runtime_context().get_assigned_resources()
        except AssertionError:  # neither an actor nor a task
            return None
        return max(1, int(resources.get("CPU", 1)))


def _read(batch: pa.Table, names: Mapping[str, str]) -> dict[str, NullableColumn]:
    return {name: NullableColumn.from_arrow(batch.column(column)) for name, column in names.items()}
