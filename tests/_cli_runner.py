"""Running the command line in this process."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from mediaref_ursa._cli.main import main


def run(*arguments: str | Path) -> Result:
    """Run a command; its ``stdout`` and ``stderr`` are kept apart."""
    try:
        runner = CliRunner(mix_stderr=False)  # type: ignore[call-arg]  # Click before 8.2
    except TypeError:
        runner = CliRunner()
    return runner.invoke(main, [str(argument) for argument in arguments])
