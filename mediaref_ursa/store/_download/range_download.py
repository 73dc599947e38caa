"""``RangeDownload``: one range, received in one answer or several, all of one version of the object."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mediaref_ursa._core.errors import MediaChangedError
from mediaref_ursa._core.etags import is_strong
from mediaref_ursa.store._download.retry import TransientError
from mediaref_ursa.store._protocol import ObjectInfo

T = TypeVar("T")

CHUNK_BYTES = 64 << 10
_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)\s*", re.IGNORECASE)
_VERSIONS_TRIED = 3
_DISPLAYED_CHARACTERS = 80


class ObjectEndsError(Exception):
    """The object has only ``size`` bytes and ends before the range does."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


@dataclass(frozen=True)
class Validators:
    """Validators (RFC 9110), which distinguish versions of an object; None for those an answer lacks.

    Attributes:
        size: The object's length in bytes.
        etag: The entity tag, quotes included.
        modified: Seconds since the epoch of its last change.
    """

    size: int | None = None
    etag: str | None = None
    modified: float | None = None


def difference(expected: Validators, found: Validators) -> str | None:
    """Return how two versions differ, None if nothing distinguishes them.

    Two strong tags that agree settle it. A weak tag stays the same for bytes that mean the same
    (RFC 9110, 8.8.1), so that length and time of change have to agree too.

    >>> difference(Validators(5, '"a"'), Validators(5, '"b"'))
    'expected the ETag "a", found "b"'
    >>> difference(Validators(5, '"a"', 1.0), Validators(None, 'W/"a"', 2.0))
    'expected the time of change 1.0, found 2.0'
    >>> difference(Validators(5, '"a"', 1.0), Validators(5, '"a"', 2.0)) is None
    True
    """
    if expected.size is not None and found.size is not None and expected.size != found.size:
        return f"expected {expected.size} bytes in all, found {found.size}"
    if expected.etag and found.etag:
        if expected.etag.removeprefix("W/") != found.etag.removeprefix("W/"):
            return (
                f"expected the ETag {expected.etag[:_DISPLAYED_CHARACTERS]},"
                f" found {found.etag[:_DISPLAYED_CHARACTERS]}"
            )
        if is_strong(expected.etag) and is_strong(found.etag):
            return None
    if None not in (expected.modified, found.modified) and expected.modified != found.modified:
        return f"expected the time of change {expected.modified}, found {found.modified}"
    return None


def changed(uri: str, how: str) -> MediaChangedError:
    """Return the error for an object of another version than expected."""
    return MediaChangedError(
        f"the object was replaced: {how}; read it anew, and if a frame index describes the earlier one,"
        " write it anew too, with: mediaref-ursa index --overwrite",
        uri=uri,
    )


class ObjectVersion:
    """The one version of an object that a call reads. Threads may share it.

    Args:
        uri: Where the object is.
        expected: The version that the caller wants; without it, the one of the first answer.
    """

    def __init__(self, uri: str, expected: ObjectInfo | None = None) -> None:
        self.uri = uri
        self.is_given = expected is not None
        self._lock = threading.Lock()
        self._validators = Validators() if expected is None else validators_of(expected)

    @property
    def size(self) -> int | None:
        """The object's length, once it is known."""
        return self._validators.size

    @property
    def strong_etag(self) -> str | None:
        """The strong entity tag for a condition (If-Match), None without one."""
        return self._validators.etag if is_strong(self._validators.etag) else None

    @property
    def can_be_recognised(self) -> bool:
        """Whether a second answer can be recognised as one of the same version."""
        return self.strong_etag is not None or self._validators.modified is not None

    def admit(self, found: Validators) -> None:
        """Check an answer's validators against the version, and record them.

        Raises:
            MediaChangedError: It is another one.
        """
        with self._lock:
            known = self._validators
            how = difference(known, found)
            is_known = found.etag or (known.modified is not None and found.modified is not None)
            if how is None and self.is_given and is_strong(known.etag) and not is_known:
                how = f"expected the ETag {str(known.etag)[:_DISPLAYED_CHARACTERS]}, found none"
            self._validators = Validators(
                known.size if known.size is not None else found.size,
                known.etag or found.etag,
                known.modified if known.modified is not None else found.modified,
            )
        if how is not None:
            raise changed(self.uri, how)


