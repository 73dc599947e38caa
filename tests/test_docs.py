"""The documentation is true: its examples run, their output is as shown, and its links lead somewhere."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from _pages import ExampleError, blocks_of, run_block

from mediaref_ursa._cli.demo.demo import run_demo
from mediaref_ursa._index.lance_table import BASE_COLUMNS, SCHEMA
from mediaref_ursa._model.index_metadata import encode_metadata
from mediaref_ursa._model.segment import PacketTable, SegmentInfo

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED_PAGES = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
NEEDS = {"training.md": "torch"}  # the page that imports a library which is in no extra of the tests

_INLINE_CODE = re.compile(r"(`+)[^`].*?\1")
_LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|^ *\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|#|//")
_TABLE_ROW = re.compile(r"\| `(\w+)` \| ([^|]+) \| ([^|]+) \|")


def run_page(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the examples of a page in one namespace; hold the output that it shows against theirs."""
    namespace: dict[str, Any] = {"__name__": "example"}
    printed = ""
    for block in blocks_of(path):
        if block.is_example:
            run_block(block, namespace)
            printed = capsys.readouterr().out
        elif block.is_output and block.code.rstrip() != printed.rstrip():
            raise ExampleError(f"{block}: expected the output\n{block.code}\nfound\n{printed}")


def broken_links(path: Path, root: Path = ROOT) -> list[str]:
    """Return the relative links of a page that lead to no file of the repository."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for block in blocks_of(path):
        end = block.line + block.code.count("\n")
        lines[block.line : end] = [""] * (end - block.line)
    text = "\n".join(lines)
    targets = [one or other for one, other in _LINK.findall(_INLINE_CODE.sub("", text))]
    found = []
    for target in targets:
        if _ELSEWHERE.match(target):
            continue
        place = (path.parent / target.partition("#")[0]).resolve()
        if not (place.exists() and place.is_relative_to(root.resolve())):
            found.append(target)
    return found


def page(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", PAGES[1:], ids=lambda path: path.name)
def test_examples_run(
    path: Path,
    example_files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if path.name in NEEDS:
        pytest.importorskip(NEEDS[path.name])
    shutil.copytree(example_files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    run_page(path, capsys)


def test_examples_of_the_readme_run_twice_on_what_the_demo_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    run_demo(None, Path("demo"), print_line=lambda _: None)
    for _ in range(2):
        run_page(PAGES[0], capsys)


def test_the_readme_says_where_its_commands_run() -> None:
    """Its first command installs the checkout: a newcomer has to get one first."""
    text = PAGES[0].read_text(encoding="utf-8")

    assert "clone of this repository" in text[: text.index("pip install")]


@pytest.mark.parametrize("path", LINKED_PAGES, ids=lambda path: path.name)
def test_relative_links_lead_to_files(path: Path) -> None:
    assert broken_links(path) == []


def test_the_blocks_of_a_page_share_a_namespace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "```python\na = 1\n```\n1. in a list\n\n   ```python\n   if a:\n       print(a + 1)\n   ```\n\n"
        "```text output\n2\n```\n"
    )
    run_page(page(tmp_path, text), capsys)


def test_a_block_that_says_no_run_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_page(page(tmp_path, "```python no-run\n1 / 0\n```\n```pycon\n>>> 1 / 0\n```\n"), capsys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# A\n\n```python\na = 1\n\n1 / 0\n```\n", r"page\.md:6: ZeroDivisionError"),
        ("```python\nassert False, 'no'\n```\n", r"page\.md:2: AssertionError: no"),
        (
            "```python\ndef f():\n    raise KeyError(5)\n```\n\n```python\nf()\n```\n",
            r"page\.md:3: KeyError: 5",
        ),
        ("\n```python\nimport json\njson.loads('')\n```\n", r"page\.md:4: JSONDecodeError"),
        ("\n```python\na = 1\nb = = 2\n```\n", r"page\.md:4: SyntaxError"),
        (
            "```python\nprint(1)\n```\n```text output\n2\n```\n",
            r"page\.md:4: expected the output\n2\n\nfound\n1\n",
        ),
        ("```python\na = 1\n", r"page\.md:1: this block is not closed"),
    ],
)
def test_a_failing_block_names_file_and_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExampleError, match=message):
        run_page(page(tmp_path, text), capsys)


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    text = (
        "[a](page.md) [b](page.md#there) [c](#here) [d](https://host/x) ![e](none.png) [f](none.md 'title')\n"
        "`[g](code.md)` [h](../outside.md)\n\n[i]: gone.md\n\n  ```text\n  [j](code.md)\n  ```\n"
    )
    (tmp_path / "docs").mkdir()
    assert broken_links(page(tmp_path, text), tmp_path) == ["none.png", "none.md", "../outside.md", "gone.md"]


def format_rows() -> dict[str, tuple[str, str]]:
    """Return type and third column of each row of the tables in the description of the format."""
    text = (ROOT / "docs" / "index-format.md").read_text(encoding="utf-8")
    return {name: (kind.strip(), third.strip()) for name, kind, third in _TABLE_ROW.findall(text)}


@pytest.mark.parametrize("field", list(SCHEMA), ids=lambda field: field.name)
def test_the_format_document_has_each_column_and_its_type(field: pa.Field) -> None:
    kind, null = format_rows()[field.name]
    assert field.type == pa.type_for_alias(kind) if kind != "list of struct" else pa.types.is_list(field.type)
    assert null == ("not known" if field.name in ("crc32", "is_reference") else "never")
    assert field.nullable


def test_the_format_document_has_each_key_of_a_segment(example_files: Path, tmp_path: Path) -> None:
    from mediaref_ursa import write_frame_index

    video = str(shutil.copy(example_files / "clip.mp4", tmp_path))
    table = write_frame_index(video).segment_table(0)
    keys = json.loads(encode_metadata([table], f"{video}.lance"))["segments"][0]
    rows = format_rows()
    assert set(rows) == {*SCHEMA.names, *keys}
    assert set(BASE_COLUMNS) <= set(rows)
    assert {*SegmentInfo.__dataclass_fields__, "frames", "packets", "columns_crc32"} == set(keys)
    assert set(PacketTable.__dataclass_fields__) <= set(rows)
