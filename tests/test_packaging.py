"""What is built from the checkout: everything that tests need, and a README that package indexes can show."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from _pages import blocks_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
_RELATIVE = re.compile(r"\]\((?![a-z][a-z0-9+.-]*:|#)")

pytest.importorskip("hatchling", reason="hatchling is not installed: it comes with the extra dev")


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder


def test_the_sdist_holds_what_its_tests_need(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {
        "conftest.py",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "README.md",
        "LICENSE",
        "hatch_build.py",
    } <= names
    assert {"benchmarks/speed.py", "docs/benchmarks.png", ".ci/run", ".ci/readme.py"} <= names
    for folder in ("mediaref_ursa", "tests", "docs", "benchmarks"):
        wanted = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py")}
        assert wanted <= names


def test_the_wheel_holds_the_package_alone(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
        names = archive.namelist()

    assert {top for top in tops if not top.endswith(".dist-info")} == {"mediaref_ursa"}
    assert "mediaref_ursa/py.typed" in names
    assert "mediaref_ursa/_pyav/__init__.py" in names


def test_the_description_of_the_package_links_nowhere_relative(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (place,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        text = archive.read(place).decode()

    assert "Description-Content-Type: text/markdown" in text
    assert "# mediaref-ursa" in text
    assert not _RELATIVE.search(text)


@pytest.mark.parametrize("source", ["https://host.example/ursa", "https://host.example/ursa/"])
def test_links_of_the_readme_become_absolute(hook: ModuleType, source: str) -> None:
    text = hook.readme_for_indexes(README.read_text(encoding="utf-8"), source, "1.2.3")

    assert not _RELATIVE.search(text)
    assert "(https://host.example/ursa/blob/v1.2.3/docs/storing.md)" in text
    assert "](https://host.example/ursa/raw/v1.2.3/docs/benchmarks.png)" in text
    assert "(https://lancedb.github.io/lance/)" in text


def test_without_an_address_links_name_files(hook: ModuleType) -> None:
    text = hook.readme_for_indexes(
        "![A chart](a.png) and [b](docs/b.md), [c](https://c/), [d](#d)", None, "1"
    )

    assert text == "*A chart: see `a.png`* and b (`docs/b.md`), [c](https://c/), [d](#d)"


def test_code_stays_as_it_is(hook: ModuleType, tmp_path: Path) -> None:
    code = "```python\na = [b](c)\n```\n"
    assert hook.readme_for_indexes(f"[b](c)\n\n{code}", None, "1") == f"b (`c`)\n\n{code}"

    page = tmp_path / "README.md"
    page.write_text(hook.readme_for_indexes(README.read_text(encoding="utf-8"), None, "1"), encoding="utf-8")
    assert [block.code for block in blocks_of(page)] == [block.code for block in blocks_of(README)]
