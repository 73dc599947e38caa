"""The files of a recording: its URI is the first segment, ``segment_uris`` are the additional ones."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from mediaref_ursa._core.errors import MediaNotFoundError
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.uris import absolute_location, is_local, scheme_of, without_query

ADDITIONAL = (
    "segment_uris= are the additional files of a recording whose first is uri=; of one with a name that is "
    "no file, give all of them: LazyVideo.from_segments([...], uri=), write_frame_index(uri, segments=)"
)
"""The advice in errors about segments: the two ways to name them."""


class AllSegments(tuple[str, ...]):
    """The URIs of all segments of a recording in order, whose own URI may be a name that is no file."""

    __slots__ = ()


def all_segments(
    uri: str, additional: Iterable[str | os.PathLike[str]] | None, *, has_own_store: bool = False
) -> list[str]:
    """Return the segments of a recording in order: ``uri`` and the additional ones.

    A list that contains ``uri`` is the whole list in its order. Local paths are compared as
    locations, relative or absolute, and through links of folders; URIs of a store of the caller's letter for
    letter. The frames of a file that is named twice come twice.

    Args:
        uri: The recording, which is its first segment.
        additional: The other segments, or an ``AllSegments``.
        has_own_store: The caller says where bytes come from, so that paths are names of that store.

    Raises:
        TypeError: One path in place of a list.
        ValueError: A URL that differs from ``uri`` in its query only: whether it is the same file is unknown.

    >>> all_segments("s0.mp4", ["s1.mp4"]), all_segments("s1.mp4", ["s0.mp4", "./s1.mp4"])
    (['s0.mp4', 's1.mp4'], ['s0.mp4', './s1.mp4'])
    >>> all_segments("session", AllSegments(["s0.mp4", "s1.mp4"]))
    ['s0.mp4', 's1.mp4']
    """
    parts = uri_list(additional)
    if isinstance(additional, AllSegments):
        return parts
    own = _location_of(uri, has_own_store)
    if any(_location_of(part, has_own_store) == own for part in parts):
        return parts
    for part in parts:
        if scheme_of(uri) and without_query(part) == without_query(uri):
            raise ValueError(
                f"expected segments with other paths than {redact(uri)}, found one that differs in its query "
                "only; name it as uri= does if it is the same file, or give all files to from_segments"
            )
    return [uri, *parts]


def uri_list(uris: Iterable[str | os.PathLike[str]] | None) -> list[str]:
    """Return URIs as texts.

    Raises:
        TypeError: One path in place of a list, whose letters would be taken for files.
    """
    if isinstance(uris, (str, bytes, os.PathLike)):
        raise TypeError(f"expected a list of segments, found the one path {uris!r:.100}; wrap it in a list")
    return [os.fspath(uri) for uri in uris or ()]


def given_segments(
    uri: str,
    additional: Sequence[str | os.PathLike[str]],
    segments: Sequence[str | os.PathLike[str]] | None,
) -> Sequence[str | os.PathLike[str]]:
    """Return the segments that a caller names, in one of the two ways.

    Raises:
        ValueError: Both ways, or an empty list of all segments.
    """
    if segments is None:
        return additional
    if uri_list(additional):
        raise ValueError(f"expected segment_uris= or segments=, found both for {redact(uri)}; {ADDITIONAL}")
    parts = uri_list(segments)
    if not parts:
        raise ValueError(f"expected at least one segment of {redact(uri)}, found none")
    return AllSegments(parts)


@contextmanager
def names_first_segment(is_first: bool) -> Iterator[None]:
    """Add to the error of a missing first segment how to name a recording whose name is no file."""
    try:
        yield
    except MediaNotFoundError as error:
        if not is_first:
            raise
        raise MediaNotFoundError(f"{error.message}; {ADDITIONAL}", uri=error.uri) from error


def _location_of(uri: str, has_own_store: bool) -> str:
    """Return one name for one location; a link in place of the file itself stays a name of its own."""
    if has_own_store or not is_local(uri):
        return uri
    folder, name = os.path.split(absolute_location(uri))
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 - a name of ".." stays as it is
