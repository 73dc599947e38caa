"""Objects of cloud stores, through fsspec: exact ranges, merged and read at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from mediaref_ursa._errors import InvalidReferenceError, MediaNotFoundError, StoreError
from mediaref_ursa._ranges import merge_ranges
from mediaref_ursa._storage_options import StorageOptions, family_of, fsspec_options, fsspec_uri, secrets_of
from mediaref_ursa._uris import scheme_of
from mediaref_ursa.store._filesystems import (
    filesystem_class,
    freeze,
    is_past_the_end,
    mapped_errors,
    shared_filesystem,
    thaw,
)
from mediaref_ursa.store._protocol import ObjectInfo, check_range, past_the_end, too_large

_ETAG_KEYS = ("ETag", "etag", "e_tag", "blob_id")
_MODIFIED_KEYS = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")


@dataclass(frozen=True)
class FsspecStore:
    """URIs of one kind of cloud store, such as ``s3://bucket/key``.

    Threads may share a store. It holds its options and no connection: those belong to the process, and
    are made anew in a forked or spawned one. Options that are left out come from the environment,
    each time that a process first needs them, so that a pickled store carries no more secrets than
    it was given.

    Attributes:
        protocol: A scheme, ``s3`` or ``r2`` for instance; also one that ``store_for`` does not serve by
            itself, as long as fsspec knows it.
        options: In the spelling of fsspec or of object_store; kept as a sorted tuple.
        max_requests: How many ranges are fetched at once.
        max_gap_bytes: Unwanted bytes between two ranges that are read rather than skipped.
        max_read_bytes: Ranges are merged, and objects read whole, in reads of at most so many bytes.

    >>> FsspecStore("s3", {"key": "AKIA", "secret": "hidden"})
    FsspecStore('s3', options of the names: key, secret)
    """

    protocol: str
    options: StorageOptions | tuple[tuple[str, Any], ...] = field(default=(), repr=False)
    max_requests: int = 8
    max_gap_bytes: int = 64 << 10
    max_read_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        object.__setattr__(self, "protocol", self.protocol.lower())
        object.__setattr__(self, "options", freeze(dict(self.options)))

    def __repr__(self) -> str:
        names = ", ".join(dict(self.options)) or "none"
        return f"FsspecStore({self.protocol!r}, options of the names: {names})"

    def head(self, uri: str) -> ObjectInfo:
        """Return the object's length, entity tag and time of change, as they are now."""
        with self._opened(uri) as (filesystem, path):
            filesystem.invalidate_cache(path)
            found = filesystem.info(path)
            if found.get("type") == "directory":
                raise MediaNotFoundError("expected an object, found a folder", uri=uri)
            return _object_info(uri, found)

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on."""
        return self.get_ranges(uri, [(offset, length)])[0]

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each ``(offset, length)``, in order; neighbours are one request."""
        for offset, length in ranges:
            check_range(offset, length)
        wanted = [pair for pair in ranges if pair[1]]
        merged = merge_ranges(
            np.array([offset for offset, _ in wanted], dtype=np.int64),
            np.array([length for _, length in wanted], dtype=np.int64),
            max_gap_bytes=self.max_gap_bytes,
            max_read_bytes=self.max_read_bytes,
        )
        blobs = self._read_all(uri, merged.ranges)
        for (offset, length), blob in zip(merged.ranges, blobs, strict=True):
            if len(blob) != length:
                raise self._not_as_asked(uri, wanted, offset, length, len(blob))
        pieces = zip(merged.read_of.tolist(), merged.start_in_read.tolist(), wanted, strict=True)
        cut = (blobs[read][start : start + length] for read, start, (_, length) in pieces)
        return [next(cut) if length else b"" for _, length in ranges]

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Return the whole object, unless it is larger than ``max_bytes``; its length is asked for first."""
        size = self.head(uri).size
        if max_bytes is not None and size > max_bytes:
            raise too_large(uri, size, max_bytes)
        starts = range(0, size, self.max_read_bytes)
        ranges = [(start, min(self.max_read_bytes, size - start)) for start in starts]
        blobs = self._read_all(uri, ranges)
        for (offset, length), blob in zip(ranges, blobs, strict=True):
            if len(blob) != length:
                raise self._not_as_asked(uri, ranges, offset, length, len(blob))
        return b"".join(blobs) if len(blobs) != 1 else blobs[0]

    def _read_all(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read each range; one that begins past the end gives no bytes."""
        if not ranges:
            return []
        with self._opened(uri) as (filesystem, path):
            workers = min(self.max_requests, len(ranges))
            if workers == 1:
                return [_read(filesystem, path, pair) for pair in ranges]
            with ThreadPoolExecutor(workers, thread_name_prefix="mediaref-fsspec") as pool:
                # map cancels what has not begun as soon as one range fails
                return list(pool.map(lambda pair: _read(filesystem, path, pair), ranges))

    def _not_as_asked(
        self, uri: str, wanted: Sequence[tuple[int, int]], offset: int, length: int, found: int
    ) -> StoreError:
        """Return the error for a read of another length; the object's length tells which range is wrong."""
        size = self.head(uri).size
        for one_offset, one_length in wanted:
            if one_offset + one_length > size:
                return past_the_end(uri, one_offset, one_length, size)
        return StoreError(
            f"expected {length} bytes at offset {offset}, found {found}, though the object has {size} bytes;"
            " was it replaced just now?",
            uri=uri,
        )

    @contextmanager
    def _opened(self, uri: str) -> Iterator[tuple[Any, str]]:
        """Give the file system of this process for ``uri`` and the path in it, and map its errors."""
        if family_of(scheme_of(uri)) != family_of(self.protocol):
            raise InvalidReferenceError(f"expected a URI of the scheme {self.protocol}://", uri=uri)
        protocol, known_uri = family_of(self.protocol), fsspec_uri(uri)
        secrets: set[str] = set()
        with mapped_errors(uri, secrets):
            options = fsspec_options(self.protocol, dict(thaw(self.options)))
            secrets |= secrets_of(options)
            kind = filesystem_class(protocol)
            # Some URIs name more than a place: abfss://container@account.dfs.core.windows.net/path
            options = {**kind._get_kwargs_from_urls(known_uri), **options}
            yield shared_filesystem(protocol, options), kind._strip_protocol(known_uri)


def _read(filesystem: Any, path: str, place: tuple[int, int]) -> bytes:
    offset, length = place
    try:
        return bytes(filesystem.cat_file(path, start=offset, end=offset + length))
    except Exception as error:
        if is_past_the_end(error):
            return b""
        raise


def _object_info(uri: str, found: Mapping[str, Any]) -> ObjectInfo:
    size = found.get("size")
    if not isinstance(size, int) or size < 0:
        raise StoreError("expected the object's length, found none", uri=uri)
    return ObjectInfo(size, _etag(found), _modified(found))


def _etag(found: Mapping[str, Any]) -> str | None:
    """Return the entity tag in quotes, as HTTP writes it; not every file system keeps them."""
    tag = next((found[name] for name in _ETAG_KEYS if found.get(name)), None)
    if tag is None:
        return None
    return str(tag) if '"' in str(tag) else f'"{tag}"'


def _modified(found: Mapping[str, Any]) -> float | None:
    value = next((found[name] for name in _MODIFIED_KEYS if found.get(name)), None)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else None
