"""The command line: ``mediaref-ursa index``, ``inspect`` and ``demo``.

Everything heavy is imported inside the commands, so that ``--help`` and ``--version`` are quick.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from mediaref_ursa import __version__
from mediaref_ursa._errors import MediaRefError
from mediaref_ursa._uri_text import redact
from mediaref_ursa._uris import is_local, local_path

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_BAR_STEPS = 200
_CLEAR_LINE = "\r\x1b[2K"


class _Group(click.Group):
    """A group whose commands end with one line, not a traceback, on errors that are foreseen."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MediaRefError as error:
            _say_error(str(error))
        except OSError as error:
            if error.errno == errno.EPIPE:  # Click ends quietly when nobody reads on
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


@main.command()
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True)
@click.option("--overwrite", is_flag=True, help="Write indexes anew that are fresh.")
def index(videos: tuple[str, ...], overwrite: bool) -> None:
    """Write the frame index of each VIDEO to VIDEO.lance.

    An index that is fresh is kept; one that is stale or damaged is written anew.
    """
    failures: list[MediaRefError] = []
    sizes = [_size_bytes(video) for video in videos]
    with _progress_bar("indexing", sum(sizes)) as bar:
        try:
            for number, video in enumerate(videos):
                try:
                    line = _index_one(video, overwrite, bar, sum(sizes[:number]))
                except MediaRefError as error:
                    failures.append(error)
                else:
                    bar.say(line)
                bar.done(sum(sizes[: number + 1]))
        finally:
            bar.close()
            for failure in failures:
                _say_error(str(failure))
    if failures:
        _say_error(f"{len(failures)} of {len(videos)} videos could not be indexed")
        raise SystemExit(1)
