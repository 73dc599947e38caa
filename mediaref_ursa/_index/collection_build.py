"""Videos put into a collection: what is fresh is left alone, the rest is scanned and committed in batches."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from mediaref_ursa._core.errors import (
    FrameIndexMissingError,
    MediaRefError,
    MissingExtraError,
)
from mediaref_ursa._core.uris import absolute_location
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa._index.collection_table import CollectedVideo, CollectionTable, VideoRows
from mediaref_ursa._index.found import FRESH, FoundIndex, find_index, state_of
from mediaref_ursa._index.frame_index import LanceFrameIndex
from mediaref_ursa._model.damage import warn_of_problems
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa.layout import COLLECTION
from mediaref_ursa.store._location import Location

_COMMIT_VIDEOS = 512
_COMMIT_SECONDS = 5.0
_ASKED_AT_ONCE = 128
_WAIT_SECONDS = 0.2

Uris = Iterable[str | os.PathLike[str]] | Mapping[str, Sequence[str | os.PathLike[str]]]


class _StoppedError(Exception):
    """Raised inside a scan whose result is no longer wanted."""


@dataclass(frozen=True)
class AddedVideo:
    """The outcome for one video of a call.

    Attributes:
        uri: The video, as it was given.
        state: ``"added"``, ``"replaced"``, ``"kept"`` or ``"failed"``.
        tables: The segments of one that was added or replaced.
        error: That of one that failed.
    """

    uri: str
    state: Literal["added", "replaced", "kept", "failed"]
    tables: tuple[SegmentTable, ...] = field(default=(), repr=False)
    error: MediaRefError | None = None


@dataclass
class AddReport:
    """Counts of the outcomes for the videos of one call.

    Attributes:
        added: Videos that were not there.
        replaced: Videos whose rows were stale, or replaced because that was asked for.
        kept: Videos whose rows are fresh.
        failed: The error of each other one, by its URI.
    """

    added: int = 0
    replaced: int = 0
    kept: int = 0
    failed: dict[str, MediaRefError] = field(default_factory=dict)

    def count(self, video: AddedVideo) -> None:
        """Count one video."""
        if video.error is not None:
            self.failed[video.uri] = video.error
        else:
            setattr(self, video.state, getattr(self, video.state) + 1)


@dataclass(frozen=True)
class Wanted:
    """The options of :meth:`CollectionIndex.add`, which describes them."""

    jobs: int = 1
    overwrite: bool = False
    full: bool | None = None
    decode: bool = False
    on_error: Literal["raise", "skip"] = "raise"

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"expected on_error to be 'raise' or 'skip', found {self.on_error!r}")
        if self.jobs < 1:
            raise ValueError(f"expected jobs to be 1 or more, found {self.jobs}")


def add_videos(
    table: CollectionTable, uris: Uris, wanted: Wanted, progress: Callable[[AddedVideo], None] | None
) -> AddReport:
    """Put videos into a collection: see :meth:`CollectionIndex.add`."""
    report = AddReport()
    batch = _Batch(table)
    stopped = threading.Event()
    pool = ThreadPoolExecutor(wanted.jobs, thread_name_prefix="mediaref-index")
    try:
        for ended in _outcomes(pool, _tasks(table, uris, wanted, stopped), wanted.jobs):
            errors = [done.error for done in ended if done.error is not None]
            for done in ended:
                if done.error is not None and wanted.on_error == "raise":
                    continue
                batch.put(done)
                report.count(done)
                if progress is not None:
                    progress(done)
            if errors and wanted.on_error == "raise":
                raise errors[0]
    finally:
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)
        batch.commit()
    if report.added or report.replaced:
        table.tidy(compact=False)
    return report


class _Batch:
    """The videos of the next commit."""

    def __init__(self, table: CollectionTable) -> None:
        self._table = table
        self._videos: dict[str, tuple[SegmentTable, ...]] = {}
        self._replaced: list[str] = []
        self._began = time.monotonic()

    def put(self, video: AddedVideo) -> None:
        """Take a video, and commit where there are enough or where enough time has passed."""
        if video.tables:
            self._videos[absolute_location(video.uri)] = video.tables
            if video.state == "replaced":
                self._replaced.append(absolute_location(video.uri))
        if len(self._videos) >= _COMMIT_VIDEOS or time.monotonic() - self._began > _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Put the videos in; of those that had more segments before, the last ones go after it."""
        if self._videos:
            self._table.put(self._videos)
            for uri in self._replaced:
                self._table.delete([self._table.key_of(uri)], len(self._videos[uri]))
        self._videos, self._replaced = {}, []
        self._began = time.monotonic()


