"""``as_array=`` and ``out=``: all frames of a batch in one array."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _media import Clip
from _oracle import linear_frames
from PIL import Image

from mediaref_ursa import FrameOutsideVideoError, MediaRef, batch_decode

GetClip = Callable[[str], Clip]


@pytest.fixture
def refs(clip: GetClip) -> list[MediaRef]:
    path = clip("h264_idr_mp4").path
    return [MediaRef(str(path), -(-frame.time * 10**9 // 1)) for frame in linear_frames(path)]


@pytest.fixture
def expected(clip: GetClip) -> np.ndarray:
    return np.stack([frame.rgb for frame in linear_frames(clip("h264_idr_mp4").path)])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("channel_format", ["NHWC", "NCHW"])
def test_one_array_holds_what_the_list_has(
    refs: list[MediaRef], channel_format: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediaref_ursa._decode.execute._PIXELS_A_WORKER", 1)
    wanted = [refs[i] for i in (5, 3, 5, 20, 0, 5)]
    listed = batch_decode(wanted, channel_format=channel_format)
    found = batch_decode(wanted, channel_format=channel_format, as_array=True, max_workers=workers)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.stack(listed))


def test_out_is_what_is_returned(refs: list[MediaRef], expected: np.ndarray) -> None:
    out = np.zeros((4, *expected.shape[1:]), np.uint8)
    assert batch_decode(refs[2:6], as_array=True, out=out) is out
    assert np.array_equal(out, expected[2:6])


def test_out_may_be_a_part_of_an_array(refs: list[MediaRef], expected: np.ndarray) -> None:
    whole = np.zeros((8, *expected.shape[1:]), np.uint8)
    batch_decode(refs[:4], out=whole[::2])
    assert np.array_equal(whole[::2], expected[:4])
    assert not whole[1::2].any()


def test_a_list_with_out_has_views_and_errors(refs: list[MediaRef], expected: np.ndarray) -> None:
    out = np.full((3, *expected.shape[1:]), 9, np.uint8)
    found = batch_decode([refs[0], MediaRef(refs[0].uri, 10**15), refs[1]], out=out, on_error="none")
    assert [frame is None for frame in found] == [False, True, False]
    assert isinstance(found.errors[1], FrameOutsideVideoError)
    assert np.shares_memory(found[2], out)
    assert np.array_equal(out[2], expected[1])
    assert (out[1] == 9).all()


def test_images_and_frames_share_an_array(refs: list[MediaRef], expected: np.ndarray, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, expected.shape[1:], dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    found = batch_decode([refs[7], MediaRef(str(tmp_path / "a.png")), refs[8]], as_array=True)
    assert np.array_equal(found, np.stack([expected[7], picture, expected[8]]))


def test_other_sizes_need_resize(refs: list[MediaRef], clip: GetClip) -> None:
    other = MediaRef(str(clip("vp9_odd_webm").path), 0)
    with pytest.raises(ValueError, match="pass resize="):
        batch_decode([refs[0], other], as_array=True)
    found = batch_decode([refs[0], other], as_array=True, resize=(30, 40))
    assert found.shape == (2, 30, 40, 3)


def test_no_references_give_an_array_of_none() -> None:
    assert batch_decode([], as_array=True).shape == (0, 0, 0, 3)
    assert batch_decode([], as_array=True, resize=(4, 5), channel_format="NCHW").shape == (0, 3, 4, 5)


def test_errors_need_a_list(refs: list[MediaRef]) -> None:
    with pytest.raises(ValueError, match="cannot hold errors"):
        batch_decode(refs[:1], as_array=True, on_error="none")
    with pytest.raises(FrameOutsideVideoError):
        batch_decode([refs[0], MediaRef(refs[0].uri, 10**15)], as_array=True)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((3, 64, 96, 3), np.uint8),
        np.zeros((2, 64, 96, 3), np.float32),
        [np.zeros((64, 96, 3))] * 2,
        7,
    ],
)
def test_out_that_does_not_fit_is_refused(out: object, refs: list[MediaRef]) -> None:
    with pytest.raises(ValueError, match="expected out of 2 rows of uint8"):
        batch_decode(refs[:2], out=out)


def test_out_of_another_shape_is_refused(refs: list[MediaRef]) -> None:
    with pytest.raises(ValueError, match=r"expected frames of shape \(8, 8, 3\)"):
        batch_decode(refs[:2], out=np.zeros((2, 8, 8, 3), np.uint8))


def test_tensors(refs: list[MediaRef], expected: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    for decoder in ("pyav", "torchcodec"):
        if decoder == "torchcodec":
            pytest.importorskip("torchcodec")
        options = {"decoder": decoder, "device": "cpu"}
        found = batch_decode(refs[:3], as_array=True, **options)
        assert torch.equal(found, torch.from_numpy(expected[:3]))
        out = torch.zeros_like(found)
        assert batch_decode(refs[:3], as_array=True, out=out, **options) is out
        assert torch.equal(out, found)
    with pytest.raises(ValueError, match="tensor"):
        batch_decode(refs[:2], out=out[:2])
    with pytest.raises(ValueError, match="tensor"):
        batch_decode(refs[:2], out=np.zeros((2, 64, 96, 3), np.uint8), device="cpu")


def test_read_only_memory_is_refused(refs: list[MediaRef]) -> None:
    out = np.zeros((1, 64, 96, 3), np.uint8)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        batch_decode(refs[:1], out=out)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_array_is_let_go_without_a_collection(
    refs: list[MediaRef], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediaref_ursa._decode.execute._PIXELS_A_WORKER", 1)
    gc.collect()
    gc.disable()
    try:
        for first in range(0, 24, 4):
            gone = weakref.ref(batch_decode(refs[first : first + 8], as_array=True, max_workers=workers))
            assert gone() is None
            listed = batch_decode(refs[first : first + 8], max_workers=workers)
            gone = weakref.ref(listed[3])
            del listed
            assert gone() is None
    finally:
        gc.enable()
