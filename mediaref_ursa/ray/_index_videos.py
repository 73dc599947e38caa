"""``index_videos``: a collection index of many videos, which Ray's workers scan and the caller commits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import ray
from ray.data import Dataset, TaskPoolStrategy

from mediaref_ursa._core.errors import InvalidReferenceError
from mediaref_ursa._core.public import set_module
from mediaref_ursa._index.collection import CollectionIndex
from mediaref_ursa._index.collection_build import (
    AddedVideo,
    CommitBatch,
    Outcome,
    Wanted,
    look_at,
    same_row_error,
)
from mediaref_ursa._index.outcome_rows import OutcomeRow, from_table, to_table
from mediaref_ursa._model.access import TRUSTED, Access
from mediaref_ursa.ray._named_videos import NamedVideos, other_segments_error

if TYPE_CHECKING:
    from mediaref_ursa._core.errors import MediaRefError

_MAX_VIDEOS_A_TASK = 64
_TASKS_A_CPU = 4
REPORT = pa.schema(
    [
        ("uri", pa.string()),
        ("state", pa.string()),
        ("frames", pa.int64()),
        ("segments", pa.int64()),
        ("problems", pa.list_(pa.string())),
        ("error", pa.string()),
    ]
)

Uri: TypeAlias = str | os.PathLike[str]
Videos: TypeAlias = "Iterable[Uri] | Mapping[str, Sequence[Uri]] | Dataset"


@set_module("mediaref_ursa.ray")
def index_videos(
    videos: Videos,
    into: str | os.PathLike[str] | CollectionIndex,
    *,
    column: str = "uri",
    segments_column: str | None = None,
    overwrite: bool = False,
    full: bool | None = None,
    decode: bool = False,
    concurrency: int | None = None,
    num_cpus: float = 1,
    root: str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    access: Access = TRUSTED,
) -> pa.Table:
    """Put the frame indexes of many videos into a collection, scanned by the workers of a Ray cluster.

    The workers scan; this process alone commits, some hundred videos or some seconds at a time, each video
    whole. A job that was stopped is called again: videos whose rows are fresh are left alone. A video that
    cannot be indexed is a row of the report, and is tried again by the next call. Frame indexes next to
    videos are taken where they are fresh.

    Args:
        videos: URIs; of recordings of several files, a mapping from a URI to all of its segments; or a data
            set of Ray with a row for each video, whose relative paths begin where the workers run. A URI that
            comes again is left out, and is a failed row if it comes with other segments.
        into: The collection, which is made where there is none: a path or URI that all workers reach.
        column: The data set's column of URIs.
        segments_column: Its column of lists of segments, if there are recordings of several files.
        overwrite: Scan and replace also what is fresh.
        full: As ``write_frame_index`` takes it.
        decode: As ``write_frame_index`` takes it.
        concurrency: Scans at once, at most; as many as the cluster has CPUs for without it.
        num_cpus: CPUs of each.
        root: Where relative URIs begin in a collection that is made, as ``CollectionIndex.open`` takes it.
        storage_options: For cloud stores, of table and videos.
        access: What may be read, and how much. ``Access(untrusted=True)`` scans each video in a process of
            its own: one that kills a worker otherwise is tried again by Ray, for ever.

    Returns:
        A table with a row for each video, in the order in which they ended: ``uri``, an absolute one;
        ``state``: ``added``, ``replaced``, ``kept`` or ``failed``; ``frames`` and ``segments`` of those that
        went in; ``problems``, texts about parts of the media that are damaged; ``error``, a text, of those
        that failed.

    Raises:
        FrameIndexError: The collection cannot be opened.
        InvalidReferenceError: The data set has no such column.
        StoreError: The collection cannot be written.
        ValueError: ``concurrency`` or ``num_cpus`` of nothing.

    Example:
        >>> report = index_videos(["clip.mp4"], "set.lance")  # doctest: +SKIP
        >>> report.select(["state", "frames"]).to_pylist()  # doctest: +SKIP
        [{'state': 'added', 'frames': 60}]
    """
    if isinstance(into, CollectionIndex) and (root, storage_options, access) != (None, None, TRUSTED):
        raise TypeError(
            "expected root=, storage_options= and access= with the address of a collection, found one of "
            "them with an open one; pass them to CollectionIndex.open"
        )
    collection = (
        into
        if isinstance(into, CollectionIndex)
        else CollectionIndex.open(
            into, create=True, root=root, storage_options=storage_options, access=access
        )
    )
    table = collection._table
    table.check_takes_indexes()
    wanted = Wanted(1, overwrite, full, decode, "skip")
    wanted.check_suits(table.access)
    tasks = _task_pool(concurrency, num_cpus)
    report: list[AddedVideo] = []
    batch = CommitBatch(table, report.append)
    try:
        if isinstance(videos, Dataset):
            rows = _renamed(videos, column, segments_column)
        else:
            named = _named(videos)
            report += named.failed
            rows = _dataset_of(named)
        for outcome in _ScannedVideos(rows, collection, wanted).outcomes(tasks, num_cpus):
            batch.put(outcome)
    finally:
        batch.commit()
    changed = any(video.state in ("added", "replaced") for video in report)
    if changed:
        table.tidy(compact=True)
    return _report_of(report)


class _ScannedVideos:
    """The outcomes of a data set of videos, each video once."""

    def __init__(self, videos: Dataset, collection: CollectionIndex, wanted: Wanted) -> None:
        self._videos, self._collection, self._wanted = videos, collection, wanted

    def outcomes(self, tasks: TaskPoolStrategy, num_cpus: float) -> Iterator[Outcome]:
        """Yield them as the workers give them."""
        scanned = self._videos.map_batches(
            ScanVideos(self._collection, self._wanted),
            batch_format="pyarrow",
            batch_size=None,
            compute=tasks,
            num_cpus=num_cpus,
        )
        seen: dict[str, tuple[str, list[str]]] = {}
        for block in scanned.iter_batches(batch_format="pyarrow", batch_size=None):
            for row in from_table(block):
                named = (row.values["uri"], row.values["parts"])
                first = seen.setdefault(row.key, named)
                if first is named:
                    yield row.to_outcome()
                elif first != named:
                    yield Outcome(_refused(row, *first))


def _refused(row: OutcomeRow, first_uri: str, first_parts: Sequence[str]) -> AddedVideo:
    """Return a video that has the row of one that came before as one that failed: its scan is not used."""
    uri, parts = row.values["uri"], row.values["parts"]
    if uri == first_uri:
        return AddedVideo(uri, "failed", error=other_segments_error(uri, len(first_parts), len(parts)))
    return AddedVideo(uri, "failed", error=same_row_error(uri, first_uri))


class ScanVideos:
    """A callable class for ``map_batches``: rows that name videos in, their outcomes out.

    Args:
        collection: What is fresh in it is not scanned.
        wanted: The options of the call.
    """

    def __init__(self, collection: CollectionIndex, wanted: Wanted) -> None:
        self._table, self._wanted = collection._table, wanted

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Yield a table for each video that ended, so that none waits for the others."""
        columns = batch.to_pydict()
        segments = columns.get("segments") or [None] * batch.num_rows
        named = NamedVideos.from_rows(zip(columns["uri"], segments, strict=True))
        if named.failed:
            yield self._table_of([Outcome(video, key=f"\0{video.uri}") for video in named.failed], named)
        of_several = {uri: parts for uri, parts in named.segments.items() if parts}
        for uris in ([uri for uri in named.segments if uri not in of_several], of_several):
            with closing(look_at(self._table, uris, self._wanted)) as outcomes:
                for ended in outcomes:
                    if ended:
                        yield self._table_of(ended, named)

    def _table_of(self, outcomes: Sequence[Outcome], named: NamedVideos) -> pa.Table:
        """Return outcomes as rows, with the segments that were asked for."""
        parts = [list(named.segments.get(outcome.video.uri, ())) for outcome in outcomes]
        return to_table(self._table, outcomes).append_column("parts", pa.array(parts, pa.list_(pa.string())))


