"""``mediaref-ursa``: the group of all commands.

Everything heavy is imported inside the commands, so that ``--help`` and ``--version`` are quick.
"""

from __future__ import annotations

import errno
from typing import Any

import click

from mediaref_ursa import __version__
from mediaref_ursa._cli.cache import cache
from mediaref_ursa._cli.check import check
from mediaref_ursa._cli.demo.command import demo
from mediaref_ursa._cli.index import index
from mediaref_ursa._cli.inspect import inspect
from mediaref_ursa._cli.pack import pack
from mediaref_ursa._cli.progress import print_error
from mediaref_ursa._core.errors import MediaRefError

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


_OF_MEDIAREF = ("enable-hf-feature", "disable-hf-feature", "status")


class _Group(click.Group):
    """A command group that prints one line, and no traceback, on foreseen errors."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a command; of MediaRef's say what to use instead."""
        if args and args[0] in _OF_MEDIAREF:
            ctx.fail(
                f"expected a command of this library, found mediaref's {args[0]!r}, which rewrites the "
                "installed datasets package; import mediaref_ursa.hf registers the feature in your program"
            )
        return super().resolve_command(ctx, args)

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
main.add_command(check)
main.add_command(demo)
main.add_command(index)
main.add_command(inspect)
main.add_command(pack)
