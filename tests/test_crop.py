"""``crop=``: the same pixels as that part of the whole frame, then resized."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _media import CLIP_NAMES, Clip
from _oracle import linear_frames
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mediaref_ursa import LazyVideo, LimitExceededError, MediaRef, UnsupportedMediaError, batch_decode
from mediaref_ursa._model.pixels import PixelSpec, checked_crop, crop_slices
from mediaref_ursa.video_decoder import PyAVVideoDecoder

GetClip = Callable[[str], Clip]
CROP = (5, 3, 33, 41)


def part(pixels: np.ndarray, crop: tuple[int, int, int, int], axis: int = 0) -> np.ndarray:
    top, left, height, width = crop
    return pixels[(slice(None),) * axis + (slice(top, top + height), slice(left, left + width))]


@pytest.mark.parametrize("colorspace", ["RGB", "BGR", "RGBA", "G"])
@pytest.mark.parametrize("name", CLIP_NAMES)
def test_a_crop_is_that_part_of_the_frame(name: str, colorspace: str, clip: GetClip) -> None:
    path = clip(name).path
    try:
        frames = linear_frames(path)[::7]
    except LookupError:
        pytest.skip("no video")
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    options: dict[str, Any] = {"colorspace": colorspace, "on_error": "none"}
    whole = batch_decode(refs, **options)
    found = batch_decode(refs, crop=CROP, **options)
    for frame, pixels in zip(whole, found, strict=True):
        assert (frame is None) == (pixels is None)
        if frame is not None:
            assert np.array_equal(pixels, part(frame, CROP))
            assert pixels.flags.owndata or pixels.base.nbytes == pixels.nbytes  # the whole frame is not kept


def test_every_call_crops_alike(clip: GetClip) -> None:
    path = str(clip("h264_pyramid_mp4").path)
    refs = [MediaRef.from_seconds(path, number / 25) for number in (0, 5, 9)]
    whole = batch_decode(refs, as_array=True)
    expected = part(whole, CROP, 1)
    assert np.array_equal(batch_decode(refs, crop=CROP, as_array=True), expected)
    assert np.array_equal(
        batch_decode(refs, crop=CROP, channel_format="NCHW", as_array=True), expected.transpose(0, 3, 1, 2)
    )
    assert np.array_equal(refs[1].to_ndarray(crop=CROP), expected[1])
    video = LazyVideo(path, crop=CROP, channel_format="NHWC")
    assert np.array_equal(np.stack([video[i] for i in (0, 5, 9)]), expected)
    assert video[0:0].shape == (0, 33, 41, 3)
    assert video.as_series().frames.shape[1:] == (33, 41, 3)
    with PyAVVideoDecoder(path, crop=CROP) as decoder:
        assert np.array_equal(decoder.get_frames_at([0, 5, 9]).data, expected.transpose(0, 3, 1, 2))
        assert decoder.get_frames_at([]).data.shape == (0, 3, 33, 41)


def test_torchcodec_crops_the_same_part(clip: GetClip) -> None:
    pytest.importorskip("torchcodec")
    path = str(clip("h264_pyramid_mp4").path)
    refs = [MediaRef.from_seconds(path, number / 25) for number in (0, 5, 9)]
    whole = batch_decode(refs, decoder="torchcodec", as_array=True)
    assert np.array_equal(
        batch_decode(refs, decoder="torchcodec", crop=CROP, as_array=True), part(whole, CROP, 1)
    )
    from mediaref_ursa.video_decoder import TorchCodecVideoDecoder

    data = TorchCodecVideoDecoder(path, crop=CROP, resize=(16, 20)).get_frames_at([0]).data
    assert tuple(data.shape) == (1, 3, 16, 20)


def test_a_crop_is_of_the_upright_picture(clip: GetClip) -> None:
    path = clip("rotated_90_mp4").path
    ref = MediaRef(str(path), 0)
    for turned in (True, False):
        (whole,) = batch_decode([ref], apply_rotation=turned)
        (found,) = batch_decode([ref], apply_rotation=turned, crop=CROP)
        assert np.array_equal(found, part(whole, CROP))


def test_resized_after_it_was_cut_out(clip: GetClip) -> None:
    ref = MediaRef(str(clip("h264_pyramid_mp4").path), 0)
    (whole,) = batch_decode([ref])
    (found,) = batch_decode([ref], crop=CROP, resize=(20, 24))
    expected = Image.fromarray(np.ascontiguousarray(part(whole, CROP))).resize(
        (24, 20), Image.Resampling.BILINEAR
    )
    assert np.array_equal(found, np.asarray(expected))
    (gray,) = batch_decode([ref], crop=CROP, resize=(20, 24), colorspace="G")
    assert gray.shape == (20, 24, 1)


def test_images_are_cropped_upright(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    ref = MediaRef(str(tmp_path / "a.png"))
    whole = ref.to_ndarray()
    assert whole.shape == (60, 40, 3)
    assert np.array_equal(ref.to_ndarray(crop=(30, 2, 20, 8)), part(whole, (30, 2, 20, 8)))
    assert np.array_equal(batch_decode([ref], crop=(30, 2, 20, 8))[0], part(whole, (30, 2, 20, 8)))


def test_a_crop_beyond_the_picture_is_one_clear_error(clip: GetClip, tmp_path: Path) -> None:
    path = str(clip("h264_pyramid_mp4").path)
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    refs = [MediaRef(path, 0), MediaRef(str(tmp_path / "a.png")), MediaRef(path, 40_000_000)]
    found = batch_decode(refs, crop=(0, 0, 32, 40), on_error="none")
    assert [frame is None for frame in found] == [False, True, False]
    assert isinstance(found.errors[1], UnsupportedMediaError)
    assert "within 20 rows of 30 pixels" in str(found.errors[1])
    with pytest.raises(UnsupportedMediaError, match=r"expected crop=\(top, left, height, width\) within"):
        batch_decode([refs[0]], crop=(0, 0, 5000, 40))
    with pytest.raises(LimitExceededError):
        batch_decode([refs[0]], crop=(0, 0, 2, 2), resize=(100, 200), max_pixels=15_000)


@pytest.mark.parametrize("crop", [(0, 0, 0, 4), (-1, 0, 2, 2), (0, 0, 2), (0.5, 0, 2, 2), "abcd", 7])
def test_no_crop(crop: Any) -> None:
    with pytest.raises(ValueError, match=r"expected crop=\(top, left, height, width\)"):
        checked_crop(crop)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_crop_of_noise(data: st.DataObject) -> None:
    from mediaref_ursa._images.crop import cropped

    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = cropped(pixels, PixelSpec(crop=(top, left, rows, columns)), None)
    assert np.array_equal(found, pixels[top : top + rows, left : left + columns])
    assert found.shape == PixelSpec(crop=(top, left, rows, columns)).shape(height, width)
    with pytest.raises(UnsupportedMediaError):
        crop_slices((top, left, rows, width - left + 1), height, width)
