"""``LeRobotRefs``: the exact reference of each row of a LeRobot data set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mediaref_ursa._core.array_types import BoolArray, Int64Array
from mediaref_ursa._core.errors import CorruptMediaError, InvalidReferenceError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.ticks import NS_PER_SECOND
from mediaref_ursa._model.access import Access
from mediaref_ursa.lerobot._metadata import Metadata, root_uri
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    import pyarrow as pa
    import pyarrow.compute as pc

    from mediaref_ursa._references.arrow import STRUCT_TYPE
    from mediaref_ursa._video.source import open_source

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mediaref_ursa._model.access import AccessOptions
    from mediaref_ursa.store import ObjectStore

PAD = "_is_pad"
_DELTA_TOLERANCE_SECONDS = 1e-4


@set_module("mediaref_ursa.lerobot")
@dataclass(frozen=True)
class EpisodeProblem:
    """Rows of an episode whose frames are not where the data set says.

    Attributes:
        episode: Its ``episode_index``.
        camera: The camera's key.
        rows: How many of its rows have no frame.
        text: What was expected and found, of the first of them.
    """

    episode: int
    camera: str
    rows: int
    text: str


@set_module("mediaref_ursa.lerobot")
class LeRobotRefs:
    """References to the frames of a LeRobot data set, of version 3 or 2.1.

    In version 3 a video file holds several episodes. An episode begins at the frame nearest to its
    ``from_timestamp``, which may drift by half a frame; its rows are the frames that follow, by their
    ``frame_index``, and the time of each row is held against that of its frame. Frames of deleted episodes,
    which stay in the files, are passed over.

    Args:
        root: The data set: a folder, ``hf://datasets/OWNER/NAME``, or a URI such as ``s3://bucket/set``.
        revision: Of the Hub: a branch, tag or commit.
        store: Where the bytes are; chosen by the URI's scheme without it.
        storage_options: For cloud stores, as fsspec takes them.
        **access: What may be read, as ``batch_decode`` takes it: ``untrusted=True`` for a data set of an
            untrusted writer. Nothing outside the root is read.

    Raises:
        MediaNotFoundError: There is no data set.
        CorruptMediaError: It is damaged, or of another version.
        StoreError: As the store raises.
        ValueError: A revision of something that is not on the Hub.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        revision: str | None = None,
        store: ObjectStore | None = None,
        storage_options: Mapping[str, Any] | None = None,
        **access: Unpack[AccessOptions],
    ) -> None:
        allowed = Access.from_only_options("LeRobotRefs", access)
        self.root = root_uri(os.fspath(root), revision)
        self._metadata = Metadata.read(Location(self.root, store, storage_options, allowed))

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self._metadata.fps

    @property
    def cameras(self) -> list[str]:
        """The keys of the cameras, such as ``observation.images.top``."""
        return self._metadata.cameras

    @property
    def depth_cameras(self) -> list[str]:
        """The keys of the cameras whose frames are depth maps: see :meth:`decode_options`."""
        return [camera for camera in self.cameras if self._metadata.is_depth(camera)]

    @property
    def tasks(self) -> dict[int, str]:
        """The tasks by ``task_index``."""
        return dict(self._metadata.tasks)

    @property
    def episodes(self) -> Int64Array:
        """int64 ``(n,)``: the numbers of the episodes, ascending, without those of deleted ones."""
        numbers: Int64Array = self._metadata.episodes.column("episode_index").to_numpy().astype(np.int64)
        return numbers

    def decode_options(self, camera: str) -> dict[str, Any]:
        """Return the options of ``batch_decode`` for a camera: every bit of depth maps, one channel."""
        is_depth = self._metadata.is_depth(self._metadata.camera_named(camera))
        return {"dtype": "native", "colorspace": "G"} if is_depth else {}

    def __repr__(self) -> str:
        return f"LeRobotRefs(episodes={len(self.episodes)}, cameras={self.cameras}, fps={self.fps:g})"

    def refs(
        self,
        episodes: Iterable[int] | None = None,
        camera: str | Sequence[str] | None = None,
        *,
        delta_timestamps: Mapping[str, Sequence[float]] | None = None,
        on_error: Literal["raise", "none"] = "raise",
    ) -> pa.Table:
        """Return the rows of episodes, with the reference of each to each camera after its data.

        Args:
            episodes: Their numbers; all without it.
            camera: The key of a camera, or its last part, or several; all without it.
            delta_timestamps: For a key, seconds from each row: the column is a list of the references, or of
                the values, at these times within the episode, the nearest of it beyond its ends, and
                ``<key>_is_pad`` says which are beyond.
            on_error: ``"none"`` gives null in place of references that :meth:`problems` lists.

        Returns:
            A table ordered by episode and frame: the columns of the data, ``task``, and for each camera a
                column
            ``struct<uri, pts_ns>`` under its key, for ``batch_decode(table, column=key)``.

        Raises:
            InvalidReferenceError: There is no such episode, camera or key.
            CorruptMediaError: Rows whose frames are not where the data set says; damaged files.
            MediaRefError: As frame indexes and scans raise.
        """
        table, problems = self.rows_and_problems(episodes, camera)
        if problems and on_error == "raise":
            first = problems[0]
            raise CorruptMediaError(
                f"expected each row's frame at its time, found {sum(one.rows for one in problems)} rows of "
                f"{len({one.episode for one in problems})} episodes without; first, episode {first.episode}: "
                f"{first.text}; on_error='none' leaves them out",
                uri=self.root,
            )
        return table if delta_timestamps is None else self._windows(table, delta_timestamps)

    def problems(
        self, episodes: Iterable[int] | None = None, camera: str | Sequence[str] | None = None
    ) -> list[EpisodeProblem]:
        """Return the episodes of which rows have no frame at their time, camera by camera."""
        return self.rows_and_problems(episodes, camera)[1]

    def _cameras(self, camera: str | Sequence[str] | None) -> list[str]:
        if camera is None:
            return self.cameras
        return [
            self._metadata.camera_named(name) for name in ([camera] if isinstance(camera, str) else camera)
        ]

    def rows_and_problems(
        self, episodes: Iterable[int] | None = None, camera: str | Sequence[str] | None = None
    ) -> tuple[pa.Table, list[EpisodeProblem]]:
        """Return the table of ``refs(on_error="none")`` and the list of :meth:`problems`, read once."""
        cameras = self._cameras(camera)
        chosen = self._chosen(episodes)
        table = self._data(chosen)
        problems: list[EpisodeProblem] = []
        for key in cameras:
            column, found = self._references(table, chosen, key)
            problems += found
            table = table.append_column(key, column)
        return table, problems

    def _chosen(self, episodes: Iterable[int] | None) -> list[dict[str, Any]]:
        rows = self._metadata.episodes
        if episodes is None:
            return list(rows.to_pylist())
        wanted = list(dict.fromkeys(int(number) for number in episodes))
        positions = {number: position for position, number in enumerate(self.episodes.tolist())}
        if missing := [number for number in wanted if number not in positions]:
            raise InvalidReferenceError(
                f"expected episodes of the data set, found {missing[:10]}", uri=self.root
            )
        return list(
            rows.take(pa.array(sorted(positions[number] for number in wanted), pa.int64())).to_pylist()
        )

    def _data(self, chosen: list[dict[str, Any]]) -> pa.Table:
        """Read the data of episodes, ordered by episode and frame."""
        files = self._metadata.files
        wanted = pa.array([int(episode["episode_index"]) for episode in chosen], pa.int64())
        tables = []
        for path in dict.fromkeys(self._metadata.data_path(episode) for episode in chosen):
            table = files.table(path)
            missing = {"episode_index", "frame_index", "timestamp"} - set(table.column_names)
            if missing:
                raise CorruptMediaError(
                    f"expected the columns {sorted(missing)} in a file of rows", uri=files.uri_of(path)
                )
            tables.append(table.filter(pc.is_in(table.column("episode_index"), wanted)))
        if not tables:
            return pa.table({name: pa.array([], pa.int64()) for name in ("episode_index", "frame_index")})
        rows = pa.concat_tables(tables, promote_options="permissive")
        rows = rows.sort_by([("episode_index", "ascending"), ("frame_index", "ascending")]).combine_chunks()
        _check_lengths(rows, chosen, self.root)
        if self.tasks and "task_index" in rows.column_names and "task" not in rows.column_names:
            texts = [self.tasks.get(number) for number in rows.column("task_index").to_pylist()]
            rows = rows.append_column("task", pa.array(texts, pa.string()))
        return rows

    def _references(
        self, table: pa.Table, chosen: list[dict[str, Any]], camera: str
    ) -> tuple[pa.Array, list[EpisodeProblem]]:
        """Return the references of all rows to one camera, and the rows that have none."""
        pts_ns = np.zeros(len(table), dtype=np.int64)
        is_missing = np.ones(len(table), dtype=np.bool_)
        uris = np.zeros(len(table), dtype=np.int64)
        problems: list[EpisodeProblem] = []
        if not len(table):
            return pa.array([], STRUCT_TYPE), problems
        numbers = table.column("episode_index").to_numpy()
        paths: dict[str, int] = {}
        for episode in chosen:
            number = int(episode["episode_index"])
            first, stop = np.searchsorted(numbers, [number, number + 1]).tolist()
            path = self._metadata.video_path(episode, camera)
            rows = slice(first, stop)
            uris[rows] = paths.setdefault(path, len(paths))
            pts_ns[rows], is_missing[rows], text = self._frames(
                table.slice(first, stop - first), episode, camera
            )
            if text:
                problems.append(EpisodeProblem(number, camera, int(is_missing[rows].sum()), text))
        names = pa.array([self._metadata.files.uri_of(path) for path in paths])
        columns = [names.take(pa.array(uris)), pa.array(pts_ns)]
        return pa.StructArray.from_arrays(columns, ["uri", "pts_ns"], mask=pa.array(is_missing)), problems

    def _frames(
        self, rows: pa.Table, episode: Mapping[str, Any], camera: str
    ) -> tuple[Int64Array, BoolArray, str]:
        """Return the time of each row's frame, which rows have none, and of the first of these why."""
        uri = self._metadata.files.uri_of(self._metadata.video_path(episode, camera))
        times = open_source(self._metadata.files.root.at(uri).permitted_video()).sequence.pts_ns
        half = NS_PER_SECOND / self.fps / 2
        begin = self._begin_seconds(episode, camera) * NS_PER_SECOND
        anchor = _nearest(times, begin)
        if abs(float(times[anchor]) - begin) > half:
            text = f"no frame within half a frame of from_timestamp, {begin / NS_PER_SECOND} s"
            return np.zeros(len(rows), np.int64), np.ones(len(rows), np.bool_), text
        frames = anchor + rows.column("frame_index").to_numpy().astype(np.int64)
        own = begin + rows.column("timestamp").to_numpy().astype(np.float64) * NS_PER_SECOND
        found = times[np.clip(frames, 0, len(times) - 1)]
        with np.errstate(invalid="ignore"):
            fits = (frames >= 0) & (frames < len(times)) & (np.abs(found - own) <= half)
        text = ""
        if not fits.all():
            row = int(np.flatnonzero(~fits)[0])
            text = (
                f"row {row} at {own[row] / NS_PER_SECOND:.6f} s of {uri}; frame {frames[row]} of "
                f"{len(times)} is at {found[row] / NS_PER_SECOND:.6f} s"
            )
        return np.where(fits, found, 0), ~fits, text

    def _begin_seconds(self, episode: Mapping[str, Any], camera: str) -> float:
        if not self._metadata.is_version_3:
            return 0.0
        value = episode.get(f"videos/{camera}/from_timestamp")
        if not isinstance(value, int | float) or not np.isfinite(value):
            raise CorruptMediaError(
                f"expected videos/{camera}/from_timestamp of episode {episode['episode_index']}, found "
                f"{value!r}",
                uri=self.root,
            )
        return float(value)

    def _windows(self, table: pa.Table, deltas: Mapping[str, Sequence[float]]) -> pa.Table:
        """Return the table with lists of values at times around each row, as lerobot gives them."""
        episode = table.column("episode_index").to_numpy()
        first, last = np.searchsorted(episode, episode), np.searchsorted(episode, episode, side="right") - 1
        for key, seconds in deltas.items():
            name = key if key in table.column_names else self._metadata.camera_named(key)
            steps = _steps(key, seconds, self.fps)
            rows = np.arange(len(table))[:, None] + steps
            is_pad = (rows < first[:, None]) | (rows > last[:, None])
            rows = np.clip(rows, first[:, None], last[:, None])
            values = table.column(name).combine_chunks().take(pa.array(rows.ravel()))
            lists = pa.FixedSizeListArray.from_arrays(values, len(steps))
            pads = pa.FixedSizeListArray.from_arrays(pa.array(is_pad.ravel()), len(steps))
            table = table.set_column(table.column_names.index(name), name, lists).append_column(
                f"{name}{PAD}", pads
            )
        return table


