"""``ColumnDecoder``: how columns of references are decoded, as one value to keep and to pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mediaref_ursa._batch.decode import BatchOutput
from mediaref_ursa._batch.decode_columns import (
    DecodedColumn,
    Empty,
    decode_columns,
    decode_list,
    joined_columns,
)
from mediaref_ursa._batch.options import BatchOptions
from mediaref_ursa._batch.resolve import BatchRequest
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._core.ticks import TOLERANCE_NS
from mediaref_ursa._decode.execute import checked_workers
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._plan.frame_times import PLAYBACK
from mediaref_ursa._references.columns import ReferenceColumns


@dataclass(frozen=True)
class ColumnDecoder:
    """Decodes columns of references, all of a call by one plan. Safe to pickle.

    Attributes:
        spec: The pixels of all columns.
        options: How references are resolved, and what may be read.
        match: The rule by which a time names a frame.
        tolerance_ns: As :func:`mediaref_ursa.batch_decode` takes it.
        frame_index: As :func:`mediaref_ursa.batch_decode` takes it.
        on_error: ``"raise"`` raises the first error; ``"none"`` leaves it to the caller.
        max_workers: Threads; None for the default.
    """

    spec: PixelSpec
    options: BatchOptions
    match: str = PLAYBACK
    tolerance_ns: int = TOLERANCE_NS
    frame_index: Any = None
    on_error: Literal["raise", "none"] = "raise"
    max_workers: int | None = None

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "none"):
            raise ValueError(f"expected on_error to be 'raise' or 'none', found {self.on_error!r}")
        checked_workers(self.max_workers)
        self.request([])  # an error now if an option is none of its values

    @classmethod
    def from_options(
        cls,
        pixels: PixelSpec,
        options: Mapping[str, Any],
        *,
        on_error: Literal["raise", "none"] = "raise",
        max_workers: int | None = None,
    ) -> ColumnDecoder:
        """Return the decoder for the options of a public function.

        Args:
            pixels: The pixels; rotation and the largest picture are those of ``options``.
            options: Those of ``plan_decode``, ``frame_index`` and ``match`` for instance.
            on_error: What to do with references that fail.
            max_workers: Threads.

        Raises:
            TypeError: An option that is none, or one that names columns.
            ValueError: An option that is none of its values.
        """
        given = dict(options)
        if chosen := sorted({"column", "uri", "pts_ns", "path"} & set(given)):
            raise TypeError(
                f"expected columns of references by name, as columns=, found {', '.join(chosen)}="
            )
        rule = {name: given.pop(name) for name in ("match", "tolerance_ns", "frame_index") if name in given}
        decoding = BatchOptions.from_options(given, given.pop("base_dir", None))
        spec = replace(pixels, apply_rotation=decoding.apply_rotation, max_pixels=decoding.access.max_pixels)
        return cls(spec, decoding, **rule, on_error=on_error, max_workers=max_workers)

    def request(self, parts: Sequence[ReferenceColumns]) -> BatchRequest:
        """Return the request to resolve and decode some columns."""
        if self.spec.keeps_planes and any(part.is_image.any() for part in parts):
            raise UnsupportedMediaError(
                "expected videos for frames='yuv420', found images, which have no planes"
            )
        columns = joined_columns(parts)
        return BatchRequest.from_refs(columns, self.match, self.tolerance_ns, self.frame_index, self.options)

    def decode(self, parts: Sequence[ReferenceColumns], empty: Empty) -> list[DecodedColumn]:
        """Decode columns by one plan, each into one array, whose memory ``empty`` takes.

        Raises:
            MediaRefError: The first reference that fails, with ``on_error="raise"``.
        """
        counts = [len(part) for part in parts]
        workers = checked_workers(self.max_workers)
        found = decode_columns(self.request(parts), counts, self.spec, empty, max_workers=workers)
        for column in found:
            if column.errors and self.on_error == "raise":
                raise column.errors[min(column.errors)]
        return found

    def decode_each(self, parts: Sequence[ReferenceColumns]) -> BatchOutput:
        """Decode columns by one plan, each frame into an array of its own; slots are those of all columns.

        Raises:
            MediaRefError: The first reference that fails, with ``on_error="raise"``.
        """
        workers = checked_workers(self.max_workers)
        output = decode_list(self.request(parts), self.spec, max_workers=workers)
        if self.on_error == "raise":
            output.raise_first()
        return output
