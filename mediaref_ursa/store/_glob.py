"""Expansion of names into videos: a file, a folder, a pattern, a recording of several files."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mediaref_ursa._core.errors import MediaNotFoundError, MediaRefError, MissingExtraError
from mediaref_ursa._core.uris import is_data, is_local, is_remote, local_path, scheme_of
from mediaref_ursa.layout import (
    COLLECTION_KEY,
    COLLECTION_NAME,
    HIDDEN_FOLDER,
    INDEX_SUFFIX,
    described_video,
    hidden_frame_index_uri,
)
from mediaref_ursa.store import store_for

VIDEO_SUFFIXES = (
    *(
        ".mp4",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".3g2",
        ".3gp",
        ".asf",
        ".divx",
        ".dv",
        ".f4v",
        ".flc",
        ".fli",
    ),
    *(
        ".flv",
        ".ivf",
        ".m1v",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mk3d",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".obu",
        ".ogg",
    ),
    *(".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".wmv"),
)
"""Suffixes of the names of videos in a folder, case-insensitive."""

TABLE_SUFFIXES = (".parquet", ".arrow", ".feather", ".jsonl", ".ndjson")
"""Suffixes of the names of tables of references that the command line takes for the videos they name."""

_LOOKED_FOR = f"videos in this folder or below it ({', '.join(VIDEO_SUFFIXES[:5])} and the like)"
_WILDCARD = re.compile(r"[*?\[]")
_FOLDER_COLLECTION = f"/{HIDDEN_FOLDER}/{COLLECTION_NAME.removesuffix(INDEX_SUFFIX)}"


@dataclass(frozen=True)
class Listed:
    """A video that a pattern names.

    Attributes:
        uri: Where it is.
        size_bytes: Its length where listing reported it, else None.
    """

    uri: str
    size_bytes: int | None = None


def videos_named(pattern: str) -> list[Listed]:
    """Return the videos of a name such as ``clips``, ``clips/*.mp4`` or ``s3://bucket/takes/``, sorted.

    A folder stands for all videos below it, by the ends of their names, and for recordings of several files,
    of which only the index has the recording's name. Hidden files and folders are left out. In a cloud store
    a name that ends with ``/`` is a folder. A file stands for itself, whatever letters it has, and an index
    for its video. Over http there are neither folders nor patterns.

    Raises:
        MediaNotFoundError: A folder or a pattern that names nothing.
        StoreError: The store cannot be listed.

    >>> videos_named("https://host/a.mp4?signature=*")
    [Listed(uri='https://host/a.mp4?signature=*', size_bytes=None)]
    """
    if is_data(pattern) or is_remote(pattern):
        return [Listed(pattern)]
    if is_local(pattern):
        return _on_this_machine(pattern)
    return [Listed(pattern)] if names_one_video(pattern) else _in_cloud(pattern)


def all_videos_named(patterns: Sequence[str]) -> tuple[list[Listed], list[MediaRefError]]:
    """Return the videos of several names, each once, and the errors of names that match none.

    Raises:
        MissingExtraError: What a cloud store needs is not installed.
    """
    found: dict[str, Listed] = {}
    failures: list[MediaRefError] = []
    for pattern in patterns:
        try:
            found.update((video.uri, video) for video in videos_named(pattern))
        except MissingExtraError:  # every other pattern would fail in the same way
            raise
        except MediaRefError as error:
            failures.append(error)
    return list(found.values()), failures


def names_one_video(pattern: str) -> bool:
    """Return whether a name is that of one video, and neither a folder's nor a pattern."""
    if is_data(pattern) or is_remote(pattern):
        return True
    if not is_local(pattern):
        return not (_WILDCARD.search(pattern) or pattern.endswith("/"))
    path = local_path(pattern)
    return bool(_video_of_index(path)) or (
        not Path(path).is_dir() and (Path(path).exists() or not _WILDCARD.search(path))
    )


def _on_this_machine(pattern: str) -> list[Listed]:
    path = local_path(pattern)
    if video := _video_of_index(path):
        return [_listed(video)]
    if names_one_video(path):
        return [Listed(pattern) if is_local(pattern) and not Path(path).exists() else _listed(path)]
    if Path(path).is_dir():
        found = sorted(_videos_below(path))
        looked_for = _LOOKED_FOR
    else:
        found = sorted(_videos_like(path))
        looked_for = "files of this pattern"
    if not found:
        raise MediaNotFoundError(f"expected {looked_for}, found none", uri=pattern)
    return [_listed(name) for name in found]


def _listed(path: str) -> Listed:
    """Return a file with its size; the name of a recording of several files has no size."""
    try:
        return Listed(path, Path(path).stat().st_size)
    except OSError:  # reported when the video is indexed
        return Listed(path)


def _videos_like(pattern: str) -> set[str]:
    found: set[str] = set()
    # Sidecars are named by their own pattern: that of a recording stands next to no file.
    for name in glob.glob(pattern, recursive=True):  # noqa: PTH207 - the pattern may be absolute
        if video := _video_of_index(name):
            found.add(video)
        elif Path(name).is_dir():
            found.update(() if pattern.endswith("**") else _videos_below(name))
        else:
            found.add(name)
    for indexes in (pattern + INDEX_SUFFIX, hidden_frame_index_uri(pattern)):
        for name in glob.glob(indexes, recursive=True):  # noqa: PTH207
            video = _video_of_index(name)
            if video and not Path(video).exists():
                found.add(video)
    return found


def _videos_below(folder: str) -> Iterator[str]:
    """Yield the videos below a folder, and the names of recordings that exist only as indexes."""
    for parent, folders, files in os.walk(folder):
        in_folder = set(files)
        for name in (*folders, *_indexes_below_dot(parent, folders)):
            video = _video_of_index(os.path.join(parent, name))  # noqa: PTH118 - "." is kept as it was written
            if video and os.path.basename(video) not in in_folder:  # noqa: PTH119
                yield _joined(folder, video)
        folders[:] = [name for name in folders if not (name.startswith(".") or name.endswith(INDEX_SUFFIX))]
        for name in files:
            if name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith("."):
                yield _joined(folder, os.path.join(parent, name))  # noqa: PTH118


def _indexes_below_dot(parent: str, folders: list[str]) -> list[str]:
    """Return the hidden indexes of a folder, as paths below it."""
    if HIDDEN_FOLDER not in folders:
        return []
    try:
        return [f"{HIDDEN_FOLDER}/{name}" for name in os.listdir(os.path.join(parent, HIDDEN_FOLDER))]  # noqa: PTH118, PTH208
    except OSError:
        return []


def _joined(folder: str, path: str) -> str:
    """Return a path joined to its folder, without the ``./`` of the folder ``.``."""
    return path[2:] if folder == "." and path.startswith("./") else path


def _video_of_index(path: str) -> str | None:
    """Return the video of a folder that is its index, None for other folders."""
    path = path.rstrip("/")
    if not path.endswith(INDEX_SUFFIX) or not Path(path, "_versions").is_dir():
        return None
    video = described_video(path)[0]
    return video if Path(video).exists() or not is_collection(path) else None


def is_collection(path: str) -> bool:
    """Return whether a table on this machine is a collection of many videos, by its latest manifest."""
    path = path.rstrip("/")
    if path.endswith(f"/{HIDDEN_FOLDER}/{COLLECTION_NAME}"):
        return True
    try:
        manifests = sorted(Path(path, "_versions").glob("*.manifest"))  # names count down to the latest
        return bool(manifests) and COLLECTION_KEY.encode() in manifests[0].read_bytes()
    except OSError:
        return False


def _in_cloud(pattern: str) -> list[Listed]:
    """List the files below the last folder before the first wildcard, with URIs as the user writes them."""
    wildcard = _WILDCARD.search(pattern)
    base = pattern[: pattern.rindex("/", 0, wildcard.start()) + 1] if wildcard else pattern
    if base == f"{pattern[: len(scheme_of(pattern))]}://":
        raise MediaNotFoundError("expected the name of a bucket before the pattern, found none", uri=pattern)
    store = store_for(base)
    from mediaref_ursa.store._fsspec.fsspec_store import (
        FsspecStore,  # the store above has reported what is not installed
    )

    assert isinstance(store, FsspecStore)
    with store._opened(base) as (filesystem, path):
        filesystem.invalidate_cache()
        root = path.rstrip("/") + "/"
        rest = pattern[len(base) :] or "**"
        found = filesystem.glob(root + rest, detail=True)
    listed = [
        Listed(base + name.removeprefix("/")[len(root.removeprefix("/")) :], entry.get("size"))
        for name, entry in sorted(found.items())
        if entry.get("type") != "directory"
    ]
    if wildcard is None:
        listed = _videos_among(listed, base)
    if not listed:
        looked_for = "files of this pattern" if wildcard else _LOOKED_FOR
        raise MediaNotFoundError(f"expected {looked_for}, found none", uri=pattern)
    return listed


def _videos_among(listed: list[Listed], base: str) -> list[Listed]:
    """Return the videos among all files below a folder, and the recordings that exist only as indexes."""
    there = {video.uri for video in listed}
    found = {video.uri: video for video in listed if _is_video_below(video.uri[len(base) :])}
    for uri in there:
        name, mark, _ = uri.partition(f"{INDEX_SUFFIX}/_versions/")
        video = described_video(f"{name}{INDEX_SUFFIX}")[0]
        is_below = mark and video.startswith(base) and not name.endswith(_FOLDER_COLLECTION)
        if is_below and video not in there and not _is_hidden(video[len(base) :]):
            found[video] = Listed(video)
    return [found[uri] for uri in sorted(found)]


def _is_video_below(name: str) -> bool:
    return not _is_hidden(name) and name.lower().endswith(VIDEO_SUFFIXES)


def _is_hidden(name: str) -> bool:
    *folders, last = name.split("/")
    return last.startswith(".") or any(
        part.startswith(".") or part.endswith(INDEX_SUFFIX) for part in folders
    )
