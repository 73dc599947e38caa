"""Videos that a pattern names: on this machine, and in cloud stores."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path

from mediaref_ursa._errors import MediaNotFoundError
from mediaref_ursa._uris import is_data, is_local, is_remote, local_path, scheme_of
from mediaref_ursa.store import store_for

_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Listed:
    """A video that a pattern names.

    Attributes:
        uri: Where it is.
        size_bytes: Its length where listing told it, else None.
    """

    uri: str
    size_bytes: int | None = None


def videos_named(pattern: str) -> list[Listed]:
    """Return what a pattern such as ``clips/*.mp4`` or ``s3://bucket/takes/**/*.mp4`` names, sorted.

    Files are named by themselves, whatever letters they have; over http there are no patterns.

    Raises:
        MediaNotFoundError: A pattern that names nothing.
        StoreError: The store cannot be listed.

    >>> videos_named("https://host/a.mp4?signature=*")
    [Listed(uri='https://host/a.mp4?signature=*', size_bytes=None)]
    """
    if is_data(pattern) or is_remote(pattern) or not _WILDCARD.search(pattern):
        return [Listed(pattern)]
    found = _on_this_machine(pattern) if is_local(pattern) else _in_cloud(pattern)
    if not found:
        raise MediaNotFoundError("expected files of this pattern, found none", uri=pattern)
    return found


def _on_this_machine(pattern: str) -> list[Listed]:
    path = local_path(pattern)
    if Path(path).exists():
        return [Listed(path)]
    found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - the pattern may be absolute
    return [Listed(name, Path(name).stat().st_size) for name in found if Path(name).is_file()]


def _in_cloud(pattern: str) -> list[Listed]:
    """Ask the file system below the last folder before the first wildcard, whose URI is the user's own."""
    wildcard = _WILDCARD.search(pattern)
    assert wildcard is not None
    base = pattern[: pattern.rindex("/", 0, wildcard.start()) + 1]
    if base == f"{pattern[: len(scheme_of(pattern))]}://":
        raise MediaNotFoundError("expected the name of a bucket before the pattern, found none", uri=pattern)
    store = store_for(base)
    from mediaref_ursa.store._fsspec import FsspecStore  # the store above has told what is not installed

    assert isinstance(store, FsspecStore)
    with store._opened(base) as (filesystem, path):
        filesystem.invalidate_cache()
        root = path.rstrip("/") + "/"
        found = filesystem.glob(root + pattern[len(base) :], detail=True)
    return [
        Listed(base + name.removeprefix("/")[len(root.removeprefix("/")) :], entry.get("size"))
        for name, entry in sorted(found.items())
        if entry.get("type") != "directory"
    ]
