"""Python warnings about videos, each given once per video and process."""

from __future__ import annotations

import sys
import warnings

from mediaref_ursa._core.errors import BitDepthWarning, MediaRefWarning
from mediaref_ursa._core.lru import LruDict
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.reentrancy import ShortLock

_MAX_REMEMBERED = 4096
_PACKAGE = __name__.partition(".")[0]


class _GivenWarnings(ProcessState):
    """The last warnings that this process has given."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = ShortLock()
        self._given: LruDict[tuple[type[MediaRefWarning], str], None] = LruDict(_MAX_REMEMBERED)

    def add(self, category: type[MediaRefWarning], uri: str) -> bool:
        """Record a warning; return False if it was given before."""
        key = category, uri
        with self._lock:
            if key in self._given:
                return False
            self._given[key] = None
        return True


given_warnings = register(_GivenWarnings())


def warn_once(category: type[MediaRefWarning], message: str, *, uri: str) -> None:
    """Give a warning about a video, unless this process has given one of the same category about it.

    Args:
        category: Of the tree in ``_core/errors``.
        message: What was found, what follows from it, and what to do.
        uri: The video; named without query and credentials.
    """
    if given_warnings.add(category, uri):
        warnings.warn(f"{redact(uri)}: {message}", category, stacklevel=_caller_level())


def warn_of_cut_bits(bits: str, uri: str | None) -> None:
    """Give a :class:`BitDepthWarning` about an image or a video, once.

    Args:
        bits: How many bits each gray value has.
        uri: The file; None for an image in memory.
    """
    name = "an image in memory" if uri is None else redact(uri)
    warn_once(
        BitDepthWarning,
        f"gray values of {bits} bits are given as 8 bits, and the rest of them is lost; read depth and other "
        "measurements with a library that gives stored values, such as Pillow or PyAV. Where 8 bits are "
        "enough, say warnings.simplefilter('ignore', mediaref_ursa.BitDepthWarning)",
        uri=name,
    )


def _caller_level() -> int:
    """Return the ``stacklevel`` of the caller of this package, as seen from ``warn_once``."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        level, frame = level + 1, frame.f_back
    return level
