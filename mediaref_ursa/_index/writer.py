"""Writing of a frame index to the first location that accepts it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from loguru import logger

from mediaref_ursa._core.cached_property import cached_property
from mediaref_ursa._core.errors import FrameIndexExistsError, StoreError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.uris import is_local
from mediaref_ursa._index.local_tables import move_index, remove_index
from mediaref_ursa._index.location import index_uri, info_of, make_index_folder
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa.layout import (
    CACHE,
    HIDDEN,
    INDEX_DIR,
    SIDECAR,
    IndexLocation,
    index_locations,
    lance_frame_index_uri,
)
from mediaref_ursa.store import ObjectInfo
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    from mediaref_ursa._index.lance_table import index_exists, write_index


@dataclass(frozen=True)
class IndexTarget:
    """Locations for the index of one video: next to it, else a directory of indexes.

    Attributes:
        video: Where the video is, absolute; its options for cloud stores are those of the index too.
        index_dir: The directory that the caller names; then the index goes nowhere else.
        hidden: Whether it goes to the folder ``.mediaref`` next to the video; None for where one stands
            already, and for a sidecar where none does.
    """

    video: Location
    index_dir: str | os.PathLike[str] | None
    hidden: bool | None = None

    def __post_init__(self) -> None:
        if self.hidden and self.index_dir is not None:
            raise ValueError("expected hidden=True or index_dir=, found both: each names a location")

    @cached_property
    def standing(self) -> tuple[IndexLocation, ...]:
        """The locations next to the video in which an index stands, readable or not."""
        if self.index_dir is not None:
            return ()
        named = [where for where in index_locations(self.video.uri) if where in (SIDECAR, HIDDEN)]
        return tuple(where for where in named if self._exists(where))

    @cached_property
    def location(self) -> IndexLocation:
        """The location that is tried first."""
        if self.index_dir is not None:
            return INDEX_DIR
        if HIDDEN not in index_locations(self.video.uri):
            return CACHE
        if self.hidden is None:
            return self.standing[0] if self.standing else SIDECAR
        return HIDDEN if self.hidden else SIDECAR

    def refuse_existing(self) -> None:
        """Refuse to replace an index, before the video is scanned in vain.

        Raises:
            FrameIndexExistsError: One stands next to the video, or in the location that is tried first.
        """
        for where in self.standing or (self.location,):
            self._refuse(where)

    def settle(self, where: IndexLocation | None) -> IndexLocation | None:
        """Move an index that is of use to where the caller wants it, and return where it then is.

        Args:
            where: Where it stands.

        Raises:
            FrameIndexExistsError: It cannot be moved, since it is not on this machine.
        """
        if self.hidden is None or where in (self.location, CACHE, INDEX_DIR, None):
            return where
        self.check_movable()
        if self.hidden or is_local(self.video.uri):
            move_index(self._uri(where), self._uri(self.location))
            return self.location
        return where

    def check_movable(self) -> None:
        """Refuse to hide an index of a cloud store where a sidecar stands, which would be found first.

        Raises:
            FrameIndexExistsError: There is one.
        """
        if self.location == HIDDEN and SIDECAR in self.standing and not is_local(self.video.uri):
            raise FrameIndexExistsError(
                "expected no frame index next to a video whose index is to be hidden: it is found first; "
                f"move it to {self._uri(HIDDEN)} or remove it",
                uri=self._uri(SIDECAR),
            )

    def write(self, tables: list[SegmentTable], *, overwrite: bool) -> tuple[IndexLocation, str]:
        """Write the index, and return where: the word of the location, and the URI.

        Raises:
            FrameIndexExistsError: One stands in this user's directory, and ``overwrite`` is False.
            StoreError: Nothing can be written in either location.
        """
        where = self.location
        if where in (SIDECAR, HIDDEN):
            try:
                self._write(where, tables)
            except StoreError as error:
                logger.info("the frame index goes to the cache directory: {}", error)
            else:
                self._remove_other(where)
                return where, self._uri(where)
            where = CACHE
        if not overwrite:
            self._refuse(where)
        make_index_folder(self.index_dir)
        self._write(where, tables)
        return where, self._uri(where)

    def _write(self, where: IndexLocation, tables: list[SegmentTable]) -> None:
        described_at = lance_frame_index_uri(self.video.uri) if where == HIDDEN else None
        options = self.video.storage_options
        write_index(self._uri(where), tables, storage_options=options, described_at=described_at)

    def _remove_other(self, written: IndexLocation) -> None:
        """Remove the local index of the other location, where the caller says which of them it shall be."""
        other = HIDDEN if written == SIDECAR else SIDECAR
        if self.hidden is not None and other in self.standing and is_local(self.video.uri):
            remove_index(self._uri(other))

    def _uri(self, where: IndexLocation) -> str:
        info = self._info if where in (CACHE, INDEX_DIR) else None
        return index_uri(self.video, where, info, self.index_dir)

    @cached_property
    def _info(self) -> ObjectInfo | None:
        return info_of(self.video)

    def _exists(self, where: IndexLocation) -> bool:
        return index_exists(self._uri(where), self.video.storage_options)

    def _refuse(self, where: IndexLocation) -> None:
        if where in self.standing or self._exists(where):
            raise FrameIndexExistsError(
                "there is a frame index already; if_exists='keep' keeps it where it is of use, and "
                "overwrite=True or if_exists='replace' (index --overwrite) replaces it",
                uri=self._uri(where),
            )
