"""``mediaref-ursa pack``: many videos or images into one Lance table."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import click

from mediaref_ursa._cli.progress import print_error, print_line, progress_bar, report_failures
from mediaref_ursa._core.errors import DamagedMediaWarning, MediaRefError
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.uris import is_local, is_path, local_path
from mediaref_ursa._core.wording import counted

_JOBS = min(4, os.cpu_count() or 1)


@click.command()
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True)
@click.option(
    "--into", metavar="TABLE", required=True, help="The table, such as set.lance; made if not there."
)
@click.option("--column", default="video", show_default=True, help="The column that holds the media.")
@click.option(
    "--root", metavar="DIR", help="What the keys of rows begin below; a single folder given, else shared."
)
@click.option(
    "--no-index", is_flag=True, help="The files are images, or shall have no frame index in the table."
)
@click.option(
    "--jobs", type=click.IntRange(min=1), default=_JOBS, show_default=True, help="Videos scanned at once."
)
@click.pass_context
def pack(
    ctx: click.Context,
    videos: tuple[str, ...],
    into: str,
    column: str,
    root: str | None,
    no_index: bool,
    jobs: int,
) -> None:
    """Put VIDEOs and their frame indexes into one Lance table, one row a file.

    A VIDEO is a path, a URL, a folder (for all videos below it) or a pattern in quotes such as
    's3://bucket/takes/*.mp4'. References name a row by the path of its file below --root: after
    "mediaref-ursa pack takes --into takes.lance", takes.lance/@video/monday/a.mp4 is takes/monday/a.mp4.

    Files that are in the table are left alone, so that a command that was stopped goes on where it was. What
    is no video is left out, with an error.
    """
    from mediaref_ursa._index.pack import pack_videos
    from mediaref_ursa.store._glob import all_videos_named

    listed, failures = all_videos_named(videos)
    total, done = len(listed) + len(failures), 0
    with progress_bar("packing") as bar, warnings.catch_warnings(record=True) as damaged:
        warnings.simplefilter("always", DamagedMediaWarning)

        def show(_: str) -> None:
            nonlocal done
            done += 1
            bar.move_to(done, len(listed), f"packing {done}/{len(listed)} files")

        try:
            pack_videos(
                [video.uri for video in listed],
                into,
                column=column,
                root=root if root is not None else _folder_of(videos),
                index=not no_index,
                jobs=jobs,
                progress=show,
                on_error=failures.append,
            )
        except ValueError as error:
            if isinstance(error, MediaRefError):
                raise
            raise click.UsageError(str(error)) from error
    for warning in damaged:
        print_error(str(warning.message), kind="warning")
    print_line(f"{redact(into)}: {done} of {counted(total, 'file')} in the table")
    report_failures(failures, total, "packed")
    if failures:
        ctx.exit(1)


def _folder_of(videos: tuple[str, ...]) -> str | None:
    """Return the folder that is given alone: what is added to it later keeps the keys of the rest."""
    if (
        len(videos) == 1
        and is_local(videos[0])
        and is_path(videos[0])
        and Path(local_path(videos[0])).is_dir()
    ):
        return videos[0]
    return None
