"""The command line: ``mediaref-ursa index``, ``inspect`` and ``demo``.

Everything heavy is imported inside the commands, so that ``--help`` and ``--version`` are quick.
"""

from __future__ import annotations

import errno
import json
import tempfile
from pathlib import Path
from typing import Any

import click

from mediaref_ursa import __version__
from mediaref_ursa._cli_bar import BAR_STEPS, progress_bar, say, say_error
from mediaref_ursa._cli_cache import cache
from mediaref_ursa._cli_index import index
from mediaref_ursa._errors import MediaRefError

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class _Group(click.Group):
    """Commands that end with one line, and not with a traceback, on errors that are foreseen."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; the exit code is 1 after an error and 130 after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except MediaRefError as error:
            say_error(str(error))
        except OSError as error:
            if error.errno == errno.EPIPE:  # nobody reads on: Click ends quietly then
                raise
            say_error(str(error))
        except KeyboardInterrupt:
            say_error("interrupted")
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
main.add_command(index)


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
        scanned = scan_frame_index(video, segments=found.segment_uris)
        tables = tuple(scanned.segment_table(number) for number in range(len(scanned.segments)))
    report = report_on(video, tables, found.state)
    if found.reason:
        say(f"note: the frame index is not used: {found.reason}", err=True)
    say(json.dumps(report.to_dict(), indent=2) if as_json else report.to_text())


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
    with progress_bar("linear decode", BAR_STEPS) as bar:
        result = run_demo(
            video,
            directory,
            seed=seed,
            write_index=write_index,
            say=bar.say,
            progress=lambda done, total: bar.move_to(
                BAR_STEPS * min(done, total) // max(total, 1), BAR_STEPS
            ),
        )
    for wrong in result.wrong:
        say_error(str(wrong))
    say(str(result.contact_sheet))
    if result.wrong:
        ctx.exit(1)
