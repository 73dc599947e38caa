"""What runs the README in the gate finds what does not work there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from _pages import ExampleError, blocks_of

SCRIPT = Path(__file__).parents[1] / ".ci" / "readme.py"


@pytest.fixture(scope="module")
def readme() -> ModuleType:
    if not SCRIPT.is_file():
        pytest.skip("no .ci in this copy of the project")
    spec = importlib.util.spec_from_file_location("readme", SCRIPT)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_commands_are_lines_without_remarks(readme: ModuleType, tmp_path: Path) -> None:
    (block,) = blocks_of(page(tmp_path, "```sh\na 'b#c' # d\n\n# e\nf && g   # h\n```\n"))
    assert readme.commands_of(block) == ["a 'b#c'", "f && g"]


def test_the_readme_itself_shows_the_commands_that_are_promised(readme: ModuleType) -> None:
    blocks = [block for block in blocks_of(readme.README) if block.words[:1] == ("sh",)]
    commands = [command for block in blocks for command in readme.commands_of(block)]
    assert readme.RUN_BY_THE_GATE in commands
    assert 'pip install -e ".[video]" && mediaref-ursa demo --output demo' in commands
    assert any(command.startswith("mediaref-ursa index ") for command in commands)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```sh\nexit 3\n```\n", "exit 3"),
        ("```sh\ntrue && exit 4\n```\n", "exit 4"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```sh\necho 5 frames\n```\n```text\n6 packets\n```\n", "expected"),
    ],
)
def test_with_video_everything_works(readme: ModuleType, at_home: Path, text: str, message: str) -> None:
    with pytest.raises(ExampleError, match=message):
        readme.run_with_video(blocks_of(page(at_home, text)), at_home, again=False)


def test_shown_output_may_differ_in_numbers_only(readme: ModuleType, at_home: Path) -> None:
    text = "```sh\necho /here/demo/a.mp4, 5.25 ms\n```\n```text\n/there/demo/a.mp4,   6 ms\n```\n"
    readme.run_with_video(blocks_of(page(at_home, text)), at_home, again=False)


MISSING = """
import mediaref_ursa
def f(): raise mediaref_ursa.MissingExtraError("av: pip install 'mediaref-ursa[video]'")
"""


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{MISSING}\na = f()\nb = a + 1\nprint(b)\n```\n",
        f"```python\n{MISSING}\nwith f() as c:\n    d = 1\n```\n```python\nassert d == c\n```\n",
        "```python\nimport no_such_library as e\ne.use()\n```\n",
        """```sh\necho "error: pip install 'mediaref-ursa[video]'" >&2; exit 1\n```\n""",
        "```sh core\ntrue\n```\n```python core\na = 1\n```\n",
    ],
)
def test_with_the_core_what_is_missing_says_so(readme: ModuleType, at_home: Path, text: str) -> None:
    readme.run_with_core(blocks_of(page(at_home, text)), at_home)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nraise ImportError('no')\n```\n",
        "```python\nprint(never_bound)\n```\n",
        "```python\nimport mediaref_ursa.no_such_module\n```\n",
        "```python\nimport json\njson.loads('')\n```\n",
        "```python\nimport mediaref_ursa\nraise mediaref_ursa.MissingExtraError('no command')\n```\n",
        f"```python core\n{MISSING}\nf()\n```\n",
        f"```python core\n{MISSING}\na = f()\n```\n",
        "```sh\nexit 1\n```\n",
        "```sh\ntrue\n```\n",
        "```sh core\nexit 1\n```\n",
    ],
)
def test_with_the_core_anything_else_is_found(readme: ModuleType, at_home: Path, text: str) -> None:
    with pytest.raises((ExampleError, ImportError, ValueError)):
        readme.run_with_core(blocks_of(page(at_home, text)), at_home)


def test_it_needs_nothing_but_python_and_the_package(readme: ModuleType) -> None:
    """In the gate's first environment there is no pytest."""
    code = (
        "import sys; sys.modules['pytest'] = None; sys.argv = ['x']; "
        f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='readme')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
