"""Writing the frame index of a video to the first location that takes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

from mediaref_ursa._core.cached_property import cached_property
from mediaref_ursa._core.errors import FrameIndexExistsError, StoreError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.uris import absolute_location, is_remote
from mediaref_ursa._index.location import index_in_cache_dir, info_of, make_index_folder
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa.layout import lance_frame_index_uri
from mediaref_ursa.store import ObjectStore

with needs_extra("video"):
    from mediaref_ursa._index.lance_table import index_exists, write_index


@dataclass(frozen=True)
class IndexTarget:
    """Where the index of one video may go: next to it, else to a directory of indexes.

    Attributes:
        video: An absolute path or a URI.
        store: Where its bytes are; chosen by the URI's scheme without it.
        storage_options: For cloud stores, of the video and of the index.
        index_dir: The directory that the caller names; then the index goes nowhere else.
    """

    video: str = field(repr=False)  # it may hold a password, and so may the options
    store: ObjectStore | None
    storage_options: Mapping[str, Any] | None = field(repr=False)
    index_dir: str | os.PathLike[str] | None

    @property
    def goes_to_sidecar(self) -> bool:
        """Whether the location next to the video is tried."""
        return self.index_dir is None and not is_remote(self.video)

    def refuse_existing(self) -> None:
        """Refuse to replace an index, before the video is scanned in vain.

        Raises:
            FrameIndexExistsError: One stands in the location that is tried first.
        """
        self._refuse(self._sidecar if self.goes_to_sidecar else self._in_cache_dir)

    def write(self, tables: list[SegmentTable], *, overwrite: bool) -> str:
        """Write the index, and return where.

        Raises:
            FrameIndexExistsError: One stands in this user's directory, and ``overwrite`` is False.
            StoreError: Nothing can be written in either location.
        """
        if self.goes_to_sidecar:
            location = self._sidecar
            try:
                write_index(location, tables, storage_options=self.storage_options)
            except StoreError as error:
                logger.info("the frame index goes to the cache directory: {}", error)
            else:
                return location
        location = self._in_cache_dir
        if not overwrite:
            self._refuse(location)
        make_index_folder(self.index_dir)
        write_index(location, tables, storage_options=self.storage_options)
        return location

    @property
    def _sidecar(self) -> str:
        return lance_frame_index_uri(absolute_location(self.video))

    @cached_property
    def _in_cache_dir(self) -> str:
        info = info_of(self.video, self.store, self.storage_options)
        return index_in_cache_dir(self.video, info, self.index_dir)

    def _refuse(self, location: str) -> None:
        if index_exists(location, self.storage_options):
            raise FrameIndexExistsError(
                "there is a frame index already; if_exists='keep' keeps it where it is of use, and "
                "overwrite=True or if_exists='replace' (index --overwrite) replaces it",
                uri=location,
            )
