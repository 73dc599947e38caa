"""Other libraries, each in a virtual environment of its own, run as programs that print JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REQUIREMENTS = {
    "mediaref-2.1.0": ("mediaref[video]==2.1.0", "av"),
    "mediaref-0.4.4": ("mediaref[video]==0.4.4",),
    "torchcodec-0.13.0": ("torch==2.13.0", "torchcodec==0.13.0", "numpy"),
    "decord-0.6.0": ("decord==0.6.0", "numpy"),
    "opencv": ("opencv-python-headless", "numpy"),
}
"""What each environment holds. TorchCodec also needs FFmpeg's shared libraries (Debian's ``ffmpeg``)."""


def python_of(peer: str, folder: Path) -> Path:
    """Return the interpreter that has a peer; its environment is made if it is not in the folder yet."""
    if peer == "ours":
        return Path(sys.executable)
    home = folder / f"venv-{peer}"
    python = home / "bin" / "python"
    done = home / "installed"
    if not done.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *REQUIREMENTS[peer]], check=True)  # noqa: S603
        done.touch()
    return python


def run(python: Path, script: Path, arguments: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run a script and return the JSON of its last line; what it says of a failure otherwise."""
    done = subprocess.run(  # noqa: S603
        [python, script, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=900,
        check=False,
    )
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result
