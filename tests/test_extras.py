"""Each module without each optional library: it loads, or says which command installs what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import mediaref_ursa
from mediaref_ursa._core.extras import has_extra

VIDEO = ("av", "lance", "pyarrow")
MCAP = ("mcap", "rosbags", "mcap_protobuf", "google")
LIBRARIES = (
    *VIDEO,
    *MCAP,
    *("temporaldata", "pandas", "h5py", "fsspec", "s3fs", "torch", "torchcodec", "matplotlib"),
)
NEEDED_BY_OTHERS = {"pandas": "video", "h5py": "video"}  # what Lance and temporaldata may load
EXTRA_OF = {
    **dict.fromkeys((*VIDEO, "temporaldata"), "video"),
    **dict.fromkeys(("fsspec", "s3fs"), "cloud"),
    **dict.fromkeys(("torch", "torchcodec"), "torchcodec"),
    **dict.fromkeys(MCAP, "mcap"),
    **NEEDED_BY_OTHERS,
}

BLOCK = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

NAMES = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Missing())
"""

IMPORT_ALL = """
import importlib, json, pkgutil
import mediaref_ursa
found = {}
for module in pkgutil.walk_packages(mediaref_ursa.__path__, "mediaref_ursa.", onerror=lambda name: None):
    if module.name.endswith((".cached_av", ".resource_cache")):
        continue  # MediaRef's, which say what to use instead
    try:
        importlib.import_module(module.name)
    except Exception as error:
        found[module.name] = [type(error).__name__, str(error)]
print(json.dumps(found))
"""


def without(libraries: tuple[str, ...], code: str) -> str:
    """Run code in a fresh interpreter in which libraries are not installed; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCK + code, ",".join(libraries)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("library", [*LIBRARIES, "all"])
def test_each_module_loads_or_names_the_command(library: str) -> None:
    missing = LIBRARIES if library == "all" else (library,)
    not_here = [name for name in LIBRARIES if find_spec(name) is None]
    commands = {
        f"pip install 'mediaref-ursa[{EXTRA_OF[name]}]'" for name in [*missing, *not_here] if name in EXTRA_OF
    }
    commands |= {f"pip install 'mediaref-ursa[{extra}]'" for extra in ("hf", "nwb", "ray")}
    if not {*missing, *not_here}.isdisjoint((*VIDEO, "torch")):  # which needs both
        commands.add("pip install 'mediaref-ursa[torch]'")

    failed = json.loads(without(missing, IMPORT_ALL))

    for module, (kind, message) in failed.items():
        assert kind == "MissingExtraError", (module, kind, message)
        assert any(message.endswith(command) for command in commands), (module, message)


def test_modules_of_the_documented_install_need_neither_cloud_nor_torch() -> None:
    """What ``pip install "mediaref-ursa[video]"`` brings is enough for all but these."""
    others = ("fsspec", "s3fs", "torch", "torchcodec", "matplotlib", *MCAP)
    failed = json.loads(without(others, IMPORT_ALL))

    assert set(failed) == {
        "mediaref_ursa.store._fsspec.filesystems",
        "mediaref_ursa.store._fsspec.fsspec_store",
        "mediaref_ursa.mcap",
        "mediaref_ursa.torch",
        *(["mediaref_ursa.hf._feature"] if find_spec("datasets") is None else []),
        *(["mediaref_ursa.ray"] if find_spec("ray") is None else []),
        *(["mediaref_ursa.nwb"] if find_spec("pynwb") is None else []),
    }


@pytest.mark.parametrize("module", ["mediaref_ursa", "mediaref_ursa.store", "mediaref_ursa.video_decoder"])
@pytest.mark.parametrize("missing", [LIBRARIES, ("fsspec", "torch", "torchcodec")], ids=["core", "video"])
def test_a_star_import_gives_what_is_installed(module: str, missing: tuple[str, ...]) -> None:
    code = f"""
