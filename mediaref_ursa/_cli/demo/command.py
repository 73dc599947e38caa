"""``mediaref-ursa demo``: references stored, decoded and checked, for each video that is named."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from mediaref_ursa._cli.progress import print_error, print_line, progress_bar, report_failures
from mediaref_ursa._core.errors import MediaRefError, MissingExtraError

_BAR_STEPS = 200
_NAME_CHARACTERS = 60


class _NothingDisplayedError(Exception):
    """Raised if every video failed, so that no output folder stays behind."""


@click.command()
@click.argument("videos", metavar="[VIDEO]...", nargs=-1)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for what is written; a new temporary one without it.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the frames chosen."
)
@click.option("--write-index", is_flag=True, help="Write the index next to VIDEO; else it is kept in memory.")
@click.pass_context
def demo(
    ctx: click.Context, videos: tuple[str, ...], output: Path | None, seed: int, write_index: bool
) -> None:
    """Store references in Parquet, read them back, decode them, and check every frame.

    Without VIDEO, a ten-second clip with a frame counter is encoded first. A VIDEO is what it is for index: a
    path, a URL, a folder, a pattern, or the name of a recording of several files that has an index. A frame
    that differs from a linear decode of the file is an error. The last line is the path of a contact sheet.
    """
    from mediaref_ursa.store._glob import all_videos_named

    listed, failures = all_videos_named(videos)
    names: list[str | None] = [video.uri for video in listed] if videos else [None]
    total = len(names) + len(failures)
    is_wrong = False
    with contextlib.suppress(_NothingDisplayedError), _output_folder(output) as directory:
        for number, name in enumerate(names, start=1):
            target = directory if total == 1 else directory / _folder_name(number, name)
            try:
                with _new_folder(target):
                    is_wrong |= _show(name, target, seed, write_index)
            except MissingExtraError:  # every other video would fail in the same way
                raise
            except MediaRefError as error:
                failures.append(error)
        if len(failures) == total:
            raise _NothingDisplayedError
    report_failures(failures, total, "checked")
    if failures or is_wrong:
        ctx.exit(1)


def _show(video: str | None, directory: Path, seed: int, write_index: bool) -> bool:
    """Run the demo on one video; return whether any frame was wrong."""
    from mediaref_ursa._cli.demo.demo import run_demo

    with progress_bar("linear decode") as bar:
        result = run_demo(
            video,
            directory,
            seed=seed,
            write_index=write_index,
            print_line=bar.print_line,
            progress=lambda done, total: bar.move_to(
                _BAR_STEPS * min(done, total) // max(total, 1), _BAR_STEPS
            ),
        )
    for wrong in result.wrong:
        print_error(str(wrong))
    print_line(str(result.contact_sheet))
    return bool(result.wrong)


def _folder_name(number: int, video: str | None) -> str:
    """Return the name of the result folder of one of several videos.

    >>> _folder_name(3, "s3://bucket/takes/a b.mp4?signature=1")
    '3-a_b.mp4'
    """
    from mediaref_ursa._core.uris import without_query

    name = without_query(video or "").rstrip("/").rpartition("/")[2]
    return f"{number}-{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[-_NAME_CHARACTERS:]}"


@contextmanager
def _output_folder(output: Path | None) -> Iterator[Path]:
    """Yield the caller's output folder, or a new temporary one, which is removed on errors."""
    if output is not None:
        with _new_folder(output):
            yield output
        return
    directory = Path(tempfile.mkdtemp(prefix="mediaref-ursa-demo-"))
    try:
        yield directory
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make a folder if it does not exist; on errors a folder that was made is removed."""
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        if folder in made:
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            for parent in made[1:]:
                parent.rmdir()
        raise
