"""The videos that a caller or a row names: each once, with its segments, and the names that are none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mediaref_ursa._core.errors import InvalidReferenceError, MediaRefError
from mediaref_ursa._core.uris import absolute_location
from mediaref_ursa._index.collection_build import AddedVideo


@dataclass
class NamedVideos:
    """Videos by their absolute URIs.

    Attributes:
        segments: The segments of each, absolute too; empty for a video of one file.
        failed: What cannot be a video, or is one that comes again with other segments.
    """

    segments: dict[str, tuple[str, ...]] = field(default_factory=dict)
    failed: list[AddedVideo] = field(default_factory=list)

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[Any, Any]]) -> NamedVideos:
        """Return the videos of pairs of a URI and segments, or None in place of these."""
        found = cls()
        for uri, parts in rows:
            try:
                found._add(_absolute(uri), tuple(_absolute(part) for part in parts or ()))
            except MediaRefError as error:
                found.failed.append(AddedVideo(_text(uri), "failed", error=error))
        return found

    def _add(self, uri: str, parts: tuple[str, ...]) -> None:
        known = self.segments.setdefault(uri, parts)
        if known != parts:
            raise other_segments_error(uri, len(known), len(parts))


def other_segments_error(uri: str, first: int, other: int) -> InvalidReferenceError:
    """Return the error of a video that comes again with other segments: how many, the first time and now."""
    return InvalidReferenceError(
        f"expected one list of segments for each video, found one of {first} and another of {other}; the "
        "first list counts",
        uri=uri,
    )


def _absolute(uri: Any) -> str:
    try:
        text = os.fspath(uri)
        if not isinstance(text, str):
            raise TypeError(f"found {type(uri).__name__}")
        text.encode()
        return absolute_location(text)
    except MediaRefError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidReferenceError(f"expected a path or a URI, found {_text(uri)}: {error}") from error


def _text(uri: Any) -> str:
    """Return what is in place of a URI as text that Arrow holds."""
    return (uri if isinstance(uri, str) else repr(uri)).encode(errors="backslashreplace").decode()[:500]
