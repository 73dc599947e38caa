"""``LanceBlobStore``: blobs in columns of Lance tables, by byte ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from mediaref_ursa._core.blob_uris import BlobUri
from mediaref_ursa._core.counters import count
from mediaref_ursa._core.errors import (
    InvalidReferenceError,
    MediaNotFoundError,
    MediaRefError,
    StoreError,
    UnsupportedMediaError,
)
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.uris import absolute_location, is_cloud, is_local, scheme_of
from mediaref_ursa._lance.lance_location import lance_location, without_request_details
from mediaref_ursa._model.access import TRUSTED, Access
from mediaref_ursa.store._asked_together import videos_asked_for
from mediaref_ursa.store._download.range_download import changed
from mediaref_ursa.store._one_call import reads_together
from mediaref_ursa.store._protocol import ObjectInfo, check_range, check_within, past_the_end, too_large

_NO_TABLE = re.compile(r"was not found|404 Not Found|NoSuchBucket")
_MAX_NAMES = 10
_FOUND_TOGETHER = 1024
_MISSING_TABLE = "there is no Lance table here, and so no media in it"


@set_module("mediaref_ursa.store")
@dataclass(frozen=True)
class LanceBlobStore:
    """Blobs in columns of Lance tables, under the URIs of :func:`mediaref_ursa.blob_uri`.

    The ranges of a call are read in one call of Lance, out of one version of the table, and so are those of
    calls that wait for one another. A row is found by its key. Its version stands for an entity tag: the
    version of the table in which it was last written, or, without stable row ids, that of the table.

    Threads may share a store, which holds options only; a forked process asks another process for what Lance
    reads.

    Attributes:
        storage_options: For tables in cloud stores, as ``store_for`` takes them.
        access: What may be read: ``allow_outside_index`` lets tables name files outside their own folder,
            and where ``untrusted`` or ``index_limits`` say so, a process under limits reads them.
        is_local: Whether the tables are on this machine.

    >>> LanceBlobStore(is_local=True).is_local
    True
    """

    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    access: Access = TRUSTED
    is_local: bool = False

    def head(self, uri: str) -> ObjectInfo:
        """Return the blob's length, and the version of its row as entity tag."""
        found, _ = self._ask(uri)
        return ObjectInfo(found["size"], f'"{found["version"]}"', None)

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on."""
        return self.get_ranges(uri, [(offset, length)])[0]

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each ``(offset, length)``, in order."""
        return self._read(uri, ranges, None)

    def get_ranges_of(self, uri: str, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each range of the blob that ``info`` describes, and of no other.

        Raises:
            MediaChangedError: The row was written anew since.
        """
        check_within(uri, info, ranges)
        return self._read(uri, ranges, info)

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Return the whole blob, unless it is larger than ``max_bytes``."""
        info = self.head(uri)
        if max_bytes is not None and info.size > max_bytes:
            raise too_large(uri, info.size, max_bytes)
        return self.get_ranges_of(uri, info, [(0, info.size)])[0]

    def _read(self, uri: str, ranges: Sequence[tuple[int, int]], info: ObjectInfo | None) -> list[bytes]:
        for offset, length in ranges:
            check_range(offset, length)
        version = None if info is None or info.etag is None else (info.etag.strip('"'), info.size)
        return self._ask(uri, ranges, version)[1]

    def _ask(
        self,
        uri: str,
        ranges: Sequence[tuple[int, int]] = (),
        version: tuple[str, int] | None = None,
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Return where a blob is and the bytes of ranges; what is wrong is an error of the tree."""
        blob = BlobUri.parse(uri)
        if not (is_local(blob.table) or is_cloud(blob.table)):
            raise InvalidReferenceError(
                "expected a Lance table on this machine or in a cloud store, found the scheme "
                f"'{scheme_of(uri)}', which Lance does not read; copy the table",
                uri=uri,
            )
        with needs_extra("video"):
            from mediaref_ursa._lance.lance_calls import Rules
            from mediaref_ursa._lance.lance_media import BlobRead, read_blobs
        location, options = lance_location(blob.table, self.storage_options)
        access = self.access
        rules = Rules(access.allow_outside_index, access.untrusted, access.scan_limits)
        bounds = access.bounds_of_index(uri)
        read = BlobRead(blob, ranges, version)
        perform = partial(read_blobs, location, options, others=_others(blob), rules=rules, confine_to=bounds)
        with _mapped_errors(uri):
            if ranges:
                table = (location, tuple(sorted(options.items())), rules, bounds)
                found, data = reads_together.read(table, read, perform)
            else:
                ((found, data),) = perform([read])
        if not self.is_local:
            count(requests=1, bytes_fetched=sum(len(part) for part in data))
        if "problem" in found:
            raise _error_of(found, blob, uri)
        return found, data


def _others(blob: BlobUri) -> tuple[str, ...]:
    """Return the keys of all blobs in the same columns that the call asks for: they are found together."""
    named = str(replace(blob, table=absolute_location(blob.table), key="x")).removesuffix("x")
    return _keys_below(named, videos_asked_for())


@lru_cache(maxsize=64)
def _keys_below(named: str, videos: tuple[str, ...]) -> tuple[str, ...]:
    below = (video for video in videos if video.startswith(named))
    return tuple(BlobUri.parse(video).key for video in islice(below, _FOUND_TOGETHER))


@contextmanager
def _mapped_errors(uri: str) -> Iterator[None]:
    from mediaref_ursa._lance.lance_files import TableRefusedError
    from mediaref_ursa._lance.lance_process import LanceCallError

    try:
        yield
    except TableRefusedError as error:
        raise InvalidReferenceError(str(error), uri=uri) from error
    except LanceCallError as error:
        if _NO_TABLE.search(str(error)):
            raise MediaNotFoundError(_MISSING_TABLE, uri=uri) from error
        reason = without_request_details(str(error))
        raise StoreError(f"the Lance table cannot be read: {reason}", uri=uri) from error


def _error_of(found: dict[str, Any], blob: BlobUri, uri: str) -> MediaRefError:
    """Return the error for what is wrong with a blob."""
    problem, names = found["problem"], _listed(found.get("columns", []))
    if problem == "past the end":
        offset, length = found["range"]
        return past_the_end(uri, offset, length, found["size"])
    if problem == "changed":
        return changed(uri, f"its row was written anew; it has the version {found['version']} now")
    if problem == "several rows":
        return StoreError(
            f"expected one row with this key in the column {blob.key_column!a}, found several; name another "
            "column of keys in the URI, as blob_uri(..., key_column=) does",
            uri=uri,
        )
    if problem == "outside":
        return InvalidReferenceError(
            "expected a blob in the table's own folder, found one whose bytes are outside; if you trust "
            "the table, allow it with allow_outside_index=True",
            uri=uri,
        )
    if problem == "no blobs":
        return UnsupportedMediaError(
            f"expected a column of blobs, found one of {found['type']}; the columns of blobs: {names}",
            uri=uri,
        )
    if problem == "no keys":
        kind = found.get("type", "none of that name")
        return MediaNotFoundError(
            f"expected a column of keys {blob.key_column!a}, of text or whole numbers, found {kind}; the "
            f"table's columns: {names}; name one in the URI, as blob_uri(..., key_column=) does",
            uri=uri,
        )
    missing = {
        "no table": _MISSING_TABLE,
        "no column": f"the Lance table has no column {blob.column!a}; its columns of blobs: {names}",
        "no row": f"no row of the Lance table has this key in the column {blob.key_column!a}: deleted?",
        "null": f"the row of the Lance table holds no media in its column {blob.column!a}, but null",
    }
    return MediaNotFoundError(missing[problem], uri=uri)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(ascii(name)[:80] for name in names[:_MAX_NAMES]) or "none"
