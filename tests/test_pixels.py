"""What frames should look like: shapes, names of formats, and values that make no sense."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from mediaref_ursa._model.pixels import MAX_PIXELS, PIXEL_FORMATS, PixelSpec


@pytest.mark.parametrize(
    ("colorspace", "channels", "pixel_format"),
    [("RGB", 3, "rgb24"), ("BGR", 3, "bgr24"), ("RGBA", 4, "rgba"), ("BGRA", 4, "bgra"), ("G", 1, "gray")],
)
def test_each_colorspace(colorspace: str, channels: int, pixel_format: str) -> None:
    spec = PixelSpec(colorspace=colorspace)

    assert (spec.channels, PIXEL_FORMATS[spec.colorspace]) == (channels, pixel_format)
    assert spec.shape(4, 6) == (4, 6, channels)
    assert PixelSpec(colorspace=colorspace, channel_format="NCHW").shape(4, 6) == (channels, 4, 6)


def test_the_default_is_rgb_in_the_frames_own_size_turned_as_the_container_says() -> None:
    spec = PixelSpec()

    assert (spec.colorspace, spec.channel_format, spec.resize) == ("RGB", "NHWC", None)
    assert spec.apply_rotation
    assert spec.max_pixels == MAX_PIXELS == 7680 * 4320


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"colorspace": "YUV"}, "colorspace"),
        ({"colorspace": "rgb"}, "colorspace"),
        ({"channel_format": "HWC"}, "channel_format"),
        ({"resize": (0, 4)}, "resize"),
        ({"resize": (4, -1)}, "resize"),
        ({"resize": (4,)}, "resize"),
        ({"resize": (4, 4, 3)}, "resize"),
        ({"resize": 32}, r"resize=\(height, width\) in whole pixels"),
        ({"resize": np.int64(32)}, "resize"),
        ({"resize": "32"}, "resize"),
        ({"resize": b"ab"}, "resize"),
        ({"resize": ("4", "4")}, "resize"),
        ({"resize": (4.5, 4)}, "resize"),
        ({"resize": (float("nan"), 4)}, "resize"),
        ({"resize": (float("inf"), 4)}, "resize"),
        ({"resize": (None, 4)}, "resize"),
        ({"resize": {4, 5, 6}}, "resize"),
        ({"resize": True}, "resize"),
    ],
)
def test_values_that_make_no_sense(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"expected {says}.*found"):
        PixelSpec(**values)


@pytest.mark.parametrize("resize", [[4, 6], (np.int64(4), np.int32(6)), np.array([4, 6])])
def test_a_size_of_any_sequence_of_integers_becomes_a_pair(resize: Any) -> None:
    found = PixelSpec(resize=resize).resize

    assert found == (4, 6)
    assert [type(side) for side in found] == [int, int]


def test_it_is_a_value() -> None:
    assert PixelSpec(resize=(4, 6)) == PixelSpec(resize=(4, 6))
    assert hash(PixelSpec(resize=[4, 6])) == hash(PixelSpec(resize=(4, 6)))
    with pytest.raises(FrozenInstanceError):
        PixelSpec().colorspace = "BGR"  # type: ignore[misc]
