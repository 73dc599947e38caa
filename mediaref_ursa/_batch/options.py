"""The options of ``batch_decode``: as values for the code, as typed dictionaries for type checkers."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mediaref_ursa._decode.output import FrameRows
from mediaref_ursa._model.access import OPTION_NAMES, TRUSTED, Access, AccessOptions
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._plan.frame_times import Match
from mediaref_ursa._plan.reads import FetchOptions
from mediaref_ursa._references.columns import ReferenceColumns, Selection, reference_columns
from mediaref_ursa.store._location import Location

if TYPE_CHECKING:
    import torch

    from mediaref_ursa._core.array_types import PixelArray
    from mediaref_ursa._index.collection import CollectionIndex
    from mediaref_ursa._index.frame_index import LanceFrameIndex
    from mediaref_ursa._model.pixels import Crop, Dtype
    from mediaref_ursa._plan.runs import BatchDecodingStrategy
    from mediaref_ursa._references.prefixes import Prefixes
    from mediaref_ursa.store import ObjectStore

    Device = str | torch.device
    FrameIndexes = LanceFrameIndex | CollectionIndex | str | os.PathLike[str] | Mapping[str, LanceFrameIndex]

OnError = Literal["raise", "none"]

DECODERS = ("pyav", "torchcodec", "tensorcodec")
"""Names of decoders; ``tensorcodec``, the default of MediaRef 2, is another name of ``pyav``."""
IMAGE_DECODERS = ("tensorcodec", "torchcodec")
"""Names of MediaRef 2, which are taken: images are decoded by one library here."""
_OUT_TYPES = ("uint8", "uint16", "float32", "float16", "int32")
# Parameters of the public functions themselves, suggested for a misspelt option.
_NAMED = (
    "resize",
    "crop",
    "dtype",
    "output_format",
    "colorspace",
    "channel_format",
    "on_error",
    "match",
    "tolerance_ns",
    "frame_index",
    "max_workers",
)


class RuleOptions(AccessOptions, total=False):
    """The options by which references of known columns are resolved, for type checkers."""

    match: Match
    tolerance_ns: int
    frame_index: FrameIndexes | None
    store: ObjectStore | None
    storage_options: Mapping[str, Any] | None
    fetch: FetchOptions
    keep_av_open: bool
    allow_images: bool
    allow_multi_video: bool
    allow_gap: bool
    gap_threshold: float
    rebase: Prefixes | None


class ResolveOptions(RuleOptions, total=False):
    """The options of ``plan_decode``, for type checkers: those, and which column holds the references."""

    column: str | None
    uri: str | None
    pts_ns: str | None
    path: str | None


class _ConversionOptions(ResolveOptions, total=False):
    resize: tuple[int, int] | None
    crop: Crop | None
    apply_rotation: bool
    decoder_options: Mapping[str, Any] | None
    image_decoder: Literal["tensorcodec", "torchcodec"] | None
    image_decoder_options: Mapping[str, Any] | None
    max_workers: int | None


class NativeOptions(_ConversionOptions, total=False):
    """The options of ``batch_decode`` that do not change the type of its result, for type checkers."""

    colorspace: str
    channel_format: str | None
    out: PixelArray | torch.Tensor | None


class UInt8Options(NativeOptions, total=False):
    """The options of ``batch_decode`` with which arrays are of uint8."""

    dtype: Literal["uint8"]
    output_format: Literal["rgb"]


class DecodeOptions(NativeOptions, total=False):
    """All options of ``batch_decode`` that do not change whether it gives a list, an array or tensors."""

    dtype: Dtype
    output_format: Literal["rgb", "native"]


class FrameOptions(_ConversionOptions, total=False):
    """The options of ``MediaRef.to_ndarray``, for type checkers."""

    strategy: BatchDecodingStrategy | str | None
    decoder: str | None
    dtype: Dtype


@dataclass(frozen=True)
class BatchOptions:
    """The less frequent options of a call, which are keyword-only."""

    apply_rotation: bool = True
    store: ObjectStore | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)
    fetch: FetchOptions = field(default_factory=FetchOptions)
    keep_av_open: bool = False
    allow_images: bool = True
    allow_multi_video: bool = True
    allow_gap: bool = True
    gap_threshold: float = 2.0
    column: str | None = None
    uri: str | None = None
    pts_ns: str | None = None
    path: str | None = None
    rebase: Prefixes | None = None
    image_decoder: str | None = None
    image_decoder_options: Mapping[str, Any] | None = None

    access: Access = TRUSTED

    def __post_init__(self) -> None:
        check_image_decoder(self.image_decoder, self.image_decoder_options)

    def columns_of(self, refs: Any) -> ReferenceColumns:
        """Return the references of a call as columns, each where the caller says that media are now."""
        select = Selection(self.column, self.uri, self.pts_ns, self.path)
        return reference_columns(refs, select).rebased(self.rebase)

    def location(self, uri: str) -> Location:
        """Return the location of a reference's bytes."""
        return Location(uri, self.store, self.storage_options, self.access)

    @classmethod
    def from_options(
        cls, given: Mapping[str, Any], base_dir: str | os.PathLike[str] | None = None
    ) -> BatchOptions:
        """Return the options of one call, with its access options as one ``Access``."""
        left = dict(given) if base_dir is None else {"base_dir": base_dir, **given}
        access = Access.from_options(left)
        known = [name for name in cls.__dataclass_fields__ if name != "access"]
        unknown = sorted(set(left) - set(known))
        if unknown:
            meant = difflib.get_close_matches(unknown[0], [*_NAMED, *known, "access", *OPTION_NAMES], n=1)
            raise TypeError(
                f"expected only the options {', '.join([*known, 'access', *OPTION_NAMES])}, "
                f"found {', '.join(unknown)}" + "".join(f"; did you mean {name}?" for name in meant)
            )
        return cls(**left, access=access)


