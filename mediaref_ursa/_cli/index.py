"""``mediaref-ursa index``: the frame indexes of many videos, several at once."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mediaref_ursa._cli.index_into import IntoOptions, index_into
from mediaref_ursa._cli.progress import Bar, print_error, progress_bar, size_text
from mediaref_ursa._core.errors import DamagedMediaWarning, MediaRefError, MissingExtraError
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.uris import absolute_location, is_local, local_path
from mediaref_ursa._core.wording import counted
from mediaref_ursa.layout import INDEX_SUFFIX, lance_frame_index_uri

if TYPE_CHECKING:
    from mediaref_ursa._index.frame_index import LanceFrameIndex
    from mediaref_ursa.store._glob import Listed

_JOBS = min(4, os.cpu_count() or 1)
_DRAW_SECONDS = 0.1


class _StoppedError(Exception):
    """Raised inside a scan whose result is no longer wanted."""


@dataclass(frozen=True)
class _Wanted:
    """The options of the command, the same for every video."""

    overwrite: bool
    full: bool
    decode: bool
    index_dir: str | None
    hidden: bool | None


@click.command()
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True)
@click.option("--overwrite", is_flag=True, help="Replace an index, whatever stands there.")
@click.option("--full", is_flag=True, help="Read every byte of remote videos; rebuild indexes that did not.")
@click.option(
    "--decode", is_flag=True, help="Decode every frame to find damaged pictures; check indexes that did not."
)
@click.option(
    "--strict", is_flag=True, help="Fail if frames of a video are lost: cut short, damaged, repeated times."
)
@click.option("--index-dir", metavar="DIR", help="Write indexes to DIR, a directory or the URI of one.")
@click.option(
    "--hidden",
    is_flag=True,
    help="Write indexes to the folder .mediaref next to each video; move there an index that is next to it.",
)
@click.option(
    "--into",
    metavar="PATH",
    help="Put indexes into the collection at PATH, one table for all videos; it is made where there is none.",
)
@click.option(
    "--base-dir",
    metavar="DIR",
    help="Where relative references of a table begin; else the working directory.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), default=_JOBS, show_default=True, help="Videos indexed at once."
)
@click.pass_context
def index(
    ctx: click.Context,
    videos: tuple[str, ...],
    overwrite: bool,
    full: bool,
    decode: bool,
    strict: bool,
    index_dir: str | None,
    hidden: bool,
    into: str | None,
    base_dir: str | None,
    jobs: int,
) -> None:
    """Write the frame index of each VIDEO to VIDEO.lance, or hidden to .mediaref/VIDEO.lance.

    A VIDEO is a path, a URL, a folder (for all videos below it), a pattern in quotes such as
    's3://bucket/takes/*.mp4', a table of references (.parquet, .arrow, .feather, .jsonl, .lance) for all
    videos that it names, or the name of a recording of several files that has an index. Where nothing can be
    written next to a video, its index goes to the cache directory, or to --index-dir.

    An index that is fresh is kept, so that a command that was stopped goes on where it was; one that is stale
    is written anew, where it stands.

    With --into, all indexes go into one table, such as set.lance; FOLDER/.mediaref/index.lance is found by
    all videos of the folder without being named. A fresh index next to a video is taken as it is.

    A video of which frames are lost is indexed, with a warning: one that is cut short, has damaged
    pictures (--decode finds them all), or several frames of one time.
    """
    if hidden and index_dir is not None:
        raise click.UsageError("expected --hidden or --index-dir, found both: each names a location")
    if into is not None and (hidden or index_dir is not None):
        raise click.UsageError("expected --into alone, found --hidden or --index-dir: each names a location")
    listed, failures = _listed(videos, base_dir)
    wanted = _Wanted(overwrite, full, decode, index_dir, hidden or None)
    total = len(listed) + len(failures)
    has_gap: list[str] = []
    try:
        with warnings.catch_warnings():  # their problems are printed below
            warnings.simplefilter("ignore", DamagedMediaWarning)
            if into is not None:
                index_into(listed, IntoOptions(into, jobs, overwrite, full, decode), failures, has_gap)
            else:
                _index_all(listed, wanted, jobs, failures, has_gap)
    finally:
        for failure in failures:
            print_error(str(failure))
    if has_gap:
        print_error(f"frames are lost in {len(has_gap)} of {counted(total, 'video')}: {', '.join(has_gap)}")
    if failures and total > 1:
        print_error(f"{len(failures)} of {total} videos could not be indexed")
    if failures or (strict and has_gap):
        ctx.exit(1)


def _listed(names: Sequence[str], base_dir: str | None) -> tuple[list[Listed], list[MediaRefError]]:
    """Return the videos of names and of tables of references, each once, and the errors of the others."""
    from mediaref_ursa.store._glob import TABLE_SUFFIXES, Listed, all_videos_named

    here = [name for name in names if is_local(name)]
    lances = [name for name in here if _is_lance_table(name)]
    tables = [*(name for name in here if name.lower().endswith(TABLE_SUFFIXES)), *lances]
    listed, failures = all_videos_named([name for name in names if name not in tables])
    found = {video.uri: video for video in listed}
    for table in tables:
        from mediaref_ursa._references.table_files import names_of_references, videos_of_table

        path = local_path(table)
        try:
            blocks = None
            if table in lances:
                from mediaref_ursa._index.row_tables import lance_blocks

                blocks = lance_blocks(path, names_of_references)
            found |= {uri: Listed(uri) for uri in videos_of_table(path, base_dir, blocks)}
        except MissingExtraError:
            raise
        except MediaRefError as error:
            failures.append(error)
    return list(found.values()), failures


def _is_lance_table(name: str) -> bool:
    """Whether a name is a Lance table of references, and not the index of a video."""
    if not name.rstrip("/").endswith(INDEX_SUFFIX):
        return False
    from mediaref_ursa._index.row_tables import is_lance_table_of_rows

    return is_lance_table_of_rows(local_path(name))


class _Progress:
    """Files and bytes done, of all videos. Updated by many threads, displayed by one."""

    def __init__(self, listed: Sequence[Listed]) -> None:
        self._sizes = [video.size_bytes or _size_bytes(video.uri) for video in listed]
        self._done = [0] * len(listed)
        self._files = 0
        self._stopped = threading.Event()

    def callback(self, number: int) -> Callable[[int, int], None]:
        """Return the progress callback of one video's scan."""

        def advance(done: int, total: int) -> None:
            if self._stopped.is_set():
                raise _StoppedError
            self._sizes[number], self._done[number] = total, done

        return advance

    def finish(self, number: int) -> None:
        """Count a video as done, whether it was scanned, kept or failed."""
        self._done[number] = self._sizes[number]
        self._files += 1

    def stop(self) -> None:
        """End all scans at their next step."""
        self._stopped.set()

    def show(self, bar: Bar) -> None:
        """Update the progress bar."""
        label = f"indexing {self._files}/{len(self._sizes)} files"
        bar.move_to(sum(self._done), sum(self._sizes), label)

    def text(self) -> str:
        """Return the progress as ``, 3 of 10 files, 1.2 GB of 5.0 GB``; an empty text for a single video."""
        if len(self._sizes) < 2:
            return ""
        done, in_all = size_text(sum(self._done)), size_text(sum(self._sizes))
        return f", {self._files} of {len(self._sizes)} files, {done} of {in_all}"


