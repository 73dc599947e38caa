"""Options as values: ``access=`` says what its attributes say by name, and types what the code says."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _media import Clip

import mediaref_ursa
from mediaref_ursa import (
    Access,
    IndexLimits,
    InvalidReferenceError,
    LazyVideo,
    LimitExceededError,
    MediaRef,
    batch_decode,
    plan_decode,
)
from mediaref_ursa._batch.options import BatchOptions, DecodeOptions, FrameOptions, ResolveOptions
from mediaref_ursa._model.access import AccessOptions
from mediaref_ursa.catalog import ModalityRow, StorageFormat, open_modality
from mediaref_ursa.video_decoder import PyAVVideoDecoder

CALLS: dict[str, Callable[..., Any]] = {
    "batch_decode": lambda path, **options: batch_decode([MediaRef(path, 0)], **options),
    "plan_decode": lambda path, **options: plan_decode([MediaRef(path, 0)], **options),
    "to_ndarray": lambda path, **options: MediaRef(path, 0).to_ndarray(**options),
    "LazyVideo": lambda path, **options: LazyVideo(path, **options)[0],
    "from_uri": lambda path, **options: LazyVideo.from_uri(path, **options)[0],
    "from_segments": lambda path, **options: LazyVideo.from_segments([path], **options)[0],
    "from_refs": lambda path, **options: LazyVideo.from_refs([MediaRef(path, 0)], **options)[0][0],
    "PyAVVideoDecoder": lambda path, **options: PyAVVideoDecoder(path, **options)[0],
    "open_modality": lambda path, **options: open_modality(
        ModalityRow(name="a", format=StorageFormat.VIDEO, uri=path), **options
    )[0],
}


@pytest.fixture
def path(clip: Callable[[str], Clip]) -> str:
    return str(clip("h264_idr_mp4").path)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_access_says_what_its_attributes_say_by_name(call: Callable[..., Any], path: str) -> None:
    for options, error in (
        ({"max_pixels": 100}, LimitExceededError),
        ({"allow_schemes": {"https"}}, InvalidReferenceError),
        ({"base_dir": str(Path(path).parent / "another")}, InvalidReferenceError),
    ):
        with pytest.raises(error) as by_name:
            call(path, **options)
        with pytest.raises(error) as as_value:
            call(path, access=Access(**options))
        assert str(as_value.value) == str(by_name.value)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_access_and_one_of_its_attributes_are_a_contradiction(call: Callable[..., Any], path: str) -> None:
    with pytest.raises(TypeError, match="expected access=, or its options by name, found both: untrusted"):
        call(path, access=Access(), untrusted=False)
    with pytest.raises(TypeError, match="expected access to be an Access, found True"):
        call(path, access=True)


@pytest.mark.parametrize("call", ["batch_decode", "plan_decode"])
def test_no_base_dir_is_none_together_with_access(call: str, path: str) -> None:
    CALLS[call](path, access=Access(), base_dir=None)


def test_no_access_is_the_default(path: str) -> None:
    for call in (CALLS["batch_decode"], CALLS["to_ndarray"]):
        assert np.array_equal(call(path, access=None), call(path))


def test_base_dir_within_access(path: str) -> None:
    folder, name = Path(path).parent, Path(path).name
    (frame,) = batch_decode([MediaRef(name, 0)], access=Access(base_dir=folder))  # type: ignore[arg-type]
    assert np.array_equal(frame, batch_decode([MediaRef(path, 0)])[0])


def test_typed_dictionaries_name_what_the_code_takes() -> None:
    access = {field.name for field in fields(Access)}
    assert set(AccessOptions.__annotations__) == access | {"access"}
    parameters = inspect.signature(batch_decode).parameters
    named = {name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY}
    rare = {field.name for field in fields(BatchOptions)} - {"access"}
    of_the_type = {"on_error", "device", "as_array"}  # the overloads name them
    every = named | rare | access | {"access"}
    assert set(DecodeOptions.__annotations__) == every - of_the_type
    assert set(ResolveOptions.__annotations__) == {
        *rare,
        *access,
        "access",
        "match",
        "tolerance_ns",
        "frame_index",
    } - {"apply_rotation", "image_decoder", "image_decoder_options"}
    beside = {"colorspace", "channel_format", "out", "output_format"}
    assert set(FrameOptions.__annotations__) == (every - of_the_type - beside) | {"strategy", "decoder"}


def test_access_is_public_and_says_so() -> None:
    assert mediaref_ursa.Access is Access
    assert Access.__module__ == "mediaref_ursa"
    assert Access(index_limits=IndexLimits(max_seconds=1)).scan_limits == IndexLimits(max_seconds=1)