def _named(videos: Any) -> NamedVideos:
    """Return the videos that a caller names.

    Raises:
        TypeError: One that is in no list.
    """
    if isinstance(videos, (str, os.PathLike)):
        raise TypeError(f"expected several videos, found {videos!r}; wrap one in a list")
    if isinstance(videos, Mapping):
        return NamedVideos.from_rows(videos.items())
    return NamedVideos.from_rows((uri, None) for uri in videos)


def _dataset_of(named: NamedVideos) -> Dataset:
    """Return a data set with the columns ``uri`` and ``segments``."""
    segments = [list(parts) for parts in named.segments.values()]
    table = pa.table(
        {"uri": pa.array(named.segments, pa.string()), "segments": pa.array(segments, pa.list_(pa.string()))}
    )
    step = _videos_a_task(len(table))
    return ray.data.from_arrow([table.slice(first, step) for first in range(0, max(1, len(table)), step)])


def _renamed(videos: Dataset, column: str, segments_column: str | None) -> Dataset:
    """Return the columns ``uri`` and, where there are recordings, ``segments`` of a caller's data set.

    Raises:
        InvalidReferenceError: A column is missing.
    """
    names = {column: "uri", **({segments_column: "segments"} if segments_column else {})}
    if set(names) - set(videos.columns() or []):
        raise InvalidReferenceError(
            f"expected a data set with the columns {list(names)}, found {videos.columns()}; name them with "
            "column= and segments_column="
        )
    rows = videos.select_columns(list(names)).rename_columns(names)
    return rows.repartition(target_num_rows_per_block=_MAX_VIDEOS_A_TASK)


def _videos_a_task(count: int) -> int:
    """Return how many videos are one task: few tasks cost less, and some a CPU keep all of these at work."""
    if not ray.is_initialized():
        ray.init()
    cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
    return min(_MAX_VIDEOS_A_TASK, max(1, count // (_TASKS_A_CPU * cpus)))


def _task_pool(concurrency: int | None, num_cpus: float) -> TaskPoolStrategy:
    """Return the tasks that run at once.

    Raises:
        ValueError: Fewer than one task, or no CPUs for it.
    """
    if num_cpus <= 0:
        raise ValueError(f"expected num_cpus above 0, found {num_cpus}")
    if concurrency is not None and concurrency < 1:
        raise ValueError(f"expected concurrency of 1 or more, found {concurrency}")
    return TaskPoolStrategy(concurrency)


def _report_of(videos: Sequence[AddedVideo]) -> pa.Table:
    return pa.table(
        {
            "uri": [video.uri for video in videos],
            "state": [video.state for video in videos],
            "frames": [video.frames for video in videos],
            "segments": [video.segments for video in videos],
            "problems": [list(video.problems) for video in videos],
            "error": [_text(video.error) for video in videos],
        },
        schema=REPORT,
    )


def _text(error: MediaRefError | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"
