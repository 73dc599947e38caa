"""Imports point downwards only, and each heavy library is imported in its own module group."""

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

LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "_wording",
        "_uri_text",
        "_errors",
        "_failed_scans",
        "_warnings",
        "_time",
        "_seconds",
        "_ranges",
        "_extras",
        "_counting",
        "_cached_property",
        "_forking",
        "_keywords",
        "_interpreter_exit",
        "_helper_threads",
        "_reentry",
        "_bitstream",
    ),
    (
        "_uris",
        "_storage_options",
        "layout",
        "_containers",
        "_raw_streams",
        "_image_kinds",
        "_encryption",
        "_broken_files",
        "_reader",
        "_pixels",
        "_stream_header",
        "_frame_table",
        "_alpha",
        "_feed",
        "_index_metadata",
        "_mp4_boxes",
        "_access",
        "_container_counts",
        "_memory",
        "_segment_uris",
        "_lance_manifest",
        "_process_limits",
        "_folder_lock",
    ),
    (
        "_damage",
        "_plan",
        "_reads",
        "_decode_plan",
        "_resolve",
        "_timeline",
        "_run_movie",
        "_steps",
        "_trail",
        "_frame_rows",
        "_lazy_frames",
    ),
    ("store", "_pillow", "_lance", "_arrow", "_pyav", "_torchcodec", "_series"),
    (
        "_images",
        "_scan_uri",
        "_open_store",
        "_found_index",
        "_frame_index",
        "_guarded_scan",
        "_index_place",
        "_index_writing",
        "_listing",
        "_sources",
        "_fetch",
        "_crew",
        "_execute",
        "_references",
        "_recording",
    ),
    (
        "_batch",
        "_media_ref",
        "_data_uri",
        "_lazy_video",
        "batch",
        "catalog",
        "core",
        "data_uri",
        "_video_series",
        "table",
        "video_decoder",
    ),
    ("_cli", "_demo", "_index_state", "_inspect"),
)
"""From the bottom up. A package stands for all of its modules."""

PARTS = {
    "_lance_calls": "_lance",
    "_lance_rows": "_lance",
    "_torchcodec_transforms": "_torchcodec",
    "_torchcodec_library": "_torchcodec",
    "_lance_files": "_lance",
    "_lance_process": "_lance",
    "_cache": "store",  # the cache on disk is read as a store
    "_segment_cache": "store",
    "_cli_cache": "_cli",
    "_demo_check": "_demo",  # the demo makes videos, pictures and tables of its own
    "_demo_pictures": "_demo",
    "_batch_call": "_batch",
    "_scan_child": "_guarded_scan",
    "_cli_bar": "_cli",
    "_cli_demo": "_cli",
    "__main__": "_cli",
    "_cli_index": "_cli",
    "_video_series": "_lazy_video",
    "_lazy_concat": "_lazy_video",
}
"""Modules that are one with another, as those of a package are."""

LAYER_OF = {name: number for number, names in enumerate(LAYERS, start=1) for name in names}
LIBRARIES_LAYER = 4  # one group a heavy library; these do not import one another

HOMES = {
    "av": {"_pyav", "_demo"},
    "lance": {"_lance"},
    "pyarrow": {"_lance", "_arrow", "catalog", "table", "_demo"},
    "PIL": {"_pillow", "_demo"},
    "requests": {"store"},
    "urllib3": {"store"},
    "fsspec": {"store"},
    "temporaldata": {"_series"},
    "torch": {"_torchcodec"},
    "torchcodec": {"_torchcodec"},
    "pandas": set(),
}
"""Which groups may import a heavy library."""


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


def group_of(module: str) -> str:
    """Return the layer table's name for a module, ``""`` for the package itself."""
    name = module.partition(".")[2].partition(".")[0]
    return PARTS.get(name, name)


def layer(module: str) -> int:
    """Return a module's layer; one that has none yet is above all others."""
    return LAYER_OF.get(group_of(module), len(LAYERS) + 1)


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


def test_every_module_has_a_layer() -> None:
    groups = {group_of(module) for module in SOURCES} - {""}

    assert groups - set(LAYER_OF) == set(), "add them to LAYERS, and to docs/architecture.md"


@pytest.mark.parametrize("typing_only", [False, True], ids=["imports", "imports for the type checker"])
def test_imports_point_downwards(typing_only: bool) -> None:
    upwards = [
        str(found)
        for found in OURS
        if found.typing_only == typing_only
        and group_of(found.module)
        and group_of(found.target)
        and layer(found.target) > layer(found.module)
    ]

    assert upwards == []


def test_modules_of_heavy_libraries_do_not_import_one_another() -> None:
    sideways = [
        str(found)
        for found in OURS
        if layer(found.module) == layer(found.target) == LIBRARIES_LAYER
        and group_of(found.module) != group_of(found.target)
    ]

    assert sideways == []


def test_only_programs_use_the_public_names() -> None:
    """The package loads modules when their names are used; below the command line none loads it."""
    strays = [
        str(found)
        for found in OURS
        if group_of(found.module) and not group_of(found.target) and layer(found.module) < len(LAYERS)
    ]

    assert strays == []


def test_imports_go_round_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for found in OURS:
        if not found.typing_only and group_of(found.module) and group_of(found.target):
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
        and group_of(found.module) not in HOMES[library]
    ]

    assert strays == []


def test_the_lowest_layers_need_the_standard_library_and_numpy_only() -> None:
    """Errors, time, tables and plans can be read and tested without any media library."""
    foreign = {
        found.target.partition(".")[0]
        for found in IMPORTS
        if group_of(found.module) and layer(found.module) < LIBRARIES_LAYER
    }

    assert foreign - sys.stdlib_module_names == {"numpy", "mediaref_ursa"}


def test_the_reader_of_imports_sees_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        "import av\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from PIL import Image\nelse:\n    import requests\n"
        "def function():\n    with open('x'):\n        from mediaref_ursa._lance import write_index\n",
        encoding="utf-8",
    )
    monkeypatch.setitem(SOURCES, "mediaref_ursa.module", source)

    found = {(one.target, one.typing_only) for one in imports_of("mediaref_ursa.module")}

    assert found == {
        ("av", False),
        ("typing", False),
        ("PIL", True),
        ("requests", False),
        ("mediaref_ursa._lance", False),
    }