def checked_tensorcodec_options(options: dict[str, Any]) -> None:
    """Take those options of TensorCodec's decoder out that change nothing here.

    Raises:
        ValueError: A seek mode that is none, or a device that is not the CPU.
    """
    seek_mode, device = options.pop("seek_mode", "exact"), options.pop("device", None)
    if seek_mode not in ("exact", "approximate"):
        raise ValueError(f"expected seek_mode to be 'exact' or 'approximate', found {seek_mode!r}")
    if device is not None and not str(device).startswith("cpu"):
        raise ValueError(
            f"expected the CPU for decoder='tensorcodec', found device={str(device)!r}; pass "
            "decoder='torchcodec' to decode on a GPU"
        )


def _check_has_no_output_format(options: Mapping[str, Any]) -> None:
    """Refuse MediaRef's options of a decoder that are options of the call here.

    Raises:
        TypeError: It has one.
    """
    if "output_format" in options:
        raise TypeError(
            "expected output_format= as an option of the call, found it in decoder_options; write "
            f"output_format={options['output_format']!r}"
        )
    if "expected_pixel_format" in options:
        raise TypeError(
            "expected options of decoding in decoder_options, found expected_pixel_format, which "
            "PyAVVideoDecoder takes; for a batch look at pixel_format in LanceFrameIndex.open(uri).metadata"
        )


def check_image_decoder(decoder: str | None, options: Mapping[str, Any] | None) -> None:
    """Check MediaRef's choice of a decoder for images, which chooses nothing here.

    Raises:
        ValueError: An unknown decoder, or options of one.
    """
    if decoder is not None and decoder not in IMAGE_DECODERS:
        raise ValueError(
            f"expected image_decoder to be one of {', '.join(IMAGE_DECODERS)}, found {decoder!r}"
        )
    if options:
        raise ValueError(
            f"expected no image_decoder_options, found {', '.join(sorted(options))}: images are decoded by "
            "Pillow, whatever the decoder is called; colorspace=, dtype=, resize= and crop= choose the pixels"
        )


