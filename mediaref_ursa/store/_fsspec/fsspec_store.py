"""``FsspecStore``: objects of cloud stores, through fsspec, in exact, merged and concurrent ranges."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from mediaref_ursa._core.byte_ranges import merge_ranges
from mediaref_ursa._core.counters import count
from mediaref_ursa._core.errors import InvalidReferenceError, MediaNotFoundError, StoreError
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.uris import scheme_of
from mediaref_ursa._model.storage_options import (
    StorageOptions,
    family_of,
    fsspec_options,
    fsspec_uri,
    secrets_of,
)
from mediaref_ursa.store._download.range_download import (
    ObjectEndsError,
    ObjectVersion,
    RangeDownload,
    in_one_version,
    validators_of,
)
from mediaref_ursa.store._download.retry import Deadline, LowSpeedLimit, RetryPolicy, each_at_once, retried
from mediaref_ursa.store._fsspec.errors import is_past_the_end, mapped_errors
from mediaref_ursa.store._fsspec.filesystems import (
    call,
    filesystem_class,
    freeze,
    shared_filesystem,
    thaw,
    timed,
    with_limits,
)
from mediaref_ursa.store._fsspec.s3_reads import ReadLimits, read_part
from mediaref_ursa.store._protocol import ObjectInfo, check_range, check_within, past_the_end, too_large

T = TypeVar("T")

_ETAG_KEYS = ("ETag", "etag", "e_tag", "blob_id")
_MODIFIED_KEYS = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")


@set_module("mediaref_ursa.store")
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
        max_read_bytes: Ranges are merged, and long ones read, in reads of at most so many bytes.
        connect_timeout_seconds: For the connection to stand; on S3, where ``config_kwargs`` does not say.
        read_timeout_seconds: For the next bytes to come; on S3, as above. An answer that brings less than a
            kibibyte a second for so long fails too.
        attempts: How often a request is sent before it fails; on S3, the only retries there are,
            unless ``config_kwargs`` asks botocore for more.
        backoff_seconds: The pause after the first failure, as ``HttpStore`` has it.
        max_wait_seconds: The longest such pause. A server that asks for a longer one (Retry-After)
            gets it, unless it would pass the deadline.
        deadline_seconds: For each read or ``head``: all attempts, pauses and slow bodies together. A file
            system that is not asynchronous is not interrupted.

    >>> FsspecStore("s3", {"key": "AKIA", "secret": "hidden"})
    FsspecStore('s3', options of the names: key, secret)
    """

    protocol: str
    options: StorageOptions | tuple[tuple[str, Any], ...] = field(default=(), repr=False)
    max_requests: int = 8
    max_gap_bytes: int = 64 << 10
    max_read_bytes: int = 16 << 20
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 30.0
    attempts: int = 5
    backoff_seconds: float = 0.3
    max_wait_seconds: float = 30.0
    deadline_seconds: float = 120.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "protocol", self.protocol.lower())
        object.__setattr__(self, "options", freeze(dict(self.options)))

    def __repr__(self) -> str:
        names = ", ".join(dict(self.options)) or "none"
        return f"FsspecStore({self.protocol!r}, options of the names: {names})"

    def head(self, uri: str) -> ObjectInfo:
        """Return the object's length, entity tag and time of change, as they are now."""
        return self._retried(uri, partial(self._reported, uri))

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on."""
        return self.get_ranges(uri, [(offset, length)])[0]

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each ``(offset, length)``, in order; neighbours are one request.

        On S3 they are all of one version of the object.
        """
        for offset, length in ranges:
            check_range(offset, length)
        return in_one_version(uri, lambda version: self._ranges(version, ranges), self.deadline_seconds)

    def get_ranges_of(self, uri: str, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each range of the very object that ``info`` describes.

        On S3 each request is conditional (If-Match); of other stores the object is asked for afterwards.

        Raises:
            MediaChangedError: Another version is there.
        """
        check_within(uri, info, ranges)
        version = ObjectVersion(uri, info)
        found = self._ranges(version, ranges)
        if not self._is_conditional and any(length for _, length in ranges):
            version.admit(validators_of(self.head(uri)))
        return found

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Return the whole object, unless it is larger than ``max_bytes``; its length is asked for first."""
        return in_one_version(uri, lambda _: self._whole(uri, max_bytes), self.deadline_seconds)

    def _whole(self, uri: str, max_bytes: int | None) -> bytes:
        info = self.head(uri)
        if max_bytes is not None and info.size > max_bytes:
            raise too_large(uri, info.size, max_bytes)
        version = ObjectVersion(uri, info)
        found = self._read_all(version, [(0, info.size)] if info.size else [])
        if not self._is_conditional and info.size > self.max_read_bytes:
            version.admit(validators_of(self.head(uri)))
        return found[0] if found else b""

    @property
    def _is_conditional(self) -> bool:
        """Whether requests can be conditional on a version."""
        return family_of(self.protocol) == "s3"

    @property
    def _answer_seconds(self) -> float:
        """Time-out, in seconds, of an answer up to its body."""
        return self.connect_timeout_seconds + self.read_timeout_seconds

    def _ranges(self, version: ObjectVersion, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        wanted = [pair for pair in ranges if pair[1]]
        merged = merge_ranges(
            np.array([offset for offset, _ in wanted], dtype=np.int64),
            np.array([length for _, length in wanted], dtype=np.int64),
            max_gap_bytes=self.max_gap_bytes,
            max_read_bytes=self.max_read_bytes,
        )
        try:
            blobs = self._read_all(version, merged.ranges)
        except ObjectEndsError as error:
            over = next((pair for pair in wanted if sum(pair) > error.size), wanted[-1])
            raise past_the_end(version.uri, *over, error.size) from None
        pieces = zip(merged.read_of.tolist(), merged.start_in_read.tolist(), wanted, strict=True)
        cut = (blobs[read][start : start + length] for read, start, (_, length) in pieces)
        return [next(cut) if length else b"" for _, length in ranges]

    def _read_all(self, version: ObjectVersion, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read each range, long ones in several reads, once the object's length is known to suffice."""
        if version.size is None and any(length > self.max_read_bytes for _, length in ranges):
            version.admit(validators_of(self.head(version.uri)))
        for offset, length in ranges:
            if version.size is not None and offset + length > version.size:
                raise ObjectEndsError(version.size)
        parts = [
            [
                (start, min(self.max_read_bytes, offset + length - start))
                for start in range(offset, offset + length, self.max_read_bytes)
            ]
            for offset, length in ranges
        ]
        reads = [pair for pairs in parts for pair in pairs]
        blobs = iter(
            each_at_once(reads, partial(self._one_read, version), self.max_requests, "mediaref-fsspec")
        )
        return [next(blobs) if len(pairs) == 1 else b"".join(islice(blobs, len(pairs))) for pairs in parts]

    def _one_read(self, version: ObjectVersion, span: tuple[int, int], stop: threading.Event) -> bytes:
        part = RangeDownload(*span)
        return self._retried(version.uri, partial(self._read_part, version, part), part, stop)

    def _read_part(self, version: ObjectVersion, part: RangeDownload, deadline: Deadline) -> bytes:
        """Read the missing bytes of a range."""
        uri = version.uri
        if not version.can_be_recognised:
            part.begin_again()
        is_past = False
        held_bytes = part.held_bytes
        count(requests=1)
        with self._opened(uri) as (filesystem, path):
            try:
                if self._is_conditional:
                    limits = ReadLimits(self._answer_seconds, LowSpeedLimit(self.read_timeout_seconds))
                    read = partial(read_part, filesystem, path, version, part, limits)
                    timed(filesystem, read, deadline.left_seconds())
                else:
                    _read_at_once(filesystem, path, part, deadline)
            except Exception as error:
                is_past = is_past_the_end(error)
                if not is_past:
                    raise
            finally:
                count(bytes_fetched=max(0, part.held_bytes - held_bytes))
        if is_past or (part.missing_bytes and not self._is_conditional):
            info = self._reported(uri, deadline)
            if version.is_given:
                version.admit(validators_of(info))
            if info.size < part.offset + part.length:
                raise ObjectEndsError(info.size)
        return part.joined()

    def _reported(self, uri: str, deadline: Deadline) -> ObjectInfo:
        with self._opened(uri) as (filesystem, path):
            filesystem.invalidate_cache(path)
            count(requests=1)
            try:
                found = call(filesystem, "info", min(deadline.left_seconds(), self._answer_seconds), path)
            except KeyError:  # of an answer that lacks it
                raise StoreError("expected the object's length, found none", uri=uri) from None
            if found.get("type") == "directory":
                raise MediaNotFoundError("expected an object, found a folder", uri=uri)
            return _object_info(uri, found)

    def _retried(
        self,
        uri: str,
        attempt: Callable[[Deadline], T],
        part: RangeDownload | None = None,
        stop: threading.Event | None = None,
    ) -> T:
        policy = RetryPolicy(
            self.attempts, self.backoff_seconds, self.max_wait_seconds, self.deadline_seconds
        )
        return retried(uri, policy, attempt, stop=stop, reached_bytes=lambda: part.held_bytes if part else 0)

    @contextmanager
    def _opened(self, uri: str) -> Iterator[tuple[Any, str]]:
        """Yield the file system of this process for ``uri`` and the path in it, and map its errors."""
        if family_of(scheme_of(uri)) != family_of(self.protocol):
            raise InvalidReferenceError(f"expected a URI of the scheme {self.protocol}://", uri=uri)
        protocol, known_uri = family_of(self.protocol), fsspec_uri(uri)
        secrets: set[str] = set()
        with mapped_errors(uri, secrets):
            options = fsspec_options(self.protocol, dict(thaw(self.options)))
            secrets |= secrets_of(options)
            if self._is_conditional:
                options = with_limits(options, self.connect_timeout_seconds, self.read_timeout_seconds)
            kind = filesystem_class(protocol)
            # Some URIs name more than a location: abfss://container@account.dfs.core.windows.net/path
            options = {**kind._get_kwargs_from_urls(known_uri), **options}
            yield shared_filesystem(protocol, options), kind._strip_protocol(known_uri)


def _read_at_once(filesystem: Any, path: str, part: RangeDownload, deadline: Deadline) -> None:
    part.begin_again()
    end = part.offset + part.length
    part.add(bytes(call(filesystem, "cat_file", deadline.left_seconds(), path, start=part.offset, end=end)))


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
