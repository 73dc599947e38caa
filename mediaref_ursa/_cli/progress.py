"""Output of the command line: lines on stdout, errors and a progress bar on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from tqdm import tqdm

_BAR_FORMAT = "{desc}  {bar}  {percentage:3.0f}%  {remaining}"
_COLUMNS = 80  # of a terminal that does not know its width


class Bar:
    """A progress bar of tqdm on stderr, if that is a terminal.

    Args:
        label: The text in front of the bar.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: tqdm[NoReturn] | None = None
        self._position = 0

    @property
    def is_displayed(self) -> bool:
        """Whether the bar is displayed."""
        return sys.stderr.isatty()

    def move_to(self, position: int, length: int, label: str | None = None) -> None:
        """Set the bar to the amount done, of a total; it never moves back."""
        if not self.is_displayed or position <= self._position:
            return
        if self._bar is None:  # made at the first move, since it estimates by the time since it was made
            self._bar = _new_bar()
        self._bar.total, self._bar.n, self._bar.ncols = max(length, 1), position, _terminal_columns()
        self._bar.set_description_str(label or self._label, refresh=True)
        self._position = position

    def print_line(self, text: str) -> None:
        """Print text to stdout in place of the bar; the next move draws the bar again below it."""
        self._wipe()
        print_line(text)

    def print_warning(self, text: str) -> None:
        """Print text to stderr in place of the bar."""
        self._wipe()
        print_error(text, kind="warning")

    def close(self) -> None:
        """Erase the bar."""
        if self._bar is not None:
            self._bar.close()

    def _wipe(self) -> None:
        if self._bar is not None:
            self._bar.clear()


def _new_bar() -> tqdm[NoReturn]:
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread that draws: every move does
    # A terminal that does not know its size says 0 rows, in which tqdm draws nothing.
    return tqdm(file=sys.stderr, leave=False, bar_format=_BAR_FORMAT, ncols=_terminal_columns(), nrows=20)


def _terminal_columns() -> int:
    with contextlib.suppress(OSError, ValueError):  # not every stream has a descriptor
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    return _COLUMNS


@contextmanager
def progress_bar(label: str) -> Iterator[Bar]:
    """Yield a bar that is erased at the end of the block."""
    bar = Bar(label)
    try:
        yield bar
    finally:
        bar.close()


def print_line(text: str, *, err: bool = False) -> None:
    """Print text, with question marks for bytes of file names that are not UTF-8."""
    click.echo(text.encode("utf-8", "replace").decode("utf-8"), err=err)


def print_error(message: str, *, kind: str = "error") -> None:
    """Print one line to stderr."""
    print_line(f"{kind}: " + " ".join(message.splitlines()), err=True)


def report_failures(failures: Sequence[Exception], total: int, what: str) -> None:
    """Print the errors of videos, and their number if there were several videos."""
    for failure in failures:
        print_error(str(failure))
    if failures and total > 1:
        print_error(f"{len(failures)} of {total} videos could not be {what}")


def size_text(count: int) -> str:
    """Return a number of bytes with a decimal unit.

    >>> size_text(999), size_text(1_500_000), size_text(50_000_000_000)
    ('999 bytes', '1.5 MB', '50.0 GB')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
