"""The videos that one call asks for: their rows in one table are read together. Loads no library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_videos: ContextVar[tuple[str, ...]] = ContextVar("mediaref_ursa_asked_together", default=())


@contextmanager
def asked_together(videos: Iterable[str]) -> Iterator[None]:
    """Read the rows of all these videos where those of one are looked for within the block.

    Args:
        videos: Their absolute locations.

    >>> with asked_together(["/data/a.mp4"]):
    ...     videos_asked_for()
    ('/data/a.mp4',)
    """
    token = _videos.set(tuple(videos))
    try:
        yield
    finally:
        _videos.reset(token)


def videos_asked_for() -> tuple[str, ...]:
    """Return the videos of the block around the caller; none without one."""
    return _videos.get()
