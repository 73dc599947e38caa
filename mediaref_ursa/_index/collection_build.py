"""Videos put into a collection: what is fresh is left alone, the rest is scanned and committed in batches."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from mediaref_ursa._core.array_types import Float64Array
from mediaref_ursa._core.errors import (
    FrameIndexInvalidError,
    FrameIndexMissingError,
    InvalidReferenceError,
    MediaRefError,
    MissingExtraError,
)
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.uris import absolute_location
from mediaref_ursa._index.build import scan_frame_index
from mediaref_ursa._index.collection_table import CollectedVideo, CollectionTable, VideoRows, rows_of
from mediaref_ursa._index.found import FRESH, STALE, FoundIndex, find_index, state_of
from mediaref_ursa._index.frame_index import LanceFrameIndex
from mediaref_ursa._model.access import Access
from mediaref_ursa._model.damage import problems_of, warn_of_problems
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa.layout import COLLECTION
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    import pyarrow as pa

_COMMIT_VIDEOS = 512
_COMMIT_SECONDS = 5.0
_COMMIT_BYTES = 64 << 20
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
        frames: Of one that was added or replaced.
        segments: Of one that was added or replaced.
        problems: Texts about parts of its media that are damaged or missing.
        error: That of one that failed.
    """

    uri: str
    state: Literal["added", "replaced", "kept", "failed"]
    frames: int = 0
    segments: int = 0
    problems: tuple[str, ...] = ()
    error: MediaRefError | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome for one video before it is committed.

    Attributes:
        video: What is reported of it.
        rows: Its new rows.
        left_from: Rows of it from this segment on are deleted: it had more segments before.
        key: The URI that these rows have; that of ``video`` without it. Of a relative path it depends on the
            working directory of the process that made the rows.
    """

    video: AddedVideo
    rows: pa.Table | None = field(default=None, repr=False)
    left_from: int | None = None
    key: str | None = None


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

    def check_suits(self, access: Access) -> None:
        """Refuse options that a sandboxed scan does not have.

        Raises:
            ValueError: ``full`` or ``decode`` with limits of scans.
        """
        if access.scan_limits is not None and (self.full or self.decode):
            raise ValueError(
                "expected neither full= nor decode= with limits of scans (untrusted=True, index_limits=), "
                "which are of a process of its own that does not know them, found one"
            )


def add_videos(
    table: CollectionTable, uris: Uris, wanted: Wanted, progress: Callable[[AddedVideo], None] | None
) -> AddReport:
    """Put videos into a collection: see :meth:`CollectionIndex.add`."""
    table.check_takes_indexes()
    wanted.check_suits(table.access)
    report = AddReport()

    def settle(video: AddedVideo) -> None:
        report.count(video)
        if progress is not None:
            progress(video)

    batch = CommitBatch(table, settle)
    try:
        with closing(look_at(table, uris, wanted)) as outcomes:
            for ended in outcomes:
                errors = [done.video.error for done in ended if done.video.error is not None]
                for done in ended:
                    if done.video.error is None or wanted.on_error == "skip":
                        batch.put(done)
                if errors and wanted.on_error == "raise":
                    raise errors[0]
    finally:
        batch.commit()
    if report.added or report.replaced:
        table.tidy(compact=False)
    return report


def look_at(table: CollectionTable, uris: Uris, wanted: Wanted) -> Generator[list[Outcome], None, None]:
    """Yield the outcomes of videos as they end, each video once; nothing is put into the table."""
    stopped = threading.Event()
    pool = ThreadPoolExecutor(wanted.jobs, thread_name_prefix="mediaref-index")
    try:
        yield from _outcomes(pool, _tasks(table, uris, wanted, stopped), wanted.jobs)
    finally:
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)


class CommitBatch:
    """The outcomes of the next commit, each of which is reported once it is in the table.

    Args:
        table: The table.
        settle: Called with each video once it is there, and with those of which there is nothing to put in.
    """

    def __init__(self, table: CollectionTable, settle: Callable[[AddedVideo], None]) -> None:
        self._table, self._settle = table, settle
        self._begin()

    def _begin(self) -> None:
        self._outcomes: list[Outcome] = []
        self._bytes = 0
        self._began = time.monotonic()

    def put(self, outcome: Outcome) -> None:
        """Take a video, and commit where there is enough or where enough time has passed."""
        if outcome.rows is None and outcome.left_from is None:
            self._settle(outcome.video)
        else:
            self._outcomes.append(outcome)
            self._bytes += 0 if outcome.rows is None else outcome.rows.nbytes
        is_full = len(self._outcomes) >= _COMMIT_VIDEOS or self._bytes >= _COMMIT_BYTES
        if is_full or time.monotonic() - self._began > _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Put the videos in; of those that had more segments before, the last ones go after it."""
        outcomes = self._outcomes
        self._begin()
        if rows := [outcome.rows for outcome in outcomes if outcome.rows is not None]:
            self._table.put_rows(pa.concat_tables(rows))
        for outcome in outcomes:
            if outcome.left_from is not None:
                key = outcome.key or self._table.key_of(outcome.video.uri)
                self._table.delete([key], outcome.left_from)
            self._settle(outcome.video)


