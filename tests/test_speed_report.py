"""The benchmark's page says what its JSON holds: bold is what reached its goal, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def report() -> ModuleType:
    spec = importlib.util.spec_from_file_location("speed_report", ROOT / "benchmarks" / "_speed_report.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "benchmarks.json").read_text(encoding="utf-8"))
    return found


def test_the_page_has_the_tables_of_the_json(report: ModuleType, measured: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    tables = "\n".join(report._lines(measured["rows"], measured["megabytes"]))
    assert tables in page


def test_bold_is_what_reached_its_goal(report: ModuleType, measured: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    cells = re.findall(r"(\*\*)?(\d+\.\d\d)(?:\*\*)?( of (\d\.\d))? \(\d+\.\d\d to ", page)
    assert len(cells) > 20
    for bold, ratio, _, goal in cells:
        assert bool(bold) == (bool(goal) and float(ratio) >= float(goal)), (ratio, goal)


def row(reader: str, frames: int, pattern: str = "16 random", repeat: int = 0) -> dict[str, Any]:
    return {
        "media": "gop30",
        "pattern": pattern,
        "repeat": repeat,
        "reader": reader,
        "seconds": 1.0,
        "frames": frames,
    }


@pytest.mark.parametrize(
    ("pattern", "ours", "shown"),
    [
        ("16 random", 220, "**2.20** of 2.2"),
        ("16 random", 219, "2.19 of 2.2"),
        ("one random", 900, "9.00"),
        ("one random", 50, "0.50"),
    ],
)
def test_a_cell(report: ModuleType, pattern: str, ours: int, shown: str) -> None:
    rows = [row("ours", ours, pattern), row("torchcodec exact", 100, pattern), row("decord", 30, pattern)]
    assert report._ratio_cell(rows, "gop30", pattern).startswith(f"{shown} (")


def test_the_chart_and_the_tables_compare_the_same(report: ModuleType, measured: dict[str, Any]) -> None:
    """A bar above 1 is a reader that is faster in the median of the repeats, as in the tables."""
    rows = measured["rows"]
    for pattern in ("one random", *report.WANTED):
        for media in report.RECIPE_TITLES:
            ratios, _ = report.best_ratio(rows, media, pattern)
            best = max(report._best_of(rows, media, pattern, family) for family in report.FAMILIES)
            assert (best > 1) == (sorted(ratios)[len(ratios) // 2] < 1), (pattern, media)


def test_the_chart_has_a_panel_for_single_frames(
    report: ModuleType, measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: it comes with the extra bench")
    drawn: list[str] = []
    whole = report._draw_panel
    monkeypatch.setattr(
        report,
        "_draw_panel",
        lambda panel, rows, pattern, media: (drawn.append(pattern), whole(panel, rows, pattern, media)),
    )
    report.draw(measured["rows"], tmp_path / "chart.png")
    assert drawn == ["one random", *report.WANTED]
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