@dataclass(frozen=True)
class Backend:
    """The decoder of a call, its options, and the device of its output.

    Attributes:
        decoder: ``pyav`` or ``torchcodec``.
        options: The decoder's own.
        device: The torch device of the frames; None for NumPy arrays.
        dimension_order: The order of axes, where the decoder's options say it.
    """

    decoder: str
    options: Mapping[str, Any]
    device: Any
    dimension_order: str | None = None

    @classmethod
    def from_options(cls, decoder: str | None, device: Any, options: Mapping[str, Any] | None) -> Backend:
        on_gpu = device is not None and str(device).startswith("cuda")
        chosen = dict(options or {})
        _check_has_no_output_format(chosen)
        dimension_order = chosen.pop("dimension_order", None)
        decoder = decoder or ("torchcodec" if on_gpu or chosen else "pyav")
        if decoder not in DECODERS:
            raise ValueError(f"Unknown decoder backend {decoder!r}: expected one of {', '.join(DECODERS)}")
        if decoder == "tensorcodec":
            decoder = "pyav"
            checked_tensorcodec_options(chosen)
        if on_gpu and decoder != "torchcodec":
            raise ValueError(
                f"expected decoder='torchcodec' for device={str(device)!r}, found {decoder!r}: PyAV decodes "
                "into host memory; leave decoder out, or move its frames yourself"
            )
        if device is not None:
            from mediaref_ursa._decode.torchcodec.engine import checked_device

            device = checked_device(device)  # an error now, and not after decoding
            if decoder == "torchcodec":
                chosen.setdefault("device", device)
        return cls(decoder, chosen, device, dimension_order)

    def channel_format(self, asked: str | None) -> str:
        """Return the axis order, which callers give under either of two names.

        Raises:
            ValueError: Both are given, and differ.
        """
        if None not in (asked, self.dimension_order) and asked != self.dimension_order:
            raise ValueError(
                f"expected one order of axes, found channel_format={asked!r} and "
                f"dimension_order={self.dimension_order!r} in decoder_options"
            )
        return asked or self.dimension_order or "NHWC"

    def rows(self, count: int, out: Any, spec: PixelSpec) -> FrameRows:
        """Return the output of a call whose frames are rows of one array.

        Raises:
            ValueError: ``out`` is no array, or tensor on the device, of so many rows of the right type.
        """
        on_device = self.device is not None and self.decoder == "torchcodec"
        if out is not None:
            shape, dtype = getattr(out, "shape", ()), str(getattr(out, "dtype", None))
            types = _OUT_TYPES if spec.is_native else _OUT_TYPES[:1]
            if not shape or shape[0] != count or dtype.removeprefix("torch.") not in types:
                raise ValueError(
                    f"expected out of {count} rows of {' or '.join(types)}, found {type(out).__name__} of "
                    f"shape {tuple(shape)} and dtype {dtype}"
                )
            if (self.device is None) != isinstance(out, np.ndarray):
                raise ValueError(
                    "expected out to be a NumPy array, and with device= a tensor, found "
                    f"{type(out).__name__} with device={self.device!r}"
                )
            if not isinstance(out, np.ndarray) and not on_device:
                out = out.numpy()
            return FrameRows(count, "this batch", array=out)
        if on_device:
            from mediaref_ursa._decode.torchcodec.engine import empty_on

            return FrameRows(count, "this batch", empty=partial(empty_on, self.device))
        return FrameRows(count, "this batch")

    def moved_array(
        self, rows: FrameRows | None, spec: PixelSpec, out: Any, failed: Iterable[int] | None = None
    ) -> Any:
        """Return the output array, copied to the requested device; with zeros in the rows that failed."""
        assert rows is not None
        array = rows.filled(spec.shape(0, 0)) if failed is None else rows.without(failed, spec.shape(0, 0))
        if out is not None:
            return out
        return array if self.device is None else next(iter(self.moved([array])))

    def moved(self, frames: Iterable[Any]) -> Iterable[Any]:
        """Return the frames, copied to the requested device."""
        if self.device is None:
            return frames
        from mediaref_ursa._decode.torchcodec.engine import to_device

        return [None if frame is None else to_device(frame, self.device) for frame in frames]
