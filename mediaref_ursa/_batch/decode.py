"""Execution of one ``batch_decode`` call: images loaded, videos resolved, planned and decoded."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mediaref_ursa._batch.options import BatchOptions
from mediaref_ursa._batch.resolve import BatchRequest, resolve_batch
from mediaref_ursa._core.array_types import Int64Array, PixelArray
from mediaref_ursa._core.errors import MediaChangedError, MediaRefError, memory_limits
from mediaref_ursa._core.ticks import NO_PTS_NS
from mediaref_ursa._core.uris import split_blob
from mediaref_ursa._decode.output import DecodedFrame, FrameRows, new_array
from mediaref_ursa._images.load import load_image
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._plan.runs import BatchDecodingStrategy
from mediaref_ursa._references.columns import ReferenceColumns
from mediaref_ursa.store._asked_together import asked_together

if TYPE_CHECKING:
    from mediaref_ursa._batch.decode_columns import ColumnRows
    from mediaref_ursa._decode.execute import Engine
    from mediaref_ursa._images.pillow import PixelFormat

_IMAGE_FORMATS: dict[str, PixelFormat | Literal["native"]] = {
    "RGB": "rgb",
    "BGR": "bgr",
    "RGBA": "rgba",
    "BGRA": "bgra",
    "G": "gray",
    "native": "native",
}


@dataclass
class BatchOutput:
    """The frames and the errors of a call, by slot: an output of ``decode_into``.

    Args:
        columns: The references, which errors name.
        rows: One array for all frames; without it each has an array of its own.

    Attributes:
        pts_ns: int64 ``(n,)``, the time of the frame that each reference names.
    """

    columns: ReferenceColumns
    rows: FrameRows | ColumnRows | None = None
    frames: dict[int, Any] = field(default_factory=dict)
    errors: dict[int, MediaRefError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pts_ns = np.full(len(self.columns), NO_PTS_NS, dtype=np.int64)

    def times_given(self) -> Int64Array:
        """Return int64 ``(n,)``: the time of each frame; ``NO_PTS_NS`` where there is none."""
        self.pts_ns[list(self.errors)] = NO_PTS_NS
        return self.pts_ns

    def new_frame(self, slot: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Return the array for the pixels of a slot."""
        return (new_array if self.rows is None else self.rows.new_frame)(slot, shape, dtype)

    def put(self, decoded: DecodedFrame) -> None:
        """Put a frame into each of its slots, a separate array for each, so that callers may change one."""
        first, *others = decoded.slots.tolist()
        if decoded.error is not None:
            self.fail((first, *others), decoded.error)
            return
        if self.rows is not None:
            self.rows.put(decoded)
            for slot in (first, *others):
                self.frames[slot] = self.rows.row(slot)
            return
        pixels: Any = decoded.pixels
        self.frames[first] = pixels
        for slot in others:
            try:
                with memory_limits():
                    self.frames[slot] = pixels.copy() if isinstance(pixels, np.ndarray) else pixels.clone()
            except MediaRefError as error:
                self.fail((slot,), error)

    def put_image(self, slot: int, pixels: PixelArray) -> None:
        """Put an image into its slot: into its row where the output is one array."""
        if self.rows is None:
            self.frames[slot] = pixels
            return
        row: Any = self.rows.new_frame(slot, pixels.shape, pixels.dtype)
        if isinstance(row, np.ndarray):
            row[...] = pixels
        else:
            from mediaref_ursa._decode.torchcodec.engine import to_device

            row[...] = to_device(pixels, row.device)
        self.frames[slot] = row

    def fail(self, slots: Iterable[int], error: MediaRefError) -> None:
        """Record the error of some references, each with its own URI and time."""
        for slot in slots:
            self.errors[slot] = error.of_reference(self.columns.uris[slot], self.columns.time_of(slot))

    def clear(self, slots: Int64Array) -> None:
        """Clear some slots of frames and errors."""
        for slot in slots.tolist():
            self.frames.pop(slot, None)
            self.errors.pop(slot, None)

    def raise_first(self) -> None:
        """Raise the error of the first reference that failed, if any did."""
        if self.errors:
            raise self.errors[min(self.errors)]


def load_images(request: BatchRequest, spec: PixelSpec, output: BatchOutput) -> None:
    """Load the references to images into an output."""
    slots = np.flatnonzero(request.columns.is_image).tolist()
    with asked_together(_blobs(request, [request.columns.uris[slot] for slot in slots])):
        for slot in slots:
            uri = request.columns.uris[slot]
            try:
                with memory_limits(uri):
                    output.put_image(slot, _image(uri, spec, request.options))
            except MediaRefError as error:
                output.fail((slot,), error)


def _blobs(request: BatchRequest, uris: Iterable[str]) -> list[str]:
    """Return the absolute locations of those images that are blobs of Lance tables."""
    found = []
    for uri in uris:
        if split_blob(uri) is not None:
            with suppress(MediaRefError):  # where references may not lead is their error, on loading
                found.append(request.options.location(uri).absolute().permitted().uri)
    return found


def decode_videos(
    request: BatchRequest,
    strategy: BatchDecodingStrategy,
    engine: Engine,
    output: BatchOutput,
    *,
    max_workers: int,
) -> None:
    """Decode the references to video frames into an output, and once more those whose videos were replaced.

    Frames of two versions of a video do not mix: all of a replaced one are decoded anew.
    """
    from mediaref_ursa._decode.execute import decode_into

    only: Int64Array | None = None
    for ask_store in (False, True):
        resolved = resolve_batch(request, only=only, ask_store=ask_store, with_alpha=engine.reads_alpha)
        for slot, error in resolved.errors.items():
            output.fail((slot,), error)
        output.pts_ns[resolved.slot] = resolved.pts_ns
        plan = resolved.plan(request, strategy)
        decode_into(plan, resolved.sources, engine, output, max_workers=max_workers)
        changed = {
            request.columns.uris[slot]
            for slot, error in output.errors.items()
            if isinstance(error, MediaChangedError)
        }
        if ask_store or not changed:
            return
        videos = request.videos()
        only = np.concatenate([videos[uri] for uri in changed])
        output.clear(only)


def _image(uri: str, spec: PixelSpec, options: BatchOptions) -> PixelArray:
    pixels = load_image(
        options.location(uri),
        _IMAGE_FORMATS[spec.colorspace],
        resize=spec.resize,
        crop=spec.crop,
        dtype=spec.dtype,
    )
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if spec.channel_format == "NCHW" else pixels
