"""Imports point downwards only, and each heavy library is imported in its own folders."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mediaref_ursa

PACKAGE = Path(mediaref_ursa.__file__).parent

FOLDERS = (
    "_core",
    "layout",
    "_bitstream",
    "_model",
    "_containers",
    "_cache",
    "_lance",
    "store",
    "_pyav",
    "_plan",
    "_scan",
    "_images",
    "_references",
    "_index",
    "_video",
    "_decode",
    "_batch",
    "_lazy",
    "table",
    "catalog",
    "lerobot",
    "mcap",
    "torch",
    "ray",
    "check",
    "video_decoder",
    "cached_av",
    "resource_cache",
    "compat",
    "hf",
    "nwb",
    "batch",
    "core",
    "data_uri",
    "_cli",
    "__main__",
)
"""From the bottom up: what a folder may import stands above it. A module of the root is a folder of one."""

RANK_OF = {name: rank for rank, name in enumerate(FOLDERS)}
UPWARDS = frozenset({("mediaref_ursa._references.media_ref", "_batch")})
"""``MediaRef.to_ndarray`` decodes, which it imports when it is called."""

PURE = frozenset({"_core", "layout", "_bitstream", "_model", "_containers", "_plan"})
"""Need the standard library and numpy only."""

HOMES = {
    "av": {"_pyav", "_scan", "_decode", "_cli"},
    "lance": {"_lance"},
    "pyarrow": {
        "_lance",
        "_index",
        "_references",
        "catalog",
        "check",
        "table",
        "lerobot",
        "mcap",
        "torch",
        "ray",
        "hf",
        "nwb",
        "_cli",
    },
    "PIL": {"_images", "_cli"},
    "requests": {"store"},
    "urllib3": {"store"},
    "fsspec": {"store"},
    "temporaldata": {"_lazy"},
    "torch": {"_decode", "hf", "lerobot", "torch"},
    "mcap": {"mcap"},
    "rosbags": {"mcap"},
    "mcap_protobuf": {"mcap"},
    "google": {"mcap"},
    "torchcodec": {"_decode"},
    "ray": {"ray"},
    "datasets": {"hf"},
    "pynwb": {"nwb"},
    "hdmf": {"nwb"},
    "pandas": set(),
}
"""Which folders may import a heavy library."""


@dataclass(frozen=True)
class Import:
    """One import statement: who imports what, and whether only the type checker sees it."""

    module: str
    target: str
    typing_only: bool
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def folder_of(module: str) -> str:
    """Return the folder that a module is in, or itself in the root; ``""`` for the package."""
    return module.partition(".")[2].partition(".")[0]


def rank(module: str) -> int:
    """Return a module's place in the list of folders; one that has none yet is above all others."""
    return RANK_OF.get(folder_of(module), len(FOLDERS))


def imports_of(module: str) -> Iterator[Import]:
    """Yield every import of a module, those inside functions and under TYPE_CHECKING included."""
    yield from _walk(ast.parse(SOURCES[module].read_text(encoding="utf-8")), module, typing_only=False)


def _walk(node: ast.AST, module: str, *, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(module, alias.name, typing_only, child.lineno)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{module}: a relative import in line {child.lineno}"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                yield Import(
                    module, whole if whole in SOURCES else str(child.module), typing_only, child.lineno
                )
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for part in child.body:
                yield from _walk(ast.Module([part], []), module, typing_only=True)
            for part in child.orelse:
                yield from _walk(ast.Module([part], []), module, typing_only=typing_only)
        else:
            yield from _walk(child, module, typing_only=typing_only)


IMPORTS = [found for module in SOURCES for found in imports_of(module)]
OURS = [found for found in IMPORTS if found.target.partition(".")[0] == "mediaref_ursa"]


def test_every_module_is_in_a_folder_of_the_list() -> None:
    found = {folder_of(module) for module in SOURCES} - {""}

    assert found - set(FOLDERS) == set(), "add it to FOLDERS, and to docs/architecture.md"


ROOT_FILES = {"__init__.py", "__main__.py", "py.typed"}


def test_the_root_holds_folders_and_public_modules_only() -> None:
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}

    assert {name for name in files - ROOT_FILES if name.startswith("_")} == set()
    assert {name.removesuffix(".py") for name in files - ROOT_FILES} <= set(FOLDERS)


@pytest.mark.parametrize("typing_only", [False, True], ids=["imports", "imports for the type checker"])
def test_imports_point_downwards(typing_only: bool) -> None:
    upwards = [
        str(found)
        for found in OURS
        if found.typing_only == typing_only
        and folder_of(found.module)
        and folder_of(found.target)
        and rank(found.target) > rank(found.module)
        and (found.module, folder_of(found.target)) not in UPWARDS
    ]

    assert upwards == []


def test_only_programs_use_the_public_names() -> None:
    """The package loads modules when their names are used; below the command line none loads it."""
    strays = [
        str(found)
        for found in OURS
        if folder_of(found.module) and not folder_of(found.target) and rank(found.module) < RANK_OF["_cli"]
    ]

    assert strays == []


def test_imports_go_round_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for found in OURS:
        if not found.typing_only and folder_of(found.module) and folder_of(found.target):
            graph.setdefault(found.module, set()).add(found.target)
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {error.args[1]}")
    assert order


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_imported_only_where_it_belongs(library: str) -> None:
    strays = [
        str(found)
        for found in IMPORTS
        if found.target.partition(".")[0] == library
        and not found.typing_only
        and folder_of(found.module) not in HOMES[library]
    ]

    assert strays == []


def test_pure_folders_need_the_standard_library_and_numpy_only() -> None:
    """Errors, time, tables and plans can be read and tested without any media library."""
    foreign = [
        str(found)
        for found in IMPORTS
        if folder_of(found.module) in PURE
        and found.target.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "mediaref_ursa"}
    ]

    assert foreign == []


def test_the_reader_of_imports_sees_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        "import av\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from PIL import Image\nelse:\n    import requests\n"
        "def function():\n    with open('x'):\n        from mediaref_ursa._index.lance_table import write\n",
        encoding="utf-8",
    )
    monkeypatch.setitem(SOURCES, "mediaref_ursa.module", source)

    found = {(one.target, one.typing_only) for one in imports_of("mediaref_ursa.module")}

    assert found == {
        ("av", False),
        ("typing", False),
        ("PIL", True),
        ("requests", False),
        ("mediaref_ursa._index.lance_table", False),
    }