def _check_lengths(rows: pa.Table, chosen: list[dict[str, Any]], uri: str) -> None:
    """Refuse episodes that have another number of rows than their metadata say.

    Raises:
        CorruptMediaError: One has.
    """
    numbers = rows.column("episode_index").to_numpy()
    for episode in chosen:
        number, length = int(episode["episode_index"]), episode.get("length")
        found = int(np.searchsorted(numbers, number + 1) - np.searchsorted(numbers, number))
        if length is not None and found != length:
            raise CorruptMediaError(f"expected {length} rows of episode {number}, found {found}", uri=uri)


def _nearest(times: Int64Array, wanted: float) -> int:
    """Return which time is nearest; of two the earlier."""
    after = int(np.clip(np.searchsorted(times, wanted), 0, len(times) - 1))
    before = max(after - 1, 0)
    return before if abs(float(times[before]) - wanted) <= abs(float(times[after]) - wanted) else after


def _steps(key: str, seconds: Sequence[float], fps: float) -> Int64Array:
    """Return times around a row as whole numbers of frames.

    Raises:
        ValueError: One is none.
    """
    exact = np.asarray(seconds, dtype=np.float64) * fps
    steps: Int64Array = np.round(exact).astype(np.int64)
    if not len(steps) or (np.abs(exact - steps) > _DELTA_TOLERANCE_SECONDS * fps).any():
        raise ValueError(
            f"expected multiples of 1/{fps:g} s in delta_timestamps[{key!r}], found {list(seconds)}"
        )
    return steps
