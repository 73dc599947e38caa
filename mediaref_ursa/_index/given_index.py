"""The index that a caller gives for a video: the index itself, its URI, or a collection that has it."""

from __future__ import annotations

import os

from mediaref_ursa._index.collection import CollectionIndex
from mediaref_ursa._index.frame_index import LanceFrameIndex
from mediaref_ursa.store._location import Location

AnyIndex = LanceFrameIndex | CollectionIndex | str | os.PathLike[str]


def index_of(given: AnyIndex | None, video: Location) -> LanceFrameIndex | None:
    """Return the index of a video that a caller gives: the index, its URI, or a collection that has it.

    Args:
        given: What the caller gives; None for nothing.
        video: The video, where it was checked that references may lead there.

    Raises:
        FrameIndexError: It cannot be opened, or the collection has no such video.
    """
    if isinstance(given, CollectionIndex):
        return given.get(video.uri)
    if isinstance(given, (str, os.PathLike)):
        return LanceFrameIndex.open(given, storage_options=video.storage_options, access=video.access)
    return given
