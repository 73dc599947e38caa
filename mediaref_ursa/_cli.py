"""The command line: ``mediaref-ursa index``, ``inspect`` and ``demo``.

Everything heavy is imported inside the commands, so that ``--help`` and ``--version`` are quick.
"""

from __future__ import annotations

import errno
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mediaref_ursa import __version__
from mediaref_ursa._cli_cache import cache
from mediaref_ursa._errors import (
    FrameIndexInvalidError,
    FrameIndexStaleError,
    FrameIndexVersionError,
    MediaRefError,
    MissingExtraError,
)
from mediaref_ursa._uri_text import redact
from mediaref_ursa._uris import is_local, local_path
from mediaref_ursa.layout import lance_frame_index_uri

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from mediaref_ursa._frame_index import LanceFrameIndex

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_BAR_STEPS = 200
_CLEAR_LINE = "\r\x1b[2K"


class _Group(click.Group):
    """Commands that end with one line, and not with a traceback, on errors that are foreseen."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; the exit code is 1 after an error and 130 after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except MediaRefError as error:
            _say_error(str(error))
        except OSError as error:
            if error.errno == errno.EPIPE:  # nobody reads on: Click ends quietly then
                raise
            _say_error(str(error))
        except KeyboardInterrupt:
            _say_error("interrupted")
            ctx.exit(_INTERRUPTED)
        return ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mediaref-ursa")
@click.option("-v", "--verbose", is_flag=True, help="Show the library's log on stderr.")
@click.pass_context
def main(ctx: click.Context, verbose: bool) -> None:
    """Index videos, look at them, and see exact frames come out of references."""
    if verbose:
        from loguru import logger

        logger.enable("mediaref_ursa")
        ctx.call_on_close(lambda: logger.disable("mediaref_ursa"))


main.add_command(cache)


@main.command()
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True)
@click.option("--overwrite", is_flag=True, help="Replace an index, whatever stands there.")
@click.pass_context
def index(ctx: click.Context, videos: tuple[str, ...], overwrite: bool) -> None:
    """Write the frame index of each VIDEO to VIDEO.lance.

    An index that is fresh is kept; one that is stale is written anew.
    """
    failures: list[MediaRefError] = []
    sizes = [_size_bytes(video) for video in videos]
    with _progress_bar("indexing", sum(sizes)) as bar:
        try:
            for number, video in enumerate(videos):
                bar.begin(sum(sizes[:number]), sizes[number])
                _index_or_note(video, overwrite, bar, failures)
        finally:
            bar.close()
            for failure in failures:
                _say_error(str(failure))
    if failures:
        _say_error(f"{len(failures)} of {len(videos)} videos could not be indexed")
        ctx.exit(1)


def _index_or_note(video: str, overwrite: bool, bar: _Bar, failures: list[MediaRefError]) -> None:
    try:
        line = _index_one(video, overwrite, bar.advance)
    except MissingExtraError:  # no other file would fare better
        raise
    except MediaRefError as error:
        failures.append(error)
    else:
        bar.say(line)


def _index_one(video: str, overwrite: bool, progress: Callable[[int, int], None]) -> str:
    """Write the index of one video, unless one that is of use stands there; say what was done."""
    from mediaref_ursa._frame_index import write_frame_index
    from mediaref_ursa._index_state import find_index, require_index_place
    from mediaref_ursa._inspect import BASE_COLUMNS, DAMAGED, FRESH, NEWER, NO_INDEX, STALE

    require_index_place(video)
    found = find_index(video)
    began = time.perf_counter()
    if found.state in (FRESH, BASE_COLUMNS) and found.index is not None and not overwrite:
        return _index_line(video, f"{found.state}, kept", found.index)
    if found.state in (NEWER, DAMAGED) and not overwrite:
        kind = FrameIndexVersionError if found.state == NEWER else FrameIndexInvalidError
        raise kind(f"{found.reason}; --overwrite replaces what stands there", uri=video)
    if found.state == STALE and found.has_own_timestamps and not overwrite:
        raise FrameIndexStaleError(
            "the frame index is stale, and its timestamps were given by its writer: a new one would lose "
            "them; give them to write_frame_index again, or drop them with --overwrite",
            uri=video,
        )
    written = write_frame_index(
        video, segment_uris=found.segment_uris, overwrite=found.state != NO_INDEX, progress=progress
    )
    milliseconds = (time.perf_counter() - began) * 1e3
    what = "written" if found.state == NO_INDEX else f"{found.state}, rebuilt"
    return _index_line(video, what, written) + f", {milliseconds:.0f} ms"


def _index_line(video: str, what: str, found: LanceFrameIndex) -> str:
    counts = found.segment_frame_counts()
    frames, segments = int(counts.sum()), len(counts)
    facts = [f"{redact(video)}: {what}", _count(frames, "frame"), _count(segments, "segment")]
    if found.has_packets:
        points = sum(len(found.segment_table(i).random_access_points) for i in range(segments))
        facts.append(_count(points, "random access point"))
    size = _index_bytes(video)
    return ", ".join(facts if size is None else [*facts, f"index of {size} bytes"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _index_bytes(video: str) -> int | None:
    """Return what the index takes on disk, older versions included; None where it is not on a disk."""
    if not is_local(video):
        return None
    files = Path(lance_frame_index_uri(local_path(video))).rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())


def _size_bytes(video: str) -> int:
    """Return a file's size for the progress bar; what is wrong with it is said when its turn comes."""
    from mediaref_ursa.store import store_for

    try:
        return store_for(video).head(video).size if is_local(video) else 0
    except MediaRefError:
        return 0


