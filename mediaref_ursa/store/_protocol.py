"""Protocols of stores: four methods over URIs, an optional fifth, and their common checks and errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mediaref_ursa._core.errors import LimitExceededError, StoreError
from mediaref_ursa._core.public import set_module


@set_module("mediaref_ursa.store")
@dataclass(frozen=True)
class ObjectInfo:
    """Metadata of an object, known without reading it.

    Attributes:
        size: Its length in bytes.
        etag: The entity tag as the store writes it, quotes included, or None where it has none.
        modified: Seconds since the epoch of its last change, or None where that is unknown.
    """

    size: int
    etag: str | None
    modified: float | None


@set_module("mediaref_ursa.store")
@runtime_checkable
class ObjectStore(Protocol):
    """Bytes behind URIs.

    A store holds no handle: it may be used from many threads at once, pickled, and used in a forked
    child. Every method raises ``MediaNotFoundError`` where nothing stands at the URI and another
    ``StoreError`` where its bytes cannot be read.

    A store whose bytes are on this machine, so that reading more of them than are needed costs little, says
    so by an attribute ``is_local`` that is True. Such a store is not read through the disk cache.
    """

    def head(self, uri: str) -> ObjectInfo:
        """Return the object's length, entity tag and time of change."""
        ...

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on.

        Raises:
            ValueError: A negative offset or length.
            StoreError: The object ends before; never fewer bytes than asked for.
        """
        ...

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each ``(offset, length)``, in the order of ``ranges``.

        Raises:
            ValueError: A negative offset or length.
            StoreError: The object ends before one of the ranges does.
        """
        ...

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Return the whole object.

        Raises:
            LimitExceededError: It is larger than ``max_bytes``, found out before it is held.
        """
        ...


def is_local_store(store: object) -> bool:
    """Return whether a store's bytes are on this machine, by its ``is_local``; see :class:`ObjectStore`."""
    return bool(getattr(store, "is_local", False))


def check_range(offset: int, length: int) -> None:
    """Raise a ValueError unless ``offset`` and ``length`` are counts of bytes."""
    if offset < 0 or length < 0:
        raise ValueError(f"expected an offset and a length of 0 or more, found {offset} and {length}")


@runtime_checkable
class ReadsOneVersion(Protocol):
    """Optional protocol of stores: reading one version of an object and no other.

    Stores that lack it are read, and their ``head`` is then asked for the version.
    """

    def get_ranges_of(self, uri: str, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each ``(offset, length)`` of the very object that ``info`` describes.

        Raises:
            ValueError: A negative offset or length.
            MediaChangedError: Another object is there, by its entity tag or its length.
            StoreError: The object ends before one of the ranges does.
        """
        ...


def check_within(uri: str, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> None:
    """Raise unless the object of ``info`` contains all of the ranges."""
    for offset, length in ranges:
        check_range(offset, length)
        if offset + length > info.size:
            raise past_the_end(uri, offset, length, info.size)


def past_the_end(uri: str, offset: int, length: int, size: int) -> StoreError:
    """Return the error for a range that the object of ``size`` bytes does not hold."""
    found = max(0, min(length, size - offset))
    return StoreError(
        f"expected {length} bytes at offset {offset}, found {found}: the object has {size} bytes."
        " Was it cut short, or does the frame index describe another file?",
        uri=uri,
    )


def too_large(uri: str, size: int, max_bytes: int) -> LimitExceededError:
    """Return the error for an object of ``size`` bytes, or of at least that many."""
    return LimitExceededError(
        f"expected at most {max_bytes} bytes, found {size} or more; raise the limit to read it", uri=uri
    )
