"""The errors of this library, one tree.

::

    MediaRefError
    ├── MissingExtraError            ImportError         an optional dependency is not installed
    ├── InvalidReferenceError        ValueError          a URI that no store or decoder can serve
    ├── FrameIndexError
    │   ├── FrameIndexMissingError   FileNotFoundError   there is no frame index at that location
    │   ├── FrameIndexExistsError    FileExistsError     one exists and may not be replaced
    │   ├── FrameIndexStaleError     ValueError          the index describes another file
    │   ├── FrameIndexVersionError   ValueError          written by a newer major version
    │   └── FrameIndexInvalidError   ValueError          columns, counts or offsets that cannot be true
    ├── FrameOutsideVideoError       IndexError, ValueError    before the first frame or past the last
    │   └── FrameBeyondToleranceError  IndexError, ValueError  with match="nearest": none is close enough
    ├── StoreError                   OSError             bytes could not be read
    │   ├── MediaNotFoundError       FileNotFoundError   nothing stands at that URI
    │   └── MediaChangedError        OSError             the object was replaced while it was read
    ├── CorruptMediaError            ValueError          not what a decoder or the index expects
    ├── LimitExceededError           ValueError          larger than a limit that protects the caller
    ├── ReentrantCallError           RuntimeError        a signal's handler calls amid the call it interrupts
    └── UnsupportedMediaError        ValueError          a codec, container or image that cannot be decoded

::

    UserWarning
    └── MediaRefWarning              something is not as it should be, and work goes on
        ├── FrameIndexWarning        a frame index is not used: it is stale, or cannot be read
        ├── DamagedMediaWarning      frames of a video are lost: cut short, damaged, of repeated times
        ├── BitDepthWarning          values of more than 8 bits are given as 8 bits
        ├── CacheDirectoryWarning    the caches are in a temporary directory: there is no home
        └── OutsideRecordingWarning  a slice has no frames, because it lies outside the recording

A warning is given once for each file and process.

Each error carries ``uri`` and, where there is one, ``pts_ns``; each survives pickling. Messages name
URIs without query, fragment and credentials (signed URLs), and data URIs shortened.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.redaction import redact


@set_module("mediaref_ursa")
class MediaRefError(Exception):
    """The base of every error that this library raises on purpose.

    Attributes:
        message: What was expected, what was found, and what to do.
        uri: The reference's URI as the caller gave it, or None.
        pts_ns: The reference's time in nanoseconds, or None.
    """

    def __init__(self, message: str, *, uri: str | None = None, pts_ns: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.uri = uri
        self.pts_ns = pts_ns

    def __str__(self) -> str:
        location = "" if self.uri is None else redact(self.uri)
        if self.pts_ns is not None:
            location += f" at {self.pts_ns} ns"
        return f"{location}: {self.message}" if location else self.message

    def __repr__(self) -> str:
        parts = [repr(self.message)]
        if self.uri is not None:
            parts.append(f"uri={redact(self.uri)!r}")
        if self.pts_ns is not None:
            parts.append(f"pts_ns={self.pts_ns}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.uri, self.pts_ns)

    def of_reference(self, uri: str | None, pts_ns: int | None) -> MediaRefError:
        """Return the same error of another reference."""
        error = copy.copy(self)
        error.uri, error.pts_ns, error.__cause__ = uri, pts_ns, self.__cause__
        return error


def _rebuild(kind: type[MediaRefError], message: str, uri: str | None, pts_ns: int | None) -> MediaRefError:
    return kind(message, uri=uri, pts_ns=pts_ns)


@set_module("mediaref_ursa")
class MissingExtraError(MediaRefError, ImportError):
    """An optional dependency is not installed; the message names the command that installs it."""


@set_module("mediaref_ursa")
class InvalidReferenceError(MediaRefError, ValueError):
    """A reference whose URI no store or decoder can serve."""


@set_module("mediaref_ursa")
class FrameIndexError(MediaRefError):
    """A frame index is unusable; the media may be sound."""


@set_module("mediaref_ursa")
class FrameIndexMissingError(FrameIndexError, FileNotFoundError):
    """No frame index exists at the location."""


@set_module("mediaref_ursa")
class FrameIndexExistsError(FrameIndexError, FileExistsError):
    """A frame index exists already, and the caller did not allow to replace it."""


@set_module("mediaref_ursa")
class FrameIndexStaleError(FrameIndexError, ValueError):
    """The frame index describes another file than the one that is now at the URI."""


@set_module("mediaref_ursa")
class FrameIndexVersionError(FrameIndexError, ValueError):
    """The frame index was written by a newer major version of the format."""


@set_module("mediaref_ursa")
class FrameIndexInvalidError(FrameIndexError, ValueError):
    """The frame index holds columns, counts or offsets that cannot be true."""


@set_module("mediaref_ursa")
class FrameOutsideVideoError(MediaRefError, IndexError, ValueError):
    """The time lies before the first frame or past the end of the last one."""


@set_module("mediaref_ursa")
class FrameBeyondToleranceError(FrameOutsideVideoError):
    """With ``match="nearest"``: the nearest frame is further from the time than ``tolerance_ns``.

    Attributes:
        distance_ns: How far the nearest frame is from the time, in whole nanoseconds, rounded up.
        neighbours_ns: ``pts_ns`` of the last frame that is not after the time, and of the first one that is;
            None where there is none.

    >>> error = FrameBeyondToleranceError("...", pts_ns=5, distance_ns=5, neighbours_ns=(0, None))
    >>> error.distance_ns, error.neighbours_ns
    (5, (0, None))
    """

    def __init__(
        self,
        message: str,
        *,
        uri: str | None = None,
        pts_ns: int | None = None,
        distance_ns: int = 0,
        neighbours_ns: tuple[int | None, int | None] = (None, None),
    ) -> None:
        super().__init__(message, uri=uri, pts_ns=pts_ns)
        self.distance_ns = distance_ns
        self.neighbours_ns = neighbours_ns

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"distance_ns": self.distance_ns, "neighbours_ns": self.neighbours_ns}
        return *super().__reduce__(), state


@set_module("mediaref_ursa")
class StoreError(MediaRefError, OSError):
    """The store of a URI could not read its bytes."""


@set_module("mediaref_ursa")
class MediaNotFoundError(StoreError, FileNotFoundError):
    """No object exists at the URI."""


@set_module("mediaref_ursa")
class MediaChangedError(StoreError):
    """The object was replaced while it was read, or is another version than the index describes."""


@set_module("mediaref_ursa")
class CorruptMediaError(MediaRefError, ValueError):
    """The bytes are damaged: not what a decoder, or the frame index, expects."""


@set_module("mediaref_ursa")
class LimitExceededError(MediaRefError, ValueError):
    """The media is larger than a limit that protects the caller's memory."""