def _index_all(
    listed: Sequence[Listed], wanted: _Wanted, jobs: int, failures: list[MediaRefError], has_gap: list[str]
) -> None:
    """Index videos on threads; print each result, in their order, and collect warnings of lost frames."""
    import mediaref_ursa._index.build  # noqa: F401 - what is not installed is reported once, here

    progress = _Progress(listed)
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="mediaref-index")
    with progress_bar("indexing") as bar:
        try:
            tasks = [
                pool.submit(_index_one, video.uri, wanted, progress.callback(number))
                for number, video in enumerate(listed)
            ]
            for number, task in enumerate(tasks):
                _wait(task, progress, bar)
                progress.finish(number)
                _note(task, progress, bar, failures, has_gap)
            progress.show(bar)
        finally:
            progress.stop()
            pool.shutdown(wait=True, cancel_futures=True)


def _wait(task: Future[_Indexed], progress: _Progress, bar: Bar) -> None:
    """Wait for a video's result, and draw the bar meanwhile."""
    while bar.is_displayed and not task.done():
        progress.show(bar)
        threading.Event().wait(_DRAW_SECONDS)
    task.exception()


def _note(
    task: Future[_Indexed],
    progress: _Progress,
    bar: Bar,
    failures: list[MediaRefError],
    has_gap: list[str],
) -> None:
    try:
        found = task.result()
    except MissingExtraError:  # every other file would fail in the same way
        raise
    except MediaRefError as error:
        failures.append(error)
    else:
        bar.print_line(found.line + ("" if bar.is_displayed else progress.text()))
        if found.problems:
            has_gap.append(redact(found.video))
            bar.print_warning(f"{redact(found.video)}: {'; '.join(found.problems)}")


