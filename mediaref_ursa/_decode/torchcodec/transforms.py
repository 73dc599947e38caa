"""TorchCodec's decoder transforms, their random parameters drawn once.

TorchCodec draws when a decoder is made. Here a decoder is made for every run, so that a random crop would
be another one in each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.reentrancy import ShortLock


@dataclass(frozen=True)
class DrawnTransforms:
    """Several transforms as one for TorchCodec's decoder, their random parameters drawn.

    Attributes:
        specification: TorchCodec's own text of them, such as ``"crop, 80, 96, 3, 7"``.
    """

    specification: str

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` of the output pictures."""
        return _steps(self.specification)[-1][1]

    def _make_transform_spec(self, input_dims: tuple[int | None, int | None]) -> str:
        return self.specification

    def _get_output_dims(self) -> tuple[int | None, int | None] | None:
        return None


def accept_drawn_transforms() -> None:
    """Make TorchCodec accept :class:`DrawnTransforms` as transforms."""
    with needs_extra("torchcodec"):
        from torchcodec.transforms import DecoderTransform

    DecoderTransform.register(DrawnTransforms)


class TransformDraws:
    """The drawn transforms of each frame size. Threads may share one; a pickled copy has the same draws.

    Args:
        transforms: TorchCodec's, or torchvision's that it takes, in order; None or empty for none; or
            what was drawn before.

    Raises:
        ValueError: Not a sequence of transforms.
    """

    def __init__(self, transforms: Any) -> None:
        self._lock = ShortLock()
        self._drawn: dict[tuple[int, int], DrawnTransforms] = {}
        self._transforms: list[Any] = []
        if isinstance(transforms, TransformDraws):
            self._transforms, self._drawn = transforms._transforms, dict(transforms._drawn)
            return
        try:
            self._transforms = list(transforms or ())
        except TypeError:
            raise ValueError(f"expected a sequence of transforms, found {transforms!r}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {"_transforms": self._transforms, "_drawn": dict(self._drawn)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=ShortLock())

    def __bool__(self) -> bool:
        return bool(self._transforms)

    def of_size(self, height: int, width: int) -> DrawnTransforms:
        """Return the transforms of frames of one size in pixels, the same ones each time.

        Raises:
            ValueError: One is no transform, or makes no picture of such frames.
        """
        with self._lock:
            drawn = self._drawn.get((height, width))
            if drawn is None:
                drawn = self._drawn[height, width] = self._draw(height, width)
        return drawn

    def _draw(self, height: int, width: int) -> DrawnTransforms:
        with needs_extra("torchcodec"):
            from torchcodec.transforms._decoder_transforms import _make_transform_specs

        specification = _make_transform_specs(self._transforms, (height, width))
        _check_sizes(specification, height, width)
        return DrawnTransforms(specification)


def whole_frame(height: int, width: int, then: DrawnTransforms | None) -> DrawnTransforms:
    """Return transforms after a crop to the whole frame, which changes nothing."""
    crop = f"crop, {height}, {width}, 0, 0"
    return DrawnTransforms(crop if then is None else f"{crop};{then.specification}")


def _check_sizes(specification: str, height: int, width: int) -> None:
    """Check the frame size after each transform.

    Raises:
        ValueError: A crop is larger than what it is cut from, or a size is not above 0.
    """
    for name, new in _steps(specification):
        if min(new) < 1:
            raise ValueError(f"expected transforms to sizes of at least one pixel, found {name} to {new}")
        if "crop" in name and (new[0] > height or new[1] > width):
            raise ValueError(
                f"expected a crop within {(height, width)}, the frame's size there, found {name} to {new}"
            )
        height, width = new


def _steps(specification: str) -> list[tuple[str, tuple[int, int]]]:
    """Return the name and output size of each transform, from the beginning of TorchCodec's text form."""
    steps = []
    for step in specification.split(";"):
        name, rows, columns = (part.strip() for part in step.split(",")[:3])
        steps.append((name, (int(float(rows)), int(float(columns)))))
    return steps
