"""Runs the README: every command and every example, as it stands there, with the Python that runs this.

    python .ci/readme.py core FOLDER     where nothing but the core is installed
    python .ci/readme.py video FOLDER    installs the extra `video` as the README says; all works, twice

With the core alone, blocks that are marked `core` work, and what needs video says which command installs it.
FOLDER is new: what the examples write goes there. `pip` runs in the checkout, once.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from _pages import Block, ExampleError, blocks_of, run_block  # noqa: E402

README = ROOT / "README.md"
NEEDS_VIDEO = "pip install 'mediaref-ursa[video]'"
RUN_BY_THE_GATE = 'pip install -e ".[dev]" && pytest'


def commands_of(block: Block) -> list[str]:
    """Return the commands of a `sh` block, a line each, without remarks."""
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in block.code.splitlines())
    return [line for line in lines if line]


def run_command(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one command of a line as a shell does; what pip is told is about the checkout."""
    where = ROOT if command.startswith("pip ") else folder
    scripts = sysconfig.get_path("scripts")
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "PIP_QUIET": "1"}
    print(f"$ {command}", flush=True)
    return subprocess.run(
        command, shell=True, cwd=where, env=environment, capture_output=True, text=True, check=False
    )


def run_with_video(blocks: list[Block], folder: Path, *, again: bool) -> None:
    """Run all commands and examples; hold shown output against what is printed."""
    namespace: dict[str, Any] = {"__name__": "example"}
    printed = ""
    for block in blocks:
        if block.words[:1] == ("sh",):
            printed = "".join(_stdout_of(command, block, folder, again) for command in commands_of(block))
        elif block.is_example:
            print(f"{block}: {block.words}", flush=True)
            with contextlib.redirect_stdout(io.StringIO()) as shown:
                run_block(block, namespace)
            printed = shown.getvalue()
        elif block.words[:1] == ("text",) and _shape(block.code) != _shape(printed):
            raise ExampleError(f"{block}: expected\n{block.code}\nfound\n{printed}")


def _stdout_of(command: str, block: Block, folder: Path, again: bool) -> str:
    printed = ""
    for part in command.split(" && "):
        if command == RUN_BY_THE_GATE or (again and part.startswith("pip ")):
            continue
        done = run_command(part, folder)
        if done.returncode:
            raise ExampleError(f"{block}: {part}\n{done.stdout}{done.stderr}")
        printed += done.stdout
    return printed


def _shape(text: str) -> list[str]:
    """Return what text says apart from numbers, from where files are, and from spaces."""
    text = re.sub(r"\S*/(?=demo/)", "", text)
    return [
        " ".join(re.sub(r"\d+", "0", line).split()).replace("0.0", "0") for line in text.strip().splitlines()
    ]


def run_with_core(blocks: list[Block], folder: Path) -> None:
    """Run all commands and examples where nothing of video is installed."""
    namespace: dict[str, Any] = {"__name__": "example"}
    absent: set[str] = set()
    for block in blocks:
        is_core = "core" in block.words
        if block.words[:1] == ("sh",):
            for command in commands_of(block):
                for part in command.split(" && "):
                    if not part.startswith("pip ") and command != RUN_BY_THE_GATE:
                        _run_part(part, block, folder, is_core)
        elif block.is_example:
            print(f"{block}: {block.words}", flush=True)
            if is_core:
                run_block(block, namespace)
            for part in [] if is_core else statements_of(block):
                run_statement(part, block, namespace, absent)


def _run_part(part: str, block: Block, folder: Path, is_core: bool) -> None:
    done = run_command(part, folder)
    says_so = done.returncode == 1 and done.stderr.rstrip().endswith(NEEDS_VIDEO)
    if done.returncode != 0 if is_core else not says_so:
        raise ExampleError(f"{block}: {part}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def statements_of(block: Block) -> Iterator[ast.stmt]:
    """Yield the statements of a block, imports of several names one by one."""
    for statement in ast.parse(block.code).body:
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                yield ast.copy_location(ast.ImportFrom(statement.module, [alias], 0), statement)
        else:
            yield statement


def run_statement(statement: ast.stmt, block: Block, namespace: dict[str, Any], absent: set[str]) -> None:
    """Run a statement; where it says that video is missing, note the names that it would have bound."""
    from mediaref_ursa import MissingExtraError

    code = compile(ast.Module([statement], []), str(block.path), "exec", dont_inherit=True)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, namespace)
    except MissingExtraError as error:
        if not str(error).endswith(NEEDS_VIDEO):
            raise ExampleError(f"{block}: {error}") from error
    except NameError as error:
        if error.name not in absent:
            raise ExampleError(f"{block}: {error}") from error
    except ModuleNotFoundError as error:  # of the reader's own imports, which we cannot speak for
        if not isinstance(statement, ast.Import | ast.ImportFrom) or "mediaref_ursa" in str(error.name):
            raise ExampleError(f"{block}: {error}") from error
    else:
        return
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and not _is_read(node)}
    aliases = {node.asname or node.name for node in ast.walk(statement) if isinstance(node, ast.alias)}
    absent |= names | aliases


def _is_read(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Load)


def main(mode: str, folder: Path) -> None:
    """Run the README in a mode."""
    folder.mkdir(parents=True)
    blocks = blocks_of(README)
    commands = [command for block in blocks if block.words[:1] == ("sh",) for command in commands_of(block)]
    wanted = ("index", "inspect", "cache", "demo")
    absent = [word for word in wanted if not any(f"mediaref-ursa {word}" in command for command in commands)]
    if absent or RUN_BY_THE_GATE not in commands:
        raise ExampleError(f"expected the README to show {absent or RUN_BY_THE_GATE!r}")
    os.chdir(folder)
    if mode == "core":
        run_with_core(blocks, folder)
    else:
        run_with_video(blocks, folder, again=False)
        run_with_video(blocks, folder, again=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).absolute())
