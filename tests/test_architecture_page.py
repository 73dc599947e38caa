"""The page about the architecture lists the folders and modules that there are."""

from __future__ import annotations

import re

import pytest
from test_layers import FOLDERS, HOMES, PACKAGE

PAGE = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRIBUTING = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAX_CONCEPTS = 18


def section(title: str) -> str:
    """Return what stands below a heading of the second level."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def folder_rows() -> list[list[str]]:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|(.*)\|$", section("The folders"), re.MULTILINE)
    return [[cell.strip() for cell in row] for row in rows]


def paths() -> list[str]:
    """Return what the page names of the package: ``folder/module`` and ``folder/module.name``."""
    named = re.findall(r"`(_?\w+(?:/\w+)+(?:\.\w+)*)`", PAGE)
    return sorted({name for name in named if name.partition("/")[0] in FOLDERS})


def test_the_folders_are_those_of_the_layers_in_their_order() -> None:
    assert [name for name, _, _ in folder_rows()] == list(FOLDERS)


def test_the_libraries_of_each_folder_are_those_of_the_layers() -> None:
    listed = {(name, library) for name, _, cell in folder_rows() for library in cell.split(", ") if library}

    assert listed == {(folder, library) for library, folders in HOMES.items() for folder in folders}


@pytest.mark.parametrize("path", paths())
def test_a_module_that_the_page_names_is_there(path: str) -> None:
    module, _, name = path.partition(".")
    here = PACKAGE / module

    assert here.is_dir() or here.with_suffix(".py").is_file()
    if name:
        source = here.with_suffix(".py").read_text(encoding="utf-8")
        assert re.search(rf"^(?:def|class) {name}\b|^{name}\b.* = ", source, re.MULTILINE)


@pytest.mark.parametrize(
    "path", re.findall(r"`((?:_\w+|store|video_decoder)/\w*(?:/\w+)*(?:\.py)?)`", CONTRIBUTING)
)
def test_a_module_that_contributors_are_sent_to_is_there(path: str) -> None:
    assert (PACKAGE / path).exists()


def test_the_concepts_can_be_held_in_a_head() -> None:
    concepts = re.findall(r"^\d+\. \*\*", section("The concepts"), re.MULTILINE)

    assert 0 < len(concepts) <= MAX_CONCEPTS