@set_module("mediaref_ursa")
class UnsupportedMediaError(MediaRefError, ValueError):
    """A container, codec or image format that cannot be decoded here."""


@set_module("mediaref_ursa")
class ReentrantCallError(MediaRefError, RuntimeError):
    """A call in a signal handler that would have to wait for the call which the signal interrupted."""


@set_module("mediaref_ursa")
class MediaRefWarning(UserWarning):
    """The base of this library's warnings."""


@set_module("mediaref_ursa")
class FrameIndexWarning(MediaRefWarning):
    """A frame index is not used: it is stale, or cannot be read. The video is scanned instead."""


@set_module("mediaref_ursa")
class DamagedMediaWarning(MediaRefWarning):
    """Frames of a video are lost: its file is cut short or damaged, or other frames have their times."""


@set_module("mediaref_ursa")
class BitDepthWarning(MediaRefWarning):
    """Gray values of more than 8 bits, such as depth in millimetres, are given as 8 bits."""


@set_module("mediaref_ursa")
class CacheDirectoryWarning(MediaRefWarning):
    """The range cache is in a temporary directory, because the user has no home directory."""


@set_module("mediaref_ursa")
class OutsideRecordingWarning(MediaRefWarning):
    """A slice of a video is empty because it lies wholly before or after the recording."""


def out_of_memory(uri: str | None = None) -> LimitExceededError:
    """Return the error for a :class:`MemoryError`: this process cannot allocate more memory."""
    return LimitExceededError(
        "there is not enough memory: this process can take no more (ulimit -v, or what the machine has); "
        "ask for fewer or smaller frames at once (resize=), or iterate over them",
        uri=uri,
    )


@contextmanager
def memory_limits(uri: str | None = None) -> Iterator[None]:
    """Turn a :class:`MemoryError` of the block into an error of the tree.

    Raises:
        LimitExceededError: There is not enough memory.
    """
    failed = False
    try:
        yield
    except MemoryError:
        failed = True  # what the traceback holds is freed first
    if failed:
        raise out_of_memory(uri)


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the chain of its causes."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
