"""The options of lazy videos, as typed dictionaries for type checkers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mediaref_ursa._model.access import AccessOptions
from mediaref_ursa._model.pixels import Crop, Dtype
from mediaref_ursa._plan.reads import FetchOptions
from mediaref_ursa.store import ObjectStore

if TYPE_CHECKING:
    from mediaref_ursa._index.given_index import AnyIndex


class PixelOptions(AccessOptions, total=False):
    """Options of pixel format and access."""

    resize: tuple[int, int] | None
    colorspace: str
    dtype: Dtype
    crop: Crop | None
    channel_format: str
    fetch: FetchOptions | None


class SegmentsOptions(PixelOptions, total=False):
    """The options of ``LazyVideo.from_segments`` besides those that it names."""

    store: ObjectStore | None
    metadata: Any
    storage_options: Mapping[str, Any] | None


class OpenOptions(SegmentsOptions, total=False):
    """All options of ``LazyVideo.from_uri``."""

    segment_uris: Sequence[str | os.PathLike[str]] | None
    frame_index: AnyIndex | None


class FileOptions(PixelOptions, total=False):
    """The options of ``LazyVideo.from_uri`` besides those that it names."""

    segment_uris: Sequence[str | os.PathLike[str]] | None
