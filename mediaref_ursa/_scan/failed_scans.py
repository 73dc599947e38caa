"""Videos that could not be scanned: the same bytes give the same error, without another scan."""

from __future__ import annotations

import time
from collections.abc import Hashable

from mediaref_ursa._core.errors import (
    CorruptMediaError,
    LimitExceededError,
    MediaRefError,
    UnsupportedMediaError,
)
from mediaref_ursa._core.lru import LruDict
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import ShortLock

_MAX_REMEMBERED = 1024
_MAX_SECONDS = 600.0
_LASTING = (CorruptMediaError, LimitExceededError, UnsupportedMediaError)


class FailedScans(ProcessState):
    """Errors by video version and scan options. Threads share it; a forked child begins with none.

    Bounded in number, and in time: a limit may have been exceeded since the machine was busy.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = ShortLock()
        self._errors: LruDict[Hashable, tuple[float, MediaRefError]] = LruDict(_MAX_REMEMBERED)

    def close(self) -> None:
        """Clear the errors, so that every video is scanned anew."""
        with self._lock:
            self._errors.clear()

    def check(self, key: Hashable) -> None:
        """Raise the error of a scan that failed.

        Raises:
            MediaRefError: As the scan raised.
        """
        with self._lock:
            failed, error = self._errors.get(key, (0.0, None))
        if error is not None and time.monotonic() < failed + _MAX_SECONDS:
            raise type(error)(error.message, uri=error.uri, pts_ns=error.pts_ns) from error

    def remember(self, key: Hashable, error: MediaRefError) -> None:
        """Record an error that the same bytes give again; errors of stores are not recorded."""
        if not isinstance(error, _LASTING):
            return
        error = type(error)(
            error.message, uri=error.uri, pts_ns=error.pts_ns
        )  # holds no stack, thus no memory
        with self._lock:
            self._errors[key] = time.monotonic(), error


failed_scans = register(FailedScans())
"""The failed scans of this process."""
