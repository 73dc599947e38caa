"""``RefDataset``: the rows of a table, their references decoded to tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import Dataset

from mediaref_ursa._batch.column_decoder import ColumnDecoder
from mediaref_ursa._batch.decode_columns import DecodedColumn
from mediaref_ursa._batch.decoded_batch import window_length
from mediaref_ursa._batch.options import BatchOptions
from mediaref_ursa._batch.resolve import BatchRequest
from mediaref_ursa._core.public import set_module
from mediaref_ursa._model.pixels import Crop, Dtype, PixelSpec
from mediaref_ursa._references.arrow import list_column
from mediaref_ursa._references.columns import ReferenceColumns, reference_columns
from mediaref_ursa._references.table_columns import reference_names
from mediaref_ursa.torch._collate import MISSING, Samples
from mediaref_ursa.torch._memory import empty_tensor, torch_dtype
from mediaref_ursa.torch._tables import open_table, values_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mediaref_ursa._batch.options import RuleOptions

Sample = dict[str, Any]


@set_module("mediaref_ursa.torch")
class RefDataset(Dataset[Sample]):
    """The rows of a table as samples, the frames that they refer to as tensors.

    A batch is planned and decoded at once, over all columns of references and all frames of their windows:
    torch's loaders ask for it so. Pass ``collate_fn=mediaref_ursa.torch.collate`` to get it without a copy.
    Safe with fork, spawn and forkserver; tables in files are opened again by each spawned worker.

    Args:
        table: A table that Arrow reads (of Arrow, Polars, DuckDB, pandas 3), or the path or URI of a Parquet
            file, of a folder of them, or of a Lance table (``.lance``); or a LeRobot data set, by its root
            or a :class:`mediaref_ursa.lerobot.LeRobotRefs`.
        columns: The column of references for each key of a sample, ``{"obs": "frame"}``; or the names of
            columns, which are the keys. All columns of references without it. All other columns come along
            under their names: numbers, and lists of one length, as tensors.
        transform: Called with each sample, in the process that decodes it.
        resize: ``(height, width)`` of every frame in pixels.
        crop: ``(top, left, height, width)`` in pixels, before resizing.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA``, or ``G`` for one channel.
        channel_format: ``NCHW`` for frames ``(C, H, W)``, ``NHWC`` for ``(H, W, C)``.
        dtype: ``"uint8"``, or ``"native"`` for the type that keeps all bits.
        frames: ``"yuv420"`` gives the planes of 8-bit 4:2:0 video, uint8 ``(bytes,)`` a frame, half of what
            RGB takes. :func:`yuv420_to_rgb` converts them on the other side, and takes the options of pixels
            but ``resize``.
        on_error: ``"none"`` gives None in place of frames that cannot be decoded; ``"raise"`` the first
            error.
        read_columns: Which columns of a table in a file to read; all without it.
        max_workers: Threads that decode a batch; by default one in a worker process, else one a core.
        pin_memory: Page-lock batches that this process decodes itself. For worker processes pass the
            ``pin_memory`` of torch's ``DataLoader``.
        **options: Those of ``plan_decode`` by which references are resolved, ``frame_index`` and ``match``
            for instance, and what may be read: ``untrusted=True`` for a table of an untrusted writer.

    Raises:
        InvalidReferenceError: A column that is missing, or holds no references.
        MediaNotFoundError: There is no such table.

    Example:
        >>> import pyarrow as pa
        >>> from torch.utils.data import DataLoader
        >>> from mediaref_ursa.torch import RefDataset, collate
        >>> frames = [{"uri": "clip.mp4", "pts_ns": 100_000_000 * i} for i in range(8)]
        >>> data = RefDataset(pa.table({"frame": frames, "label": range(8)}), {"obs": "frame"})
        >>> batch = next(iter(DataLoader(data, batch_size=4, collate_fn=collate)))
        >>> batch["obs"].shape, batch["obs"].dtype, batch["label"].tolist()
        (torch.Size([4, 3, 96, 128]), torch.uint8, [0, 1, 2, 3])
    """

    def __init__(
        self,
        table: Any,
        columns: Mapping[str, str] | Sequence[str] | str | None = None,
        *,
        transform: Callable[[Sample], Any] | None = None,
        resize: tuple[int, int] | None = None,
        crop: Crop | None = None,
        colorspace: str = "RGB",
        channel_format: str = "NCHW",
        dtype: Dtype = "uint8",
        frames: Literal["rgb", "yuv420"] = "rgb",
        on_error: Literal["raise", "none"] = "raise",
        read_columns: Sequence[str] | None = None,
        max_workers: int | None = None,
        pin_memory: bool = False,
        **options: Unpack[RuleOptions],
    ) -> None:
        if frames not in ("rgb", "yuv420"):
            raise ValueError(f"expected frames to be 'rgb' or 'yuv420', found {frames!r}")
        pixels = (resize, crop, colorspace, channel_format, dtype)
        if frames == "yuv420" and pixels != (None, None, "RGB", "NCHW", "uint8"):
            raise ValueError(
                "expected no options of pixels with frames='yuv420', found some; give them to yuv420_to_rgb"
            )
        self._decoder = ColumnDecoder.from_options(
            PixelSpec(
                resize,
                colorspace,
                channel_format,
                dtype=dtype,
                crop=crop,
                keeps_planes=frames == "yuv420",
            ),
            options,
            on_error=on_error,
            max_workers=max_workers,
        )
        self._source = os.fspath(table) if isinstance(table, str | os.PathLike) else None
        self._read_columns = read_columns
        self._table = open_table(table, read_columns, self.options)
        self.columns = reference_names(self._table, columns)
        self._others = [name for name in self._table.column_names if name not in self.columns.values()]
        if taken := sorted(set(self._others) & set(self.columns)):
            raise ValueError(f"expected keys that are no names of other columns, found {taken}")
        self.transform = transform
        self._pin_memory = pin_memory

    @property
    def on_error(self) -> str:
        """What is done with references that fail."""
        return self._decoder.on_error

    @property
    def options(self) -> BatchOptions:
        """The options by which references are resolved."""
        return self._decoder.options

    @property
    def spec(self) -> PixelSpec:
        """The pixels of all frames."""
        return self._decoder.spec

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, row: int) -> Any:
        """Return a sample; to read several, ``__getitems__`` decodes them together."""
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[Any]:
        """Return the samples of several rows, decoded by one plan; torch's loaders call it with a batch.

        Raises:
            IndexError: A row that is none.
            MediaRefError: The first reference that fails, with ``on_error="raise"``.
        """
        batch = self.batch(rows)
        samples = self.samples(batch, len(rows))
        return samples if self.transform is None else [self.transform(sample) for sample in samples]

    def samples(self, batch: dict[str, Any], count: int) -> Samples:
        """Return the rows of a batch as samples, views of it, with None where frames are missing."""
        masks = {f"{key}{MISSING}" for key in self.columns} if self.on_error == "none" else set()
        keys = [key for key in batch if key not in masks]
        samples = Samples({key: self._value(batch, key, i) for key in keys} for i in range(count))
        samples.batch = batch
        return samples

    def batch(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return some rows as one batch, without the transform.

        Returns:
            For each key of ``columns`` a tensor ``(n, C, H, W)``, or of lists of references ``(n, window, C,
            H, W)``, and with ``on_error="none"`` a tensor of booleans ``<key>_is_missing``, ``(n,)`` or ``(n,
            window)``: frames that are missing are zeros, and the key is None where all are. Numbers of other
            columns as tensors, all else in lists.
        """
        numbers = self._checked(rows)
        parts = {key: self.references(key, numbers) for key in self.columns}
        decoded = self.decode(list(parts.values()))
        batch: dict[str, Any] = {}
        for (key, part), found in zip(parts.items(), decoded, strict=True):
            window = window_length(part.lengths)
            shape = (len(numbers),) if window is None else (len(numbers), window)
            batch[key] = (
                None if found.frames is None else found.frames.reshape((*shape, *found.frames.shape[1:]))
            )
            if self.on_error == "none":
                mask = torch.zeros(len(part), dtype=torch.bool)
                mask[list(found.errors)] = True
                batch[f"{key}{MISSING}"] = mask.reshape(shape)
        return {**batch, **self.other_values(numbers)}

    def other_values(self, rows: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Return the values of the columns without references, for some rows."""
        return {name: values_of(self._table.column(name), rows) for name in self._others}

    def references(self, key: str, rows: np.ndarray[Any, Any] | None = None) -> ReferenceColumns:
        """Return the references of a key, of some rows or of all."""
        column = self._table.column(self.columns[key])
        return reference_columns(column if rows is None else column.take(pa.array(rows)))

    def is_window(self, key: str) -> bool:
        """Return whether the rows of a key are lists of references."""
        return list_column(self._table.column(self.columns[key]).slice(0, 0)) is not None

    def request(self, parts: Sequence[ReferenceColumns]) -> BatchRequest:
        """Return the request to resolve and decode some references."""
        return self._decoder.request(parts)

    def decode(self, parts: Sequence[ReferenceColumns]) -> list[DecodedColumn]:
        """Decode columns of references by one plan, each into a tensor of its own.

        Raises:
            MediaRefError: The first reference that fails, with ``on_error="raise"``.
        """
        tensors: list[torch.Tensor] = []

        def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
            tensors.append(empty_tensor(shape, torch_dtype(dtype), pin_memory=self._pin_memory))
            return tensors[-1].numpy()

        found = self._decoder.decode(parts, empty)
        whose = {tensor.data_ptr(): tensor for tensor in tensors if tensor.numel()}
        return [
            DecodedColumn(None if column.frames is None else whose[column.frames.ctypes.data], column.errors)
            for column in found
        ]

    def decode_each(self, parts: Sequence[ReferenceColumns]) -> list[list[Any]]:
        """Decode columns of references by one plan, each frame into a NumPy array of its own.

        Returns:
            For each column its frames, None where there is none with ``on_error="none"``.

        Raises:
            MediaRefError: The first reference that fails, with ``on_error="raise"``.
        """
        frames = self._decoder.decode_each(parts).frames
        each = [frames.get(slot) for slot in range(sum(len(part) for part in parts))]
        ends = np.cumsum([len(part) for part in parts]).tolist()
        return [each[end - len(part) : end] for end, part in zip(ends, parts, strict=True)]

    def _checked(self, rows: Sequence[int]) -> np.ndarray[Any, Any]:
        numbers = np.asarray(rows, dtype=np.int64)
        count = len(self)
        if len(numbers) and not (-count <= numbers.min() and numbers.max() < count):
            raise IndexError(f"expected rows from 0 to {count - 1}, found {numbers.min()} to {numbers.max()}")
        wrapped: np.ndarray[Any, Any] = np.where(numbers < 0, numbers + count, numbers)
        return wrapped

    def _value(self, batch: Mapping[str, Any], key: str, position: int) -> Any:
        values = batch[key]
        mask = batch.get(f"{key}{MISSING}") if key in self.columns else None
        if values is None or (mask is not None and bool(mask[position].any())):
            return None
        return values[position]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self._source is None else {**self.__dict__, "_table": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._source is not None:
            self._table = open_table(self._source, self._read_columns, self.options)