import importlib
names = {{}}
exec("from {module} import *", names)
module = importlib.import_module("{module}")
assert set(names) - {{"__builtins__"}} == set(module.__all__)
print(",".join(sorted(names)))
"""
    names = set(without(missing, code).strip().split(","))

    whole = set(__import__(module, fromlist=["__all__"]).__all__)
    absent = (
        {
            "CollectionIndex",
            "LanceFrameIndex",
            "LazyVideo",
            "pack_videos",
            "write_frame_index",
            "PyAVVideoDecoder",
        }
        if "av" in missing
        else set()
    )
    decoders = {"CodecVideoDecoder", "TensorCodecVideoDecoder", "TorchCodecVideoDecoder"}
    absent |= {"FsspecStore"} | (decoders if "av" in missing else set())
    assert names - {"__builtins__"} == whole - absent


@pytest.mark.parametrize(
    "statement",
    [
        "from mediaref_ursa import LazyVideo",
        "from mediaref_ursa import write_frame_index",
        "mediaref_ursa.LanceFrameIndex",
        "from mediaref_ursa.video_decoder import PyAVVideoDecoder",
        "mediaref_ursa.batch_decode([mediaref_ursa.MediaRef('a.mp4', 0)])",
        "mediaref_ursa.plan_decode([mediaref_ursa.MediaRef('a.mp4', 0)])",
        "mediaref_ursa.MediaRef('a.mp4', 0).to_ndarray()",
        "from mediaref_ursa.table import to_arrow; to_arrow([])",
    ],
)
def test_what_is_left_out_says_what_installs_it(statement: str) -> None:
    code = f"""
import mediaref_ursa
try:
    {statement}
except mediaref_ursa.MissingExtraError as error:
    print(error)
"""
    assert without(VIDEO, code).strip().endswith("it comes with: pip install 'mediaref-ursa[video]'")


@pytest.mark.parametrize("missing", [(), LIBRARIES], ids=["all", "core"])
def test_dir_lists_names_that_can_be_had_and_nothing_else(missing: tuple[str, ...]) -> None:
    code = """
import inspect
import mediaref_ursa
print(",".join(name for name in dir(mediaref_ursa) if not name.startswith("__")))
inspect.getmembers(mediaref_ursa)
assert dir(mediaref_ursa) == sorted(dir(mediaref_ursa))
assert {"__version__", "__all__", "__doc__"} <= set(dir(mediaref_ursa))
assert set(mediaref_ursa.__all__) == {name for name in dir(mediaref_ursa) if not name.startswith("_")}
"""
    listed = without(missing or ("no_such_library",), code).strip().split(",")

    assert set(listed) <= set(mediaref_ursa.__all__)
    assert ("LazyVideo" in listed) == (not missing)


def test_core_work_needs_no_extra(tmp_path: Path) -> None:
    """References, data URIs and images."""
    code = """
import numpy as np
from mediaref_ursa import *
picture = np.full((4, 6, 3), 200, np.uint8)
uri = DataURI.from_image(picture, format="png").uri
(image,) = batch_decode([MediaRef(uri)])
assert (image == picture).all()
assert MediaRef.model_validate_json(MediaRef("a.mp4", 5).model_dump_json()) == MediaRef("a.mp4", 5)
assert plan_decode([MediaRef(uri)]).images == 1
cleanup_cache()
"""
    without(LIBRARIES, code)


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["cache", "info"], ["cache", "prune"]])
def test_commands_that_need_no_extra(command: list[str], tmp_path: Path) -> None:
    code = f"from mediaref_ursa._cli.main import main; main({command!r})"

    assert without(LIBRARIES, code)


def test_indexing_needs_no_cloud_library(example_files: Path, tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes((example_files / "clip.mp4").read_bytes())
    videos = [str(video), str(tmp_path / "*.mp4")]
    code = f"from mediaref_ursa._cli.main import main; main(['index', *{videos!r}])"

    printed = without(("fsspec", "s3fs", "torch", "torchcodec"), code)

    assert printed.startswith(f"{video}: written, 60 frames")


@pytest.mark.parametrize("command", ["index", "inspect", "demo"])
@pytest.mark.parametrize("name", ["s3://bucket/a.mp4", "s3://bucket/*.mp4"])
def test_a_cloud_uri_without_its_library_is_one_line(command: str, name: str) -> None:
    code = f"""
from mediaref_ursa._cli.main import main
try:
    main([{command!r}, {name!r}])
except SystemExit as end:
    assert end.code == 1
"""
    done = subprocess.run(
        [sys.executable, "-c", BLOCK + code, "fsspec,s3fs"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.endswith("pip install 'mediaref-ursa[cloud]'")


def test_has_extra_tells_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_extra("video")
    monkeypatch.setitem(sys.modules, "av", None)
    assert not has_extra("video")
