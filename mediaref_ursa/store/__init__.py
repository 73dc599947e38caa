"""Stores: where the bytes of media come from.

``store_for(uri)`` gives the store that serves a URI. Each store is small, holds no open handle, and
may be shared by threads, pickled, and used after a fork.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mediaref_ursa._errors import InvalidReferenceError
from mediaref_ursa._uris import REMOTE_SCHEMES, scheme_of
from mediaref_ursa.store._local import LocalStore
from mediaref_ursa.store._memory import MemoryStore
from mediaref_ursa.store._protocol import ObjectInfo, ObjectStore

if TYPE_CHECKING:
    from mediaref_ursa.store._http import HttpStore

__all__ = ["HttpStore", "LocalStore", "MemoryStore", "ObjectInfo", "ObjectStore", "store_for"]


def store_for(uri: str) -> ObjectStore:
    """Return the store that serves ``uri``, by its scheme.

    Args:
        uri: A plain path, ``file://``, ``http://`` or ``https://``.

    Raises:
        InvalidReferenceError: Another scheme; the message names those that are served.

    >>> store_for("clips/a.mp4")
    LocalStore()
    """
    scheme = scheme_of(uri)
    if scheme in ("", "file"):
        return LocalStore()
    if scheme in REMOTE_SCHEMES:
        from mediaref_ursa.store._http import HttpStore

        return HttpStore()
    raise InvalidReferenceError(
        f"expected a path or one of file://, http://, https://; no store serves the scheme '{scheme}'",
        uri=uri,
    )


def __getattr__(name: str) -> object:
    """Load the HTTP store, and with it requests, when it is first used."""
    if name == "HttpStore":
        from mediaref_ursa.store._http import HttpStore

        return HttpStore
    raise AttributeError(f"module 'mediaref_ursa.store' has no attribute {name!r}")