@dataclass(frozen=True)
class _Task:
    """One video to be looked at."""

    uri: str
    segments: Sequence[str | os.PathLike[str]] | None
    rows: VideoRows | None
    table: CollectionTable
    wanted: Wanted
    stopped: threading.Event

    def run(self) -> Outcome:
        """Return the video's rows, or that those in the table are fresh, or its error."""
        try:
            return self._outcome()
        except MissingExtraError:  # every other video would fail in the same way
            raise
        except MediaRefError as error:
            return Outcome(AddedVideo(self.uri, "failed", error=error))

    def _outcome(self) -> Outcome:
        wanted, video = self.wanted, self._video
        video.permitted_video()
        found = self._found()
        if not wanted.overwrite and self._is_enough(found):
            assert self.rows is not None
            return Outcome(AddedVideo(self.uri, "kept"), left_from=self.rows.left_from)
        if not wanted.overwrite:
            found.check_replaceable(video.uri)
        sidecar = find_index(video, is_name=self.segments is not None)
        if not wanted.overwrite and self._is_enough(sidecar):
            return self._new(sidecar.tables)
        timestamps = self._own_timestamps(sidecar)
        index = self._scanned(self.segments or found.segment_uris or sidecar.segment_uris, timestamps)
        tables = tuple(index.segment_table(number) for number in range(len(index.segments)))
        warn_of_problems(video.uri, list(tables))
        return self._new(tables)

    def _own_timestamps(self, sidecar: FoundIndex) -> Float64Array | None:
        """Return the timestamps that were given to the index next to the video, from a clock for example.

        Raises:
            FrameIndexStaleError: They are of another file.
        """
        if not self.wanted.overwrite and sidecar.state == STALE:
            sidecar.check_replaceable(self._video.uri)
        if sidecar.index is None or sidecar.state == STALE or not sidecar.has_own_timestamps:
            return None
        return sidecar.index.timestamps()

    def _scanned(
        self, segments: Sequence[str | os.PathLike[str]] | None, timestamps: Float64Array | None
    ) -> LanceFrameIndex:
        try:
            return scan_frame_index(
                self.uri,
                segments=segments,
                timestamps=timestamps,
                storage_options=self.table.storage_options,
                progress=self._check_stopped,
                full=self.wanted.full,
                decode=self.wanted.decode,
                access=self.table.access,
            )
        except ValueError as error:
            if isinstance(error, MediaRefError) or timestamps is None:
                raise
            raise FrameIndexInvalidError(
                f"the index next to the video has timestamps that are not those of its frames: {error}",
                uri=self._video.uri,
            ) from error

    def _new(self, tables: Sequence[SegmentTable]) -> Outcome:
        """Return the outcome of a video that goes in: its rows are packed in this thread."""
        video = AddedVideo(
            self.uri,
            "added" if self.rows is None else "replaced",
            sum(len(table) for table in tables),
            len(tables),
            tuple(problems_of(list(tables)).texts()),
        )
        rows = rows_of(self.table, {self.uri: tables})
        had_more = self.rows is not None and self.rows.has_segments_from(len(tables))
        return Outcome(video, rows, len(tables) if had_more else None)

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


def _tasks(
    table: CollectionTable, uris: Uris, wanted: Wanted, stopped: threading.Event
) -> Iterator[_Task | _Refused]:
    """Yield a task for each video, each once; the rows of some hundred are read together."""
    segments = {os.fspath(uri): parts for uri, parts in uris.items()} if isinstance(uris, Mapping) else {}
    seen: dict[str, str] = {}
    left = (os.fspath(uri) for uri in uris)
    while some := list(islice(left, _ASKED_AT_ONCE)):
        keys: dict[str, str] = {}
        for uri in some:
            try:
                keys[uri] = table.key_of(uri)
            except InvalidReferenceError as error:
                yield _Refused(uri, error)
        rows = table.find(keys.values())
        for uri, key in keys.items():
            first = seen.setdefault(key, uri)
            if first == uri:
                yield _Task(uri, segments.get(uri), rows.get(key), table, wanted, stopped)
            elif absolute_location(first) != absolute_location(uri):
                yield _Refused(uri, same_row_error(uri, first))


def same_row_error(uri: str, first: str) -> InvalidReferenceError:
    """Return the error of a video that would have the row of another one."""
    return InvalidReferenceError(
        "expected videos whose URIs differ without their queries, which rows do not have, found "
        f"{redact(first)} as well; write an index of its own for one of them (write_frame_index)",
        uri=uri,
    )


@dataclass(frozen=True)
class _Refused:
    """A video that no row can have."""

    uri: str
    error: MediaRefError

    def run(self) -> Outcome:
        """Return its error as its outcome."""
        return Outcome(AddedVideo(self.uri, "failed", error=self.error))


def _outcomes(
    pool: ThreadPoolExecutor, tasks: Iterator[_Task | _Refused], jobs: int
) -> Iterator[list[Outcome]]:
    """Yield the outcomes of videos as they end, those that ended since the last yield in the order of tasks.

    Twice as many tasks as there are jobs are taken ahead.
    """
    running: list[Future[Outcome]] = [pool.submit(task.run) for task in islice(tasks, 2 * jobs)]
    while running:
        ended = wait(running, _WAIT_SECONDS, FIRST_COMPLETED).done
        done = [future for future in running if future in ended]
        running = [future for future in running if future not in ended]
        running += [pool.submit(task.run) for task in islice(tasks, len(done))]
        yield [future.result() for future in done]
