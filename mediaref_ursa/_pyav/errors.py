"""Mapping of PyAV's errors into the tree of errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av.error
from av.codec.codec import UnknownCodecError

from mediaref_ursa._core.errors import (
    CorruptMediaError,
    LimitExceededError,
    MediaRefError,
    UnsupportedMediaError,
)

_UNSUPPORTED = (
    UnknownCodecError,
    av.error.DecoderNotFoundError,
    av.error.DemuxerNotFoundError,
    av.error.EncoderNotFoundError,
    av.error.BSFNotFoundError,
    av.error.FilterNotFoundError,
    av.error.ProtocolNotFoundError,
    av.error.PatchWelcomeError,
    av.error.ExperimentalError,
)

FOREIGN_ERRORS = (
    *_UNSUPPORTED,
    MemoryError,
    av.error.FFmpegError,
    ValueError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    OSError,
)
"""Errors that PyAV raises on media."""


@contextmanager
def foreign_errors(doing: str, *, uri: str | None = None) -> Iterator[None]:
    """Map errors that PyAV raises inside the block into the tree of errors.

    Args:
        doing: What was being done, for the message: "open the container".
        uri: Named in errors.

    Raises:
        UnsupportedMediaError: FFmpeg has no component for the media.
        LimitExceededError: FFmpeg ran out of memory.
        CorruptMediaError: Anything else that FFmpeg objects to.
    """
    try:
        yield
    except MediaRefError:
        raise
    except FOREIGN_ERRORS as error:
        raise known_error(error, doing, uri=uri) from error


def known_error(error: BaseException, doing: str, *, uri: str | None = None) -> MediaRefError:
    """Return the error of this library for one of ``FOREIGN_ERRORS``; see :func:`foreign_errors`."""
    if isinstance(error, MemoryError):
        return LimitExceededError(f"could not {doing}: not enough memory", uri=uri)
    if isinstance(error, _UNSUPPORTED):
        return UnsupportedMediaError(f"could not {doing}: {_reason(error)}", uri=uri)
    return CorruptMediaError(f"could not {doing}: {_reason(error)}", uri=uri)


def _reason(error: BaseException) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"FFmpeg says {reason!r}"