@dataclass(frozen=True)
class _Indexed:
    """The result of one video: a line about its index, and the problems of its media."""

    video: str
    line: str
    problems: list[str]


def _index_one(video: str, wanted: _Wanted, progress: Callable[[int, int], None]) -> _Indexed:
    """Write the index of one video, unless one that is of use stands there; say what was done."""
    from mediaref_ursa._index.build import settled, write_frame_index
    from mediaref_ursa._index.found import BASE_COLUMNS, FRESH, NO_INDEX, find_index
    from mediaref_ursa._index.writer import IndexTarget
    from mediaref_ursa.store._location import Location

    location = Location(video).absolute()
    found = find_index(location, wanted.index_dir)
    began = time.perf_counter()
    is_enough = not wanted.overwrite and not (wanted.full and found.is_sparse)
    is_enough = is_enough and not (wanted.decode and not found.is_decoded and not found.has_own_timestamps)
    if found.state in (FRESH, BASE_COLUMNS) and found.index is not None and is_enough:
        kept = settled(found, IndexTarget(location, wanted.index_dir, wanted.hidden))
        return _indexed(video, f"{found.state}, {'kept' if kept is found.index else 'moved'}", kept)
    if not wanted.overwrite:
        found.check_replaceable(video)
    written = write_frame_index(
        video,
        segments=found.segment_uris,
        overwrite=found.state != NO_INDEX,
        progress=progress,
        full=wanted.full or None,
        decode=wanted.decode,
        index_dir=wanted.index_dir,
        hidden=wanted.hidden,
    )
    milliseconds = (time.perf_counter() - began) * 1e3
    what = "written" if found.state == NO_INDEX else f"{found.state}, rebuilt"
    return _indexed(video, what, written, f", {milliseconds:.0f} ms")


def _indexed(video: str, what: str, found: LanceFrameIndex, end: str = "") -> _Indexed:
    from mediaref_ursa._model.damage import problems_of

    tables = [found.segment_table(number) for number in range(len(found.segments))]
    return _Indexed(video, _index_line(video, what, found) + end, problems_of(tables).texts())


def _index_line(video: str, what: str, found: LanceFrameIndex) -> str:
    counts = found.segment_frame_counts()
    frames, segments = int(counts.sum()), len(counts)
    facts = [f"{redact(video)}: {what}", counted(frames, "frame"), counted(segments, "segment")]
    if found.has_packets:
        points = sum(len(found.segment_table(i).random_access_points) for i in range(segments))
        facts.append(counted(points, "random access point"))
    facts += sorted({info.verified for info in found.segments} - {"full"})
    return ", ".join([*facts, *_location_facts(video, found.place)])


def _location_facts(video: str, place: str | None) -> list[str]:
    """Return the index's size on disk, older versions included, and its location if not next to the video."""
    facts = []
    if place is not None and is_local(place):
        size = sum(path.stat().st_size for path in Path(place).rglob("*") if path.is_file())
        facts.append(f"index of {counted(size, 'byte')}")
    if place is not None and place != lance_frame_index_uri(absolute_location(video)):
        facts.append(f"at {redact(place)}")
    return facts


def _size_bytes(video: str) -> int:
    """Return a file's size for the progress bar, 0 on errors, which are reported when the file is scanned."""
    from mediaref_ursa.store import store_for

    try:
        return store_for(video).head(video).size if is_local(video) else 0
    except MediaRefError:
        return 0
