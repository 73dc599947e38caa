"""Runs the pages whose examples need other libraries."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from _pages import ExampleError, blocks_of, run_block

DOCS = Path(__file__).parents[1] / "docs"


def run_library_page(
    name: str,
    example_files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Run all examples of a page in one namespace, and compare the output that it shows."""
    shutil.copytree(example_files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "example"}
    printed, ran = "", 0
    for block in blocks_of(DOCS / name):
        if block.is_example or block.needs_libraries:
            run_block(block, namespace)
            printed, ran = capsys.readouterr().out, ran + 1
        elif (block.is_output or block.is_library_output) and block.code.rstrip() != printed.rstrip():
            raise ExampleError(f"{block}: expected the output\n{block.code}\nfound\n{printed}")
    assert ran, "a page without examples"
