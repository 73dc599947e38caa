"""TorchCodec and torch, imported once, with the reason if they cannot be loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from mediaref_ursa._core.errors import MissingExtraError
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._decode.torchcodec.transforms import accept_drawn_transforms

TESTED_PAIRS = (("2.13.0", "0.13.0"),)
"""Pairs of torch and TorchCodec versions that all tests were run with."""

_INSTALL = "pip install 'mediaref-ursa[torchcodec]', and FFmpeg 4 to 8 (apt-get install ffmpeg)"
_FFMPEG_LIBRARY = re.compile(r"\blib(av|sw|postproc)\w+\.")
_REASON = re.compile(r"cannot open shared object|undefined symbol|Library not loaded|Could not find module")


@dataclass(frozen=True)
class TorchModules:
    """The modules of torch and TorchCodec, checked to work."""

    torch: Any
    video_decoder: Any


def load_torchcodec() -> TorchModules:
    """Import TorchCodec.

    Its class is the one that was found first in this process: programs put ours in its place.

    Raises:
        MissingExtraError: It is not installed, or cannot be loaded with what is.
    """
    try:
        import torch
        from torchcodec.decoders import VideoDecoder
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("torch", "torchcodec"):
            raise
        name = "TorchCodec" if error.name.startswith("torchcodec") else "PyTorch, and so TorchCodec,"
        raise MissingExtraError(f"{name} is not installed; install it with: {_INSTALL}") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingExtraError(_cannot_load(error)) from error
    return _first_found(torch, VideoDecoder)


def _first_found(torch: Any, video_decoder: Any, _found: list[TorchModules] = []) -> TorchModules:  # noqa: B006
    if not _found:
        register(_TorchThreads(torch))
        accept_drawn_transforms()
        _found.append(TorchModules(torch, video_decoder))
    return _found[0]


class _TorchThreads(ProcessState):
    """State of torch's thread pool: a forked child has none of its threads, and uses one thread.

    An operation on many values would wait for them forever. Torch's own data loader does the same.
    """

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def forget(self) -> None:
        self._torch.set_num_threads(1)


def _cannot_load(error: BaseException) -> str:
    """Return why TorchCodec, which is installed, cannot be loaded, in one line."""
    reasons = _reasons(error)
    others = [reason for reason in reasons if not _FFMPEG_LIBRARY.search(reason)]
    pair = f"TorchCodec {_version('torchcodec')} and PyTorch {_version('torch')}"
    tested = " and ".join(f"torch {torch} with torchcodec {codec}" for torch, codec in TESTED_PAIRS)
    if others:
        return (
            f"{pair} are installed but do not load together ({others[0]}); install a pair that is built for "
            f"one another, both for a CPU or for one CUDA; tested: {tested}"
        )
    why = f" ({reasons[0]})" if reasons else ""
    return (
        f"{pair} are installed but TorchCodec cannot load FFmpeg's shared libraries{why}; install FFmpeg "
        f"4 to 8 (apt-get install ffmpeg), or, if it is there, a pair that goes together; tested: {tested}"
    )


def _reasons(error: BaseException | None) -> list[str]:
    """Return the messages of the shared library loader, out of TorchCodec's long error text."""
    reasons: list[str] = []
    while error is not None:
        lines = [line.strip() for line in str(error).splitlines()]
        reasons += [line.removeprefix("OSError: ") for line in lines if _REASON.search(line)]
        error = error.__cause__ or error.__context__
    return reasons


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of an unknown version"
