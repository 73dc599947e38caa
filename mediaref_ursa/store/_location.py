"""``Location``: a URI, with the store, options and access by which it is reached.

The module belongs to the stores, not to the values of ``_model``, because a location holds a store.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mediaref_ursa._core.uris import absolute_location, is_local
from mediaref_ursa._model.access import TRUSTED, Access
from mediaref_ursa.store._local import location_of
from mediaref_ursa.store._open import open_store
from mediaref_ursa.store._protocol import ObjectStore, is_local_store


@dataclass(frozen=True)
class Location:
    """A URI with the store, the storage options and the access by which its bytes are reached.

    Attributes:
        uri: As the caller or the index wrote it.
        store: The caller's own store; None chooses one by the URI's scheme.
        storage_options: For the store of a cloud scheme.
        access: What may be read.
    """

    uri: str = field(repr=False)  # it may hold a password, and so may the options
    store: ObjectStore | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)
    access: Access = TRUSTED

    @property
    def is_local(self) -> bool:
        """Whether the bytes are on this machine, by the caller's own store or else the URI's scheme."""
        return is_local(self.uri) if self.store is None else is_local_store(self.store)

    def at(self, uri: str | os.PathLike[str]) -> Location:
        """Return the location of another URI with the same store, options and access."""
        return Location(os.fspath(uri), self.store, self.storage_options, self.access)

    def absolute(self) -> Location:
        """Return the location, absolute if it is a local file; a URI in a caller's store is unchanged."""
        return self if self.store is not None else self.at(absolute_location(self.uri))

    def permitted(self) -> Location:
        """Return a reference's location, if permitted: see :func:`mediaref_ursa.store._local.location_of`.

        Raises:
            InvalidReferenceError: It may not lead there.
        """
        return self.at(location_of(self.uri, self.access, has_own_store=self.store is not None))

    def permitted_video(self) -> Location:
        """Return the location of a reference to a video, checked to be permitted.

        Raises:
            InvalidReferenceError: It may not lead there.
            UnsupportedMediaError: A data URI.
        """
        self.access.check_video_uri(self.uri)
        return self.permitted()

    def open_store(self) -> ObjectStore:
        """Return the store that serves the URI: see :func:`mediaref_ursa.store._open.open_store`.

        Raises:
            InvalidReferenceError: The scheme is not served.
            MissingExtraError: The package of the scheme is not installed.
        """
        return open_store(self.uri, self.store, self.storage_options, self.access)
