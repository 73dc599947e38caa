"""Writing of a frame index to the first location that accepts it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from loguru import logger

from mediaref_ursa._core.cached_property import cached_property
from mediaref_ursa._core.errors import FrameIndexExistsError, StoreError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.uris import absolute_location, is_remote
from mediaref_ursa._index.location import index_in_cache_dir, info_of, make_index_folder
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa.layout import lance_frame_index_uri
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    from mediaref_ursa._index.lance_table import index_exists, write_index


@dataclass(frozen=True)
class IndexTarget:
    """Locations for the index of one video: next to it, else a directory of indexes.

    Attributes:
        video: Where the video is; its options for cloud stores are those of the index too.
        index_dir: The directory that the caller names; then the index goes nowhere else.
    """

    video: Location
    index_dir: str | os.PathLike[str] | None

    @property
    def goes_to_sidecar(self) -> bool:
        """Whether the location next to the video is tried."""
        return self.index_dir is None and not is_remote(self.video.uri)

    def refuse_existing(self) -> None:
        """Refuse to replace an index, before the video is scanned in vain.

        Raises:
            FrameIndexExistsError: One stands in the location that is tried first.
        """
        self._refuse(self._sidecar if self.goes_to_sidecar else self._in_cache_dir)

    def write(self, tables: list[SegmentTable], *, overwrite: bool) -> str:
        """Write the index, and return its location.

        Raises:
            FrameIndexExistsError: One stands in this user's directory, and ``overwrite`` is False.
            StoreError: Nothing can be written in either location.
        """
        if self.goes_to_sidecar:
            location = self._sidecar
            try:
                write_index(location, tables, storage_options=self.video.storage_options)
            except StoreError as error:
                logger.info("the frame index goes to the cache directory: {}", error)
            else:
                return location
        location = self._in_cache_dir
        if not overwrite:
            self._refuse(location)
        make_index_folder(self.index_dir)
        write_index(location, tables, storage_options=self.video.storage_options)
        return location

    @property
    def _sidecar(self) -> str:
        return lance_frame_index_uri(absolute_location(self.video.uri))

    @cached_property
    def _in_cache_dir(self) -> str:
        return index_in_cache_dir(self.video.uri, info_of(self.video), self.index_dir)

    def _refuse(self, location: str) -> None:
        if index_exists(location, self.video.storage_options):
            raise FrameIndexExistsError(
                "there is a frame index already; if_exists='keep' keeps it where it is of use, and "
                "overwrite=True or if_exists='replace' (index --overwrite) replaces it",
                uri=location,
            )
