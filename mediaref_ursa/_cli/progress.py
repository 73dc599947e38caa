"""What the command line says: lines on stdout, errors and a progress bar on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

BAR_STEPS = 200
_CLEAR_LINE = "\r\x1b[2K"


class Bar:
    """A progress bar on stderr where that is a terminal, and nothing where it is not.

    Args:
        label: What is going on.
        length: Steps in all: bytes of all files, for one.
    """

    def __init__(self, label: str, length: int) -> None:
        self._label = label
        self._length = length
        self._bar: ProgressBar[int] | None = None
        self._is_drawn = False
        self._position = 0

    @property
    def is_displayed(self) -> bool:
        """Whether the bar is displayed."""
        return sys.stderr.isatty()

    def move_to(self, position: int, length: int, label: str | None = None) -> None:
        """Move the bar to how far it is, of how much; never back."""
        if not self.is_displayed or position <= self._position:
            return
        if self._bar is None:  # made now, and not before: it estimates by the time since it was made
            steps = max(self._length // BAR_STEPS, 1)
            self._bar = click.progressbar(
                length=max(length, 1), label=self._label, file=sys.stderr, update_min_steps=steps
            )
        if not self._is_drawn:
            self._bar.__enter__()
            self._is_drawn = True
        self._bar.length = max(length, 1)
        self._bar.label = label or self._bar.label
        self._bar.update(position - self._position)
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
def progress_bar(label: str, length: int) -> Iterator[Bar]:
    """Give a bar that is wiped in the end."""
    bar = Bar(label, length)
    try:
        yield bar
    finally:
        bar.close()


def print_line(text: str, *, err: bool = False) -> None:
    """Print text, with a question mark for what no terminal shows: bytes of file names that are no UTF-8."""
    click.echo(text.encode("utf-8", "replace").decode("utf-8"), err=err)


def print_error(message: str, *, kind: str = "error") -> None:
    """Print one line to stderr."""
    print_line(f"{kind}: " + " ".join(message.splitlines()), err=True)


def report_failures(failures: Sequence[Exception], total: int, what: str) -> None:
    """Print the errors of videos, and how many of several there were."""
    for failure in failures:
        print_error(str(failure))
    if failures and total > 1:
        print_error(f"{len(failures)} of {total} videos could not be {what}")


def size_text(count: int) -> str:
    """Return bytes as people read them.

    >>> size_text(999), size_text(1_500_000), size_text(50_000_000_000)
    ('999 bytes', '1.5 MB', '50.0 GB')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
