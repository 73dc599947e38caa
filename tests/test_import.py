"""``import mediaref_ursa`` is light and silent, in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("av", "lance", "pyarrow", "temporaldata", "torch", "PIL", "requests", "pandas")


def run(code: str) -> list[str]:
    """Run code in a fresh interpreter with warnings as errors; return the lines it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines() + done.stderr.splitlines()


def loaded_after(code: str) -> set[str]:
    """Return which heavy libraries are loaded once ``code`` has run."""
    return set(run(f"{code}\nimport sys\nfor name in {HEAVY}:\n    if name in sys.modules: print(name)"))


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import mediaref_ursa") == set()


def test_listing_its_names_loads_nothing_heavy() -> None:
    assert loaded_after("import mediaref_ursa; dir(mediaref_ursa); hasattr(mediaref_ursa, 'none')") == set()


@pytest.mark.parametrize("name", ["MediaRefError", "DecodePlan", "MediaRef"])
def test_names_that_need_nothing_heavy_load_nothing_heavy(name: str) -> None:
    assert loaded_after(f"from mediaref_ursa import {name}") == set()


def test_a_reference_can_be_made_without_the_video_extra() -> None:
    code = "from mediaref_ursa import MediaRef; MediaRef(uri='a.mp4', pts_ns=5).model_dump_json()"

    assert not loaded_after(code) & {"av", "lance", "pyarrow", "temporaldata", "torch", "pandas"}


def test_decoding_an_image_does_without_the_video_extra() -> None:
    code = "from mediaref_ursa import batch_decode, plan_decode, DataURI; assert batch_decode([]) == []"

    assert not loaded_after(code) & {"av", "lance", "pyarrow", "temporaldata", "torch", "pandas"}


LOG = """
import sys
from loguru import logger
logger.remove()
logger.add(sys.stdout, format="{message}")
import mediaref_ursa
{enable}
exec("from loguru import logger; logger.warning('heard')", {"__name__": "mediaref_ursa._module"})
exec("from loguru import logger; logger.warning('another library')", {"__name__": "other"})
"""


def test_the_library_is_silent_until_its_user_enables_it() -> None:
    assert run(LOG.replace("{enable}", "")) == ["another library"]
    assert run(LOG.replace("{enable}", "logger.enable('mediaref_ursa')")) == ["heard", "another library"]


@pytest.mark.parametrize("module", ["video_decoder", "layout", "store", "table"])
def test_public_submodules_import_by_themselves(module: str) -> None:
    assert run(f"import mediaref_ursa.{module}") == []
