"""``DecodeRefs``: columns of references decoded as a view of a data set of Hugging Face's ``datasets``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from mediaref_ursa._batch.column_decoder import ColumnDecoder
from mediaref_ursa._batch.row_frames import ERROR, RowFrames, check_new_columns, decode_rows
from mediaref_ursa._core.errors import InvalidReferenceError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._images.encode import ImageEncoder, to_image
from mediaref_ursa._model.pixels import Crop, Dtype, PixelSpec
from mediaref_ursa._references.arrow import table_of
from mediaref_ursa._references.columns import is_arrow_input, is_column
from mediaref_ursa._references.table_columns import NullableColumn

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mediaref_ursa._batch.options import RuleOptions

Output = Literal["numpy", "torch", "pil", "jpeg", "png"]


@set_module("mediaref_ursa.hf")
class DecodeRefs:
    """A transform of ``datasets``: rows with references in, the same rows with frames out.

    For ``with_transform`` and ``set_transform``, which decode rows when they are looked at and store nothing;
    for ``map``, with ``num_proc`` too; and for ``map`` of a streaming ``IterableDataset``. Pass
    ``batched=True`` to ``map``: the references of a batch are planned at once. It pickles, and two with the
    same options have the same fingerprint.

    Args:
        columns: The column of references, or several, whose place the frames take; or, as a dict, the names
            of new columns and those of references, ``{"pixels": "frame"}``, which stay. A row may be a list
            of references.
        resize: ``(height, width)`` of every frame in pixels.
        crop: ``(top, left, height, width)`` in pixels, before resizing.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA``, or ``G`` for one channel.
        channel_format: ``NHWC`` for frames ``(H, W, C)``, ``NCHW`` for ``(C, H, W)``.
        dtype: ``"uint8"``, or ``"native"`` for the type that keeps all bits.
        output: ``"numpy"`` gives an array for each row, ``"torch"`` a tensor, and of lists of references
            ``(window, H, W, C)``; ``"pil"`` images of Pillow; ``"jpeg"`` and ``"png"`` dicts of bytes, as
            ``datasets.Image`` stores them.
        quality: That of JPEG, 1 to 100.
        on_error: ``"raise"`` raises the first error; ``"none"`` gives None in place of the frame (zeros
            within lists), and a column ``<column>_error`` of texts, None where all is well.
        max_workers: Threads; as many as there are cores for this process without it.
        **options: Those of ``plan_decode`` by which references are resolved, ``frame_index`` and ``base_dir``
            for instance, and what may be read: ``untrusted=True`` for a data set of an untrusted writer.

    Raises:
        ValueError: An option that is none of its values.

    Example:
        >>> decode = DecodeRefs("frame", resize=(48, 64))
        >>> rows = decode({"frame": [{"uri": "clip.mp4", "pts_ns": 0}], "label": [1]})  # as datasets calls it
        >>> rows["frame"][0].shape, rows["label"]
        ((48, 64, 3), [1])
    """

    def __init__(
        self,
        columns: Mapping[str, str] | Sequence[str] | str,
        *,
        resize: tuple[int, int] | None = None,
        crop: Crop | None = None,
        colorspace: str = "RGB",
        channel_format: str = "NHWC",
        dtype: Dtype = "uint8",
        output: Output = "numpy",
        quality: int = 90,
        on_error: Literal["raise", "none"] = "raise",
        max_workers: int | None = None,
        **options: Unpack[RuleOptions],
    ) -> None:
        if output not in get_args(Output):
            raise ValueError(f"expected output to be one of {', '.join(get_args(Output))}, found {output!r}")
        names = (columns,) if isinstance(columns, str) else columns
        self._columns = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
        self._output = output
        self._decoder = ColumnDecoder.from_options(
            PixelSpec(resize, colorspace, channel_format, dtype=dtype, crop=crop),
            options,
            on_error=on_error,
            max_workers=max_workers,
        )
        self._encoder = None
        if output in ("pil", "jpeg", "png"):  # Pillow holds what PNG holds
            self._encoder = ImageEncoder("jpeg" if output == "jpeg" else "png", quality)
            self._encoder.check_takes(self._decoder.spec, f"output={output!r}")
        if output == "torch":
            with needs_extra("torch"):
                import torch  # noqa: F401 - an error now, and not at the first row

    def __call__(self, batch: Any) -> dict[str, Any]:
        """Return a batch with frames, a dict of columns; or, of a dict of values, one row.

        Raises:
            InvalidReferenceError: A column that is missing; with ``on_error="raise"`` a null row.
            MediaRefError: The first reference that fails, with ``on_error="raise"``.
        """
        rows: dict[str, Any] = table_of(batch).to_pydict() if is_arrow_input(batch) else dict(batch)
        missing = [name for name in self._columns.values() if name not in rows]
        if missing:
            raise InvalidReferenceError(
                f"expected the columns {', '.join(missing)}, found {', '.join(map(str, rows))}"
            )
        check_new_columns(self._columns, rows, self._decoder.on_error)
        columns = {name: rows[column] for name, column in self._columns.items()}
        is_batch = all(is_column(values) and not isinstance(values, Mapping) for values in columns.values())
        if not is_batch:
            columns = {name: [value] for name, value in columns.items()}
        parts = {name: _references(name, list(values)) for name, values in columns.items()}
        for name, frames in decode_rows(self._decoder, parts).items():
            found = {name: self._values(frames)}
            if self._decoder.on_error == "none":
                found[f"{name}{ERROR}"] = frames.error_texts()
            rows |= {key: values if is_batch else values[0] for key, values in found.items()}
        return rows

    def _values(self, frames: RowFrames) -> list[Any]:
        """Return the value of each row."""
        if self._output in ("jpeg", "png"):
            assert self._encoder is not None
            return [_each(row, _image_dict) for row in frames.images(self._encoder)]
        rows: list[Any] = []
        for number, slots in enumerate(frames.row_slots):
            if slots is None:
                rows.append(None)
            elif self._output == "pil":
                row = [_each(frame, to_image) for frame in frames.frames_of(slots)]
                rows.append(row if frames.is_list else row[0])
            else:
                rows.append(frames.window(number) if frames.is_list else frames.frames_of(slots)[0])
        return [_each(row, _tensor) for row in rows] if self._output == "torch" else rows

    def __repr__(self) -> str:
        return f"DecodeRefs({self._columns}, output={self._output!r})"


def _references(name: str, rows: list[Any]) -> NullableColumn:
    try:
        return NullableColumn.from_rows(rows)
    except (TypeError, ValueError) as error:
        raise InvalidReferenceError(f"the column {name} holds no references: {error}") from error


def _each(value: Any, change: Any) -> Any:
    if isinstance(value, list):
        return [_each(part, change) for part in value]
    return None if value is None else change(value)


def _image_dict(data: bytes) -> dict[str, Any]:
    return {"bytes": data, "path": None}


def _tensor(array: np.ndarray[Any, Any]) -> Any:
    import torch

    return torch.from_numpy(array)