def validators_of(info: ObjectInfo) -> Validators:
    """Return the validators of an object that a store reported."""
    return Validators(info.size, info.etag or None, info.modified)


def in_one_version(uri: str, read: Callable[[ObjectVersion], T], within_seconds: float) -> T:
    """Read one version of an object: begin anew if it is replaced meanwhile.

    Args:
        uri: What is read.
        read: Reads it, all of one version.
        within_seconds: It is not begun anew after so long.

    Raises:
        MediaChangedError: It is replaced each time.
    """
    ends_seconds = time.monotonic() + within_seconds
    for _ in range(_VERSIONS_TRIED - 1):
        try:
            return read(ObjectVersion(uri))
        except MediaChangedError:
            if time.monotonic() >= ends_seconds:
                raise
    return read(ObjectVersion(uri))


class RangeDownload:
    """A range, and the bytes received so far; each attempt resumes where the one before broke off.

    Args:
        offset: Where it begins in the object.
        length: How many bytes it has; None for as many as come, as long as an answer does not say.
    """

    def __init__(self, offset: int, length: int | None) -> None:
        self.offset = offset
        self._length = length
        self.held_bytes = 0
        self._chunks: list[bytes] = []

    @property
    def has_length(self) -> bool:
        """Whether the length of the range is known."""
        return self._length is not None

    @property
    def length(self) -> int:
        """The length of the range in bytes, as far as it is known."""
        return self.held_bytes if self._length is None else self._length

    @property
    def range_header(self) -> str:
        """The header Range for the missing bytes."""
        return f"bytes={self._first}-{self._last}"

    @property
    def missing_bytes(self) -> int:
        """The number of bytes not received yet."""
        return self.length - self.held_bytes

    @property
    def _first(self) -> int:
        return self.offset + self.held_bytes

    @property
    def _last(self) -> int:
        return self.offset + self.length - 1

    def begin_again(self) -> None:
        """Clear the bytes received so far."""
        self.held_bytes = 0
        self._chunks.clear()

    def end_at(self, length: int | None) -> None:
        """Record the range's length, if it becomes known late."""
        self._length = length
        if length is not None and self.held_bytes > length:
            self.begin_again()

    def add(self, chunk: bytes) -> None:
        """Append the next bytes; more than requested are a failed attempt, of which none are kept."""
        self._chunks.append(chunk)
        self.held_bytes += len(chunk)
        if self._length is not None and self.held_bytes > self._length:
            self.begin_again()
            raise TransientError(f"expected a body of {self._length} bytes, found more")

    def joined(self) -> bytes:
        """Return all bytes of the range.

        Raises:
            TransientError: Some are missing.
        """
        if self.missing_bytes:
            raise TransientError(f"expected a body of {self.length} bytes, found {self.held_bytes}")
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def check_reply(self, status: int, content_range: str, content_length: int | None) -> None:
        """Check an answer against the request, before its body is read.

        Raises:
            ObjectEndsError: The object ends before the range does.
            TransientError: It is another range, or says that its body has another length.
        """
        match = _CONTENT_RANGE.fullmatch(content_range)
        if match and match[3] != "*" and int(match[3]) <= self._last:
            raise ObjectEndsError(int(match[3]))
        if status != 206 or match is None or (match[1], match[2]) != (str(self._first), str(self._last)):
            raise TransientError(
                f"expected the bytes {self._first}-{self._last}, found Content-Range"
                f" '{content_range[:_DISPLAYED_CHARACTERS]}' (HTTP {status})"
            )
        if content_length not in (None, self.missing_bytes):
            raise TransientError(f"expected a body of {self.missing_bytes} bytes, found {content_length}")


def total_of(content_range: str) -> int | None:
    """Return the object's length of a Content-Range, None where it has none.

    >>> total_of("bytes 0-9/120"), total_of("bytes */120"), total_of("bytes 0-9/*")
    (120, 120, None)
    """
    match = _CONTENT_RANGE.fullmatch(content_range)
    return int(match[3]) if match and match[3] != "*" else None
