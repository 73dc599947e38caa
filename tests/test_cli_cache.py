"""``mediaref-ursa cache``: info, clear and prune."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from _cli_runner import run

from mediaref_ursa._cache import settings
from mediaref_ursa._cache.settings import ObjectKey, RangeCache

KEY = ObjectKey("https://host/a.mp4", '"1"')


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "segments"))
    monkeypatch.setenv("MEDIAREF_URSA_CACHE_LIMIT", "1MB")
    settings._reset_cache_for_tests()
    yield tmp_path / "segments"
    settings._reset_cache_for_tests()


def fill(directory: Path, count: int, quota_bytes: int = 10**7) -> None:
    ranges = [(offset * 100_000, 100_000) for offset in range(count)]
    RangeCache(directory, quota_bytes).get_ranges(KEY, ranges, lambda _: [bytes(100_000)] * count)


def test_info_of_a_cache_that_was_never_used(directory: Path) -> None:
    result = run("cache", "info")

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"directory  {directory}",
        "quota      1.0 MB",
        "stored     0 bytes",
        "objects    0",
        "ranges     0",
    ]
    assert not directory.exists()


def test_info_counts(directory: Path) -> None:
    fill(directory, 3)

    assert run("cache", "info").stdout.splitlines()[2:] == [
        "stored     315.4 KB",
        "objects    1",
        "ranges     3",
    ]


def test_info_as_json(directory: Path) -> None:
    fill(directory, 3)
    found = json.loads(run("cache", "info", "--json").stdout)

    assert found == {
        "directory": str(directory),
        "quota_bytes": 1_000_000,
        "stored_bytes": 3 * 102_400 + 8192,
        "objects": 1,
        "ranges": 3,
        "evicted_ranges": 0,
    }


def test_clear_removes_everything(directory: Path) -> None:
    fill(directory, 3)
    result = run("cache", "clear")

    assert (result.exit_code, result.stdout) == (
        0,
        "removed 3 ranges and 0 leftovers of ended processes, freed 315.4 KB\n",
    )
    assert list(directory.glob("objects/*")) == []
    assert (
        run("cache", "clear").stdout == "removed 0 ranges and 0 leftovers of ended processes, freed 0 bytes\n"
    )


def test_prune_removes_litter_and_keeps_the_quota(directory: Path) -> None:
    fill(directory, 15)
    (directory / "writing" / f"{KEY.digest.hex()}.5-6.1.0123abcd").write_text("left behind")
    result = run("cache", "prune")

    assert result.exit_code == 0, result.output
    assert result.stdout == "removed 6 ranges and 1 leftover of ended processes, freed 614.4 KB\n"
    assert json.loads(run("cache", "info", "--json").stdout)["stored_bytes"] <= 1_000_000
    assert run("cache", "prune").stdout.startswith("removed 0 ranges and 0 leftovers")


@pytest.mark.parametrize("command", ["info", "clear", "prune"])
def test_a_directory_that_others_may_write_is_an_error(directory: Path, command: str) -> None:
    directory.mkdir()
    directory.chmod(0o777)
    result = run("cache", command)

    assert result.exit_code == 1
    assert result.stderr.startswith("error: expected a cache directory that only you may write in")
    assert f"chmod go-w {directory}" in result.stderr


def test_a_limit_that_is_no_size_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIAREF_URSA_CACHE_LIMIT", "fifty")

    assert "such as 50GB" in run("cache", "info").stderr


def test_the_group_is_in_the_help() -> None:
    assert "cache" in run("--help").stdout
    assert {"clear", "info", "prune"} <= set(run("cache", "--help").stdout.split())
