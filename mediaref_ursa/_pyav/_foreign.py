"""What PyAV raises on bad input, as errors of this library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av.error
from av.codec.codec import UnknownCodecError

from mediaref_ursa._errors import (
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


@contextmanager
def foreign_errors(doing: str, *, uri: str | None = None) -> Iterator[None]:
    """Turn what PyAV raises inside the block into an error of this library.

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
    except _UNSUPPORTED as error:
        raise UnsupportedMediaError(f"could not {doing}: {_reason(error)}", uri=uri) from error
    except MemoryError as error:
        raise LimitExceededError(f"could not {doing}: not enough memory", uri=uri) from error
    except (av.error.FFmpegError, ValueError, ArithmeticError, LookupError, RuntimeError, OSError) as error:
        raise CorruptMediaError(f"could not {doing}: {_reason(error)}", uri=uri) from error


def _reason(error: BaseException) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"FFmpeg says {reason!r}"
