"""The metadata of a LeRobot data set, of version 3 and 2.1: episodes, cameras, tasks, and where files are."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mediaref_ursa._core.errors import (
    CorruptMediaError,
    InvalidReferenceError,
    MediaNotFoundError,
    MediaRefWarning,
)
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.media_warnings import warn_once
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.uris import is_local, local_path, scheme_of
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    import pyarrow as pa
    import pyarrow.json as pajson
    import pyarrow.parquet as pq

_HUB = "hf://datasets/"
_FILES_A_CHUNK = 1_000_000  # a bound on what a damaged data set makes a reader ask for
_WIDTH = re.compile(r"(0?\d{1,2}d)?")  # of a number
_FIELDS = {"chunk_index", "file_index", "episode_index", "episode_chunk", "video_key"}


def root_uri(root: str, revision: str | None) -> str:
    """Return the URI of a data set at a revision, without a slash at its end.

    Raises:
        ValueError: A revision of something that is not on the Hub, or that names one already.

    >>> root_uri("hf://datasets/me/pusht", "v3.0")
    'hf://datasets/me/pusht@v3.0'
    """
    root = root.rstrip("/")
    if revision is None:
        return root
    parts = root.removeprefix(_HUB).split("/")
    if not root.startswith(_HUB) or len(parts) != 2 or "@" in parts[1]:
        raise ValueError(
            f"expected hf://datasets/OWNER/NAME with revision=, found {root!r}; a folder or a bucket has none"
        )
    return f"{root}@{revision}"


@set_module("mediaref_ursa.lerobot")
def is_data_set(root: str) -> bool:
    """Return whether a path or URI may be the root of a LeRobot data set: a folder with ``meta/info.json``.

    What is on the Hub is one if it names a data set and no file of it; other stores are not asked.

    >>> is_data_set("hf://datasets/me/pusht"), is_data_set("train.parquet")
    (True, False)
    """
    if root.startswith(_HUB):
        return len(root.removeprefix(_HUB).rstrip("/").split("/")) == 2
    return is_local(root) and Path(local_path(root), "meta", "info.json").is_file()


@dataclass(frozen=True)
class Files:
    """The files of a data set below its root.

    Attributes:
        root: Where it is, with the store, the options and the access.
    """

    root: Location

    def uri_of(self, path: str) -> str:
        """Return the URI of a file, by its path below the root.

        Raises:
            CorruptMediaError: A path that leads out of it.
        """
        parts = path.split("/")
        if path.startswith("/") or scheme_of(path) or "\\" in path or {"", ".", ".."} & set(parts):
            raise CorruptMediaError(f"expected a path below the data set, found {path!r}", uri=self.root.uri)
        return f"{self.root.uri}/{path}"

    def read(self, path: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            MediaNotFoundError: There is none.
            StoreError: As the store raises.
        """
        where = self.root.at(self.uri_of(path)).permitted()
        return where.open_store().get(where.uri)

    def table(self, path: str) -> pa.Table:
        """Return a Parquet file, or one of JSON lines, as a table.

        Raises:
            CorruptMediaError: It is none.
            MediaNotFoundError: There is none.
        """
        data = pa.BufferReader(self.read(path))
        try:
            return pajson.read_json(data) if path.endswith(".jsonl") else pq.read_table(data)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptMediaError(f"expected a table, found {error}", uri=self.uri_of(path)) from error

    def numbered(self, template: str) -> Iterator[pa.Table]:
        """Yield the tables of ``chunk-000/file-000``, the next file, and so on, chunk after chunk."""
        for chunk in range(_FILES_A_CHUNK):
            for file in range(_FILES_A_CHUNK):
                try:
                    table = self.table(filled(template, self.root.uri, chunk_index=chunk, file_index=file))
                except MediaNotFoundError:
                    if file == 0:
                        return
                    break
                yield table


def filled(template: Any, uri: str, **values: Any) -> str:
    """Return a path template with its fields filled in.

    Raises:
        CorruptMediaError: It has other fields, or is no text.
    """
    try:
        parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
        if not {part[1] for part in parts} <= _FIELDS & set(values):
            raise ValueError(f"the fields {[part[1] for part in parts]}")
        if wide := [part[2] for part in parts if not _WIDTH.fullmatch(part[2] or "") or part[3]]:
            raise ValueError(f"the formats {wide}")
        return str(template).format(**values)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise CorruptMediaError(
            f"expected a path template, found {template!r:.200}: {error}", uri=uri
        ) from error


