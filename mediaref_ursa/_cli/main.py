"""The command line: ``mediaref-ursa index``, ``inspect`` and ``demo``.

Everything heavy is imported inside the commands, so that ``--help`` and ``--version`` are quick.
"""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

import click

from mediaref_ursa import __version__
from mediaref_ursa._cli.cache import cache
from mediaref_ursa._cli.demo.command import demo
from mediaref_ursa._cli.index import index
from mediaref_ursa._cli.progress import print_error, print_line, report_failures
from mediaref_ursa._core.errors import MediaRefError, MissingExtraError

if TYPE_CHECKING:
    from mediaref_ursa._index.report import VideoReport

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class _Group(click.Group):
    """Commands that end with one line, and not with a traceback, on errors that are foreseen."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; the exit code is 1 after an error and 130 after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except MediaRefError as error:
            print_error(str(error))
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of the pipe is gone: Click ends quietly then
                raise
            print_error(str(error))
        except KeyboardInterrupt:
            print_error("interrupted")
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
main.add_command(demo)
main.add_command(index)


@main.command()
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object; a list of them for several videos."
)
@click.pass_context
def inspect(ctx: click.Context, videos: tuple[str, ...], as_json: bool) -> None:
    """Print what each VIDEO is like, from its frame index, or from a scan if none is fresh.

    A VIDEO is what it is for index: a path, a URL, a folder, a pattern, or the name of a recording of several
    files that has an index.
    """
    from mediaref_ursa.store._glob import all_videos_named, names_one_video

    listed, failures = all_videos_named(videos)
    total = len(listed) + len(failures)
    reports: list[VideoReport] = []
    for video in listed:
        try:
            reports.append(_report(video.uri))
        except MissingExtraError:  # no other video would fare better
            raise
        except MediaRefError as error:
            failures.append(error)
        else:
            if not as_json:
                print_line("\n" * (len(reports) > 1) + reports[-1].to_text())
    if as_json and len(videos) == 1 and names_one_video(videos[0]):
        for report in reports:
            print_line(json.dumps(report.to_dict(), indent=2))
    elif as_json:
        print_line(json.dumps([report.to_dict() for report in reports], indent=2))
    report_failures(failures, total, "inspected")
    if failures:
        ctx.exit(1)


def _report(video: str) -> VideoReport:
    from mediaref_ursa._index.build import scan_frame_index
    from mediaref_ursa._index.found import find_index
    from mediaref_ursa._index.report import report_on
    from mediaref_ursa.store._location import Location

    found = find_index(Location(video))
    tables = found.tables
    if not tables:
        scanned = scan_frame_index(video, segments=found.segment_uris)
        tables = tuple(scanned.segment_table(number) for number in range(len(scanned.segments)))
    report = report_on(video, tables, found.state, found.location)
    if found.reason:
        print_line(f"note: the frame index is not used: {found.reason}", err=True)
    return report
