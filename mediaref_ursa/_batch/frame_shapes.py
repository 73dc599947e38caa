"""The shapes of the frames of a batch, known before any is decoded."""

from __future__ import annotations

import math

from mediaref_ursa._batch.resolve import BatchRequest, ResolvedBatch
from mediaref_ursa._model.pixels import PixelSpec, planes_bytes
from mediaref_ursa._pyav.sample_formats import output_dtype

Shape = tuple[int, ...]


def frame_shapes(request: BatchRequest, resolved: ResolvedBatch, spec: PixelSpec) -> set[Shape] | None:
    """Return the shapes that frames have; None where there are images, whose size is not known.

    Args:
        request: The references.
        resolved: Their frames.
        spec: The pixels.
    """
    infos = [table.info for table in resolved.segments]
    if spec.keeps_planes:
        return {(planes_bytes(info.height, info.width),) for info in infos}
    if spec.resize or spec.crop:
        return {spec.shape(0, 0)}
    if request.columns.is_image.any():
        return None
    return {spec.shape(*info.display_size) for info in infos}


def max_frame_bytes(resolved: ResolvedBatch, spec: PixelSpec, shapes: set[Shape]) -> int:
    """Return how many bytes a frame takes at most.

    Args:
        resolved: The frames.
        spec: The pixels.
        shapes: The shapes that they have.
    """
    formats = (table.info.pixel_format for table in resolved.segments)
    itemsize = output_dtype(spec, formats, "this column").itemsize
    return max((math.prod(shape) for shape in shapes or {spec.shape(0, 0)}), default=0) * itemsize