@main.command()
@click.argument("video", metavar="VIDEO")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(video: str, as_json: bool) -> None:
    """Print what VIDEO is like, from its frame index, or from a scan if none is fresh."""
    from mediaref_ursa._frame_index import scan_frame_index
    from mediaref_ursa._index_state import find_index
    from mediaref_ursa._inspect import report_on

    found = find_index(video)
    tables = found.tables
    if not tables:
        scanned = scan_frame_index(video, segment_uris=found.segment_uris)
        tables = tuple(scanned.segment_table(number) for number in range(len(scanned.segments)))
    report = report_on(video, tables, found.state)
    if found.reason:
        _say(f"note: the frame index is not used: {found.reason}", err=True)
    _say(json.dumps(report.to_dict(), indent=2) if as_json else report.to_text())


@main.command()
@click.argument("video", metavar="[VIDEO]", required=False)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for what is written; a new temporary one without it.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the frames chosen."
)
@click.option("--write-index", is_flag=True, help="Write the index beside VIDEO; else it is kept in memory.")
@click.pass_context
def demo(ctx: click.Context, video: str | None, output: Path | None, seed: int, write_index: bool) -> None:
    """Store references in Parquet, read them back, decode them, and check every frame.

    Without VIDEO, a ten-second clip with a frame counter is encoded first. A frame that differs from
    a linear decode of the file is an error. The last line is the path of a contact sheet.
    """
    from mediaref_ursa._demo import run_demo

    directory = output or Path(tempfile.mkdtemp(prefix="mediaref-ursa-demo-"))
    directory.mkdir(parents=True, exist_ok=True)
    with _progress_bar("linear decode", _BAR_STEPS) as bar:
        bar.begin(0, _BAR_STEPS)
        result = run_demo(
            video, directory, seed=seed, write_index=write_index, say=bar.say, progress=bar.advance
        )
    for wrong in result.wrong:
        _say_error(str(wrong))
    _say(str(result.contact_sheet))
    if result.wrong:
        ctx.exit(1)


class _Bar:
    """A progress bar on stderr where that is a terminal, and nothing elsewhere.

    Args:
        label: What is going on.
        length: Steps in all: bytes of all files, for one.
    """

    def __init__(self, label: str, length: int) -> None:
        self._bar: ProgressBar[int] | None = None
        if sys.stderr.isatty():
            steps = max(length // _BAR_STEPS, 1)
            self._bar = click.progressbar(
                length=max(length, 1), label=label, file=sys.stderr, update_min_steps=steps
            )
        self._is_drawn = False
        self._position = self._base = self._span = 0

    def begin(self, base: int, span: int) -> None:
        """Say which steps the next part takes: ``span`` from ``base`` on."""
        self._base, self._span = base, span

    def advance(self, done: int, total: int) -> None:
        """Move to the share ``done / total`` of the part; never back."""
        position = self._base + self._span * min(done, total) // max(total, 1)
        if self._bar is None or position <= self._position:
            return
        if not self._is_drawn:
            self._bar.__enter__()
            self._is_drawn = True
        self._bar.update(position - self._position)
        self._position = position

    def say(self, text: str) -> None:
        """Print text to stdout in place of the bar; the next advance draws the bar again below it."""
        self._wipe()
        _say(text)

    def close(self) -> None:
        """Wipe the bar and give the cursor back."""
        if self._bar is not None and self._is_drawn:
            self._wipe()
            self._bar.__exit__(None, None, None)
            self._is_drawn = False

    def _wipe(self) -> None:
        if self._is_drawn:
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()


@contextmanager
def _progress_bar(label: str, length: int) -> Iterator[_Bar]:
    bar = _Bar(label, length)
    try:
        yield bar
    finally:
        bar.close()


def _say(text: str, *, err: bool = False) -> None:
    """Print text, with a question mark for what no terminal shows: bytes of file names that are no UTF-8."""
    click.echo(text.encode("utf-8", "replace").decode("utf-8"), err=err)


def _say_error(message: str) -> None:
    _say("error: " + " ".join(message.splitlines()), err=True)