@dataclass(frozen=True)
class Metadata:
    """The metadata of a data set.

    Attributes:
        files: Its files.
        is_version_3: Whether several episodes share a file; else each has its own.
        fps: Frames a second.
        features: By key, as ``meta/info.json`` has them.
        info: All of ``meta/info.json``.
        episodes: One row an episode, ascending by ``episode_index``.
        tasks: By their number.
    """

    files: Files
    is_version_3: bool
    fps: float
    features: Mapping[str, Mapping[str, Any]]
    info: Mapping[str, Any]
    episodes: pa.Table
    tasks: Mapping[int, str] = field(repr=False)

    @classmethod
    def read(cls, root: Location) -> Metadata:
        """Read the metadata of the data set at a root.

        Raises:
            MediaNotFoundError: There is no data set.
            CorruptMediaError: It is none, or of another version.
            StoreError: As the store raises.

        Warns:
            MediaRefWarning: There are fewer episodes than ``meta/info.json`` says.
        """
        files = Files(root)
        info = _json(files, "meta/info.json")
        version = str(info.get("codebase_version"))
        if not version.startswith(("v3.", "v2.1")):
            raise CorruptMediaError(
                f"expected a LeRobot data set of version 3 or 2.1, found codebase_version={version!r}",
                uri=root.uri,
            )
        features, fps = info.get("features"), info.get("fps")
        if (
            not isinstance(features, dict)
            or isinstance(fps, bool)
            or not isinstance(fps, int | float)
            or fps <= 0
        ):
            raise CorruptMediaError("expected features, and fps above 0, in meta/info.json", uri=root.uri)
        is_version_3 = version.startswith("v3.")
        episodes = _episodes(files, is_version_3)
        if "episode_index" not in episodes.column_names:
            raise CorruptMediaError("expected episodes with an episode_index, found none", uri=root.uri)
        _warn_of_lost_episodes(info.get("total_episodes"), len(episodes), root.uri)
        return cls(
            files,
            is_version_3,
            float(fps),
            {key: value for key, value in features.items() if isinstance(value, dict)},
            info,
            episodes.sort_by("episode_index"),
            _tasks(files, is_version_3),
        )

    @property
    def cameras(self) -> list[str]:
        """The keys of all features that are video."""
        return [key for key, feature in self.features.items() if feature.get("dtype") == "video"]

    def is_depth(self, camera: str) -> bool:
        """Return whether a camera's frames are depth maps."""
        feature = self.features[camera]
        sections = [feature, feature.get("info") or {}, feature.get("video_info") or {}]
        names = ("is_depth_map", "video.is_depth_map")
        return any(bool(one.get(name)) for one in sections if isinstance(one, dict) for name in names)

    def camera_named(self, name: str) -> str:
        """Return a camera's key, by the key or by what follows its last dot.

        Raises:
            InvalidReferenceError: There is none, or several.
        """
        found = [key for key in self.cameras if key == name] or [
            key for key in self.cameras if key.rsplit(".", 1)[-1] == name
        ]
        if len(found) != 1:
            raise InvalidReferenceError(
                f"expected one of the cameras {self.cameras}, found {name!r}", uri=self.files.root.uri
            )
        return found[0]

    def data_path(self, episode: Mapping[str, Any]) -> str:
        """Return the path of the file with the rows of an episode."""
        return filled(self.info.get("data_path"), self.files.root.uri, **self._numbers(episode, "data"))

    def video_path(self, episode: Mapping[str, Any], camera: str) -> str:
        """Return the path of the file with the frames of an episode."""
        numbers = self._numbers(episode, f"videos/{camera}")
        return filled(self.info.get("video_path"), self.files.root.uri, video_key=camera, **numbers)

    def _numbers(self, episode: Mapping[str, Any], of: str) -> dict[str, int]:
        number = int(episode["episode_index"])
        if not self.is_version_3:
            size = int(self.info.get("chunks_size") or 1000)
            return {"episode_index": number, "episode_chunk": number // max(1, size)}
        try:
            return {name: int(episode[f"{of}/{name}"]) for name in ("chunk_index", "file_index")}
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptMediaError(
                f"expected {of}/chunk_index and file_index of episode {number}, found none",
                uri=self.files.root.uri,
            ) from error


def _warn_of_lost_episodes(claimed: Any, found: int, uri: str) -> None:
    """Warn if ``meta/info.json`` has more episodes than their files, of which one may be missing."""
    if isinstance(claimed, int) and claimed > found:
        warn_once(
            MediaRefWarning,
            f"expected {claimed} episodes, as meta/info.json has it, found {found} in meta/episodes: "
            "download the files that are missing; the episodes in them are left out",
            uri=uri,
        )


def _json(files: Files, path: str) -> dict[str, Any]:
    try:
        found = json.loads(files.read(path))
    except ValueError as error:
        raise CorruptMediaError(f"expected JSON, found {error}", uri=files.uri_of(path)) from error
    if not isinstance(found, dict):
        raise CorruptMediaError("expected a JSON object, found another value", uri=files.uri_of(path))
    return found


def _episodes(files: Files, is_version_3: bool) -> pa.Table:
    if not is_version_3:
        return files.table("meta/episodes.jsonl")
    template = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    tables = []
    for table in files.numbered(template):
        wanted = [name for name in table.column_names if not name.startswith("stats/")]
        tables.append(table.select(wanted))
    if not tables:
        raise MediaNotFoundError("expected meta/episodes/chunk-000/file-000.parquet", uri=files.root.uri)
    return pa.concat_tables(tables, promote_options="permissive").combine_chunks()


def _tasks(files: Files, is_version_3: bool) -> dict[int, str]:
    try:
        table = files.table("meta/tasks.parquet" if is_version_3 else "meta/tasks.jsonl")
    except MediaNotFoundError:
        return {}
    names = [name for name in ("task", "__index_level_0__") if name in table.column_names]
    if not names or "task_index" not in table.column_names:
        return {}
    pairs = zip(table.column("task_index").to_pylist(), table.column(names[0]).to_pylist(), strict=True)
    return {int(number): str(text) for number, text in pairs if number is not None}