@dataclass(frozen=True)
class _Task:
    """One video to be looked at."""

    uri: str
    segments: Sequence[str | os.PathLike[str]] | None
    rows: VideoRows | None
    table: CollectionTable
    wanted: Wanted
    stopped: threading.Event

    def run(self) -> AddedVideo:
        """Return the video's segments, or that its rows are fresh, or its error."""
        try:
            return self._added()
        except MissingExtraError:  # every other video would fail in the same way
            raise
        except MediaRefError as error:
            return AddedVideo(self.uri, "failed", error=error)

    def _added(self) -> AddedVideo:
        wanted, video = self.wanted, self._video
        found = self._found()
        if not wanted.overwrite and self._is_enough(found):
            return AddedVideo(self.uri, "kept")
        if not wanted.overwrite:
            found.check_replaceable(video.uri)
        state: Literal["added", "replaced"] = "added" if self.rows is None else "replaced"
        sidecar = None if wanted.overwrite else find_index(video, is_name=self.segments is not None)
        if sidecar is not None and self._is_enough(sidecar):
            return AddedVideo(self.uri, state, sidecar.tables)
        segments = self.segments or found.segment_uris or (sidecar.segment_uris if sidecar else None)
        index = scan_frame_index(
            self.uri,
            segments=segments,
            storage_options=self.table.storage_options,
            progress=self._check_stopped,
            full=wanted.full,
            decode=wanted.decode,
        )
        tables = tuple(index.segment_table(number) for number in range(len(index.segments)))
        warn_of_problems(video.uri, list(tables))
        return AddedVideo(self.uri, state, tables)

    def _check_stopped(self, done: int, total: int) -> None:
        del done, total
        if self.stopped.is_set():
            raise _StoppedError

    @property
    def _video(self) -> Location:
        return Location(self.uri, None, self.table.storage_options, self.table.access).absolute()

    def _found(self) -> FoundIndex:
        """Return the state of the video's rows."""
        video = self._video

        def open_index() -> LanceFrameIndex:
            if self.rows is None:
                raise FrameIndexMissingError("no rows", uri=video.uri)
            file = CollectedVideo.of(self.table.uri, video.uri, self.rows.checked(), self.table.access)
            return LanceFrameIndex._of(video.uri, file=file, location=COLLECTION)

        return state_of(open_index, lambda part: video.at(part).open_store().head(part))

    def _is_enough(self, found: FoundIndex) -> bool:
        segments = [absolute_location(part) for part in self.segments or ()]
        full, decode = self.wanted.full, self.wanted.decode
        return found.state == FRESH and found.describes(segments, None, full, None, decode)


def _tasks(table: CollectionTable, uris: Uris, wanted: Wanted, stopped: threading.Event) -> Iterator[_Task]:
    """Yield a task for each video, each once; the rows of some hundred are read together."""
    segments = uris if isinstance(uris, Mapping) else {}
    seen: set[str] = set()
    left = (os.fspath(uri) for uri in uris)
    while some := list(islice(left, _ASKED_AT_ONCE)):
        keys = {uri: table.key_of(uri) for uri in some}
        rows = table.find(keys.values())
        for uri, key in keys.items():
            if key not in seen:
                seen.add(key)
                yield _Task(uri, segments.get(uri), rows.get(key), table, wanted, stopped)


def _outcomes(pool: ThreadPoolExecutor, tasks: Iterator[_Task], jobs: int) -> Iterator[list[AddedVideo]]:
    """Yield the outcomes of videos as they end, those that ended since the last yield in the order of tasks.

    Twice as many tasks as there are jobs are taken ahead.
    """
    running: list[Future[AddedVideo]] = [pool.submit(task.run) for task in islice(tasks, 2 * jobs)]
    while running:
        ended = wait(running, _WAIT_SECONDS, FIRST_COMPLETED).done
        done = [future for future in running if future in ended]
        running = [future for future in running if future not in ended]
        running += [pool.submit(task.run) for task in islice(tasks, len(done))]
        yield [future.result() for future in done]
