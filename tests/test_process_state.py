"""Process-wide state: one registry, one fork hook, one loop that closes it."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import mediaref_ursa
from mediaref_ursa import ReentrantCallError, cleanup_cache
from mediaref_ursa._core import process_state
from mediaref_ursa._core.process_state import ProcessState
from mediaref_ursa._core.reentrancy import LongLock, ShortLock

PACKAGE = Path(mediaref_ursa.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"
LOCKS = (ShortLock, LongLock, type(threading.Lock()), type(threading.RLock()), threading.Semaphore)
NOT_LOADED = {
    "mediaref_ursa.__main__",
    "mediaref_ursa._scan.sandbox.child",
    "mediaref_ursa.cached_av",
    "mediaref_ursa.hf._feature",
    "mediaref_ursa.resource_cache",
}
"""Programs, which importing runs; modules that only raise; and one that needs datasets."""
NEEDED = {"mcap": "mcap", "nwb": "pynwb", "ray": "ray", "torch": "torch"}
"""The libraries of public folders that may be missing."""


def all_modules() -> list[Any]:
    missing = {folder for folder, library in NEEDED.items() if find_spec(library) is None}
    names = [
        name
        for name in (info.name for info in pkgutil.walk_packages([str(PACKAGE)], "mediaref_ursa."))
        if name not in NOT_LOADED and name.split(".")[1] not in missing
    ]
    return [importlib.import_module(name) for name in names]


def test_one_call_of_register_at_fork() -> None:
    calls = [
        (path.relative_to(PACKAGE).as_posix(), node.lineno)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id) == "register_at_fork"
    ]
    assert [path for path, _ in calls] == ["_core/process_state.py"]


def test_every_lock_of_a_module_is_registered() -> None:
    known = {id(state) for state in process_state.registered()}
    for module in all_modules():
        known |= {id(state) for state in process_state.registered()}
        for name, value in vars(module).items():
            is_ours = type(value).__module__.startswith("mediaref_ursa") and not isinstance(value, type)
            parts = [value, *(getattr(value, "__dict__", {}).values() if is_ours else ())]
            if any(isinstance(part, LOCKS) for part in parts):
                assert id(value) in known, f"{module.__name__}.{name} holds a lock that a child inherits"


def test_the_architecture_page_lists_every_registered_state() -> None:
    all_modules()
    page = PAGE.read_text(encoding="utf-8")
    section = page[page.index("## Process-wide state") :].split("\n## ")[0]
    named = set(re.findall(r"^\| `(\w[\w/]*)` \|", section, re.MULTILINE))
    torch_only = {"_decode/torchcodec/library"}  # registered once torch is there
    found = {type(state).__module__.removeprefix("mediaref_ursa.") for state in process_state.registered()}
    assert named - torch_only == {name.replace(".", "/") for name in found} - torch_only


def test_cleanup_cache_closes_every_registered_state(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class State(ProcessState):
        def __init__(self, name: str) -> None:
            self.name = name

        def close(self) -> None:
            closed.append(self.name)

    monkeypatch.setattr(process_state, "_registered", [State("lower"), State("higher")])
    cleanup_cache()
    assert closed == ["higher", "lower"]


def test_what_was_never_loaded_is_not_loaded_by_cleanup_cache() -> None:
    code = (
        "import sys; from mediaref_ursa import cleanup_cache; cleanup_cache();"
        "sys.exit(any(name in sys.modules for name in ('lance', 'requests', 'fsspec', 'av', 'torch')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_cleanup_cache_within_a_change_is_refused() -> None:
    with ShortLock(), pytest.raises(ReentrantCallError):
        cleanup_cache()
