"""The fenced blocks of Markdown pages, and running those that are Python. Needs nothing but Python."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FENCE = re.compile(r"( *)(`{3,}|~{3,})[ ]*([^`]*)")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        path: The page.
        line: The line of the opening fence, from 1 on.
        words: What stands behind the fence: the language and remarks.
        code: The lines between the fences, without the indentation of the first fence.
    """

    path: Path
    line: int
    words: tuple[str, ...]
    code: str

    @property
    def is_example(self) -> bool:
        return self.words[:1] == ("python",) and not {"no-run", "libraries"} & set(self.words)

    @property
    def needs_libraries(self) -> bool:
        """Whether it is an example for the environment of other libraries."""
        return self.words[:2] == ("python", "libraries")

    @property
    def is_output(self) -> bool:
        return self.words == ("text", "output")

    @property
    def is_library_output(self) -> bool:
        """Whether it is the output of an example for the environment of other libraries."""
        return self.words == ("text", "output", "libraries")

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"


class ExampleError(AssertionError):
    """An example of a page fails, or prints something else than the page shows."""


def blocks_of(path: Path) -> list[Block]:
    """Return all fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        opening = _FENCE.fullmatch(lines[number])
        number += 1
        if opening is None:
            continue
        first, indent, fence = number, len(opening[1]), opening[2]
        while number < len(lines) and not re.fullmatch(rf" *{fence}{fence[0]}* *", lines[number]):
            number += 1
        if number == len(lines):
            raise ExampleError(f"{path.name}:{first}: this block is not closed")
        code = "".join(
            line[min(indent, len(line) - len(line.lstrip())) :] + "\n" for line in lines[first:number]
        )
        found.append(Block(path, first, tuple(opening[3].split()), code))
        number += 1
    return found


def run_block(block: Block, namespace: dict[str, Any]) -> None:
    name = str(block.path)
    try:
        # Empty lines before it give the code the line numbers of its page, in every traceback.
        exec(compile("\n" * block.line + block.code, name, "exec", dont_inherit=True), namespace)
    except Exception as error:
        within = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name
        ]
        line = within[-1] if within else getattr(error, "lineno", None) or block.line
        raise ExampleError(f"{block.path.name}:{line}: {type(error).__name__}: {error}") from error
