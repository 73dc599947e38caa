"""``MediaRef``: a reference to an image, or to a frame of a video."""

from __future__ import annotations

import gc
import operator
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict
from typing_extensions import Self

from mediaref_ursa._core.errors import InvalidReferenceError, StoreError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.redaction import redact, without_credentials
from mediaref_ursa._core.seconds import FRAME_RATE, pts_ns_from_seconds
from mediaref_ursa._core.uris import (
    is_cloud,
    is_data,
    is_local,
    is_path,
    is_relative_path,
    is_remote,
    local_path,
    scheme_of,
    split_blob,
)
from mediaref_ursa._model.access import Access
from mediaref_ursa._references.collate import let_torch_collate
from mediaref_ursa._references.keywords import refuse_unknown
from mediaref_ursa.store import store_for
from mediaref_ursa.store._local import location_of

if TYPE_CHECKING:
    from PIL import Image
    from typing_extensions import Unpack

    from mediaref_ursa._batch.options import FrameOptions
    from mediaref_ursa._core.array_types import PixelArray
    from mediaref_ursa._images.pillow import PixelFormat
    from mediaref_ursa._model.access import AccessOptions
    from mediaref_ursa._references.data_uri import DataURI

_INT64 = np.iinfo(np.int64)
_DISPLAYED_CHARACTERS = 200
_COLORSPACES = {"rgb": "RGB", "bgr": "BGR", "rgba": "RGBA", "bgra": "BGRA", "gray": "G"}
_UNKNOWN_ADVICE = (
    "pts_ns is the time of a video's frame in whole nanoseconds, for seconds use "
    "MediaRef.from_seconds(uri, seconds); a row with further keys is read by MediaRef.model_validate(row)"
)
# Options that choose how a video is decoded; an image is decoded in one way.
_VIDEO_OPTIONS = frozenset(
    {"strategy", "decoder", "decoder_options", "match", "tolerance_ns", "frame_index", "apply_rotation"}
    | {"fetch", "max_workers"}
)


def _uri_text(value: object) -> str:
    """Return a URI as text, from text or a path; refuse text that no table could hold."""
    text = value if isinstance(value, str) else _text_of(value)
    if not isinstance(text, str):
        raise ValueError(f"expected a path or URI, found a value of type {type(value).__name__}")
    if not text:
        raise ValueError("expected a path or URI, found an empty string")
    if "\0" in text:
        raise ValueError("expected a path or URI, found a NUL byte in it")
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            "expected Unicode text, found stand-ins for other bytes; percent-encode them in a file:// URI"
        ) from None
    return text if type(text) is str else str.__str__(text)


def _text_of(value: object) -> object:
    module = sys.modules.get(
        "mediaref_ursa._references.data_uri"
    )  # if the module was never loaded, the value is not of its type
    if module is not None and isinstance(value, module.DataURI):
        return value.uri
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.as_py() if hasattr(value, "as_py") else value


def _int64_or_none(value: object) -> int | None:
    """Return an int64 of an integer of Python, NumPy or Arrow; refuse floats, booleans and text."""
    if hasattr(value, "as_py"):  # a scalar of Arrow
        value = value.as_py()
    if value is None or type(value).__name__ == "NAType":  # the null of pandas' nullable integers
        return None
    if isinstance(value, bool | np.bool_):
        raise ValueError("pts_ns is an integer of nanoseconds, found a boolean")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(
            f"pts_ns is an integer of nanoseconds, found {_named(value)}; for seconds use "
            "MediaRef.from_seconds(uri, seconds), or pts_ns_from_seconds"
        ) from None
    if not _INT64.min <= number <= _INT64.max:
        raise ValueError(
            f"pts_ns is an int64, found an overflow: a value of {number.bit_length()} bits without its sign"
        )
    return number


def _named(value: object) -> str:
    kind = type(value).__name__
    fraction = kind in ("Fraction", "Decimal") or isinstance(value, float | np.floating)
    return f"the fraction {value}" if fraction else f"a value of type {kind}"


@set_module("mediaref_ursa")
class MediaRef(BaseModel):
    """A reference to an image, or with ``pts_ns`` to the frame of a video that is displayed at that time.

    Frozen, hashable, picklable; two fields and nothing else, so that it fits into any table.

    Attributes:
        uri: A path, ``file://``, http(s) or cloud URL, or data URI. A ``DataURI`` becomes its text.
        pts_ns: Absolute time in the container, in nanoseconds, an int64; None for an image. Integers of
            NumPy and Arrow are taken; fractions, booleans and overflow are a ``ValidationError``. Times in
            seconds: :meth:`from_seconds`.

    A keyword that is no field is a TypeError; ``model_validate`` and ``model_validate_json`` read rows with
    further keys, and drop these.

    >>> ref = MediaRef(uri="video.mp4", pts_ns=1_500_000_000)
    >>> ref.model_dump_json()
    '{"uri":"video.mp4","pts_ns":1500000000}'
    >>> MediaRef.model_validate_json(ref.model_dump_json()) == ref
    True
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    uri: Annotated[str, BeforeValidator(_uri_text)]
    pts_ns: Annotated[int | None, BeforeValidator(_int64_or_none)] = None

    if TYPE_CHECKING:

        def __init__(
            self,
            uri: str | os.PathLike[str] | DataURI,
            pts_ns: int | np.integer[Any] | None = None,
        ) -> None: ...

    else:

        def __init__(self, /, *values, **fields):
            # Missing fields are left to Pydantic, whose ValidationError names them.
            if len(values) > 2:
                raise TypeError(f"MediaRef takes uri and pts_ns, found {len(values)} values")
            for name, value in zip(("uri", "pts_ns"), values, strict=False):
                if name in fields:
                    raise TypeError(f"MediaRef got two values for {name}")
                fields[name] = value
            if not fields.keys() <= type(self).__pydantic_fields__.keys():
                refuse_unknown(type(self), fields, _UNKNOWN_ADVICE)
            super().__init__(**fields)
            let_torch_collate(MediaRef)

        # Validation of dicts and JSON then builds instances itself instead of calling back here.
        __init__.__pydantic_base_init__ = True

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore a reference from a pickle: in a worker of torch's loader, for example."""
        super().__setstate__(state)
        let_torch_collate(MediaRef)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, some fields replaced by values that are not validated.

        Raises:
            TypeError: A name that is no field.
        """
        refuse_unknown(type(self), update or {}, _UNKNOWN_ADVICE)
        return super().model_copy(update=update, deep=deep)

    @classmethod
    def from_seconds(
        cls,
        uri: str | os.PathLike[str] | DataURI,
        seconds: Any,
        *,
        frame_rate: float | Fraction = FRAME_RATE,
    ) -> Self:
        """Return the reference to the frame of a video that is displayed at a time in seconds.

        Args:
            uri: The video.
            seconds: One time, with the precision of its type: a NumPy float32 or a torch tensor names the
                frame whose time was rounded to it. For many, see :func:`pts_ns_from_seconds`.
            frame_rate: The most frames a second of the video.

        Raises:
            TypeError: No number, or several.
            ValueError: A time that is not finite, or too coarse for ``frame_rate``.

        >>> MediaRef.from_seconds("clip.mp4", 1.5)
        MediaRef(uri='clip.mp4', pts_ns=1500000000)
        """
        pts_ns = pts_ns_from_seconds(seconds, frame_rate=frame_rate)
        if not isinstance(pts_ns, int):
            raise TypeError(
                f"expected one time in seconds, found {type(seconds).__name__}; for many: "
                "[MediaRef(uri, pts_ns) for pts_ns in pts_ns_from_seconds(seconds)]"
            )
        return cls(uri, pts_ns)

    @property
    def is_embedded(self) -> bool:
        """Whether the media is in the reference itself (a data URI)."""
        return is_data(self.uri)

    @property
    def is_video(self) -> bool:
        """Whether this names a frame of a video."""
        return self.pts_ns is not None

    @property
    def is_remote(self) -> bool:
        """Whether the media is served over http or https."""
        return is_remote(self.uri)

    @property
    def is_cloud_uri(self) -> bool:
        """Whether the media is an object of a cloud store, such as ``s3://bucket/key``."""
        return is_cloud(self.uri)

    @property
    def is_relative_path(self) -> bool:
        """Whether the URI is a plain path that is not absolute on this platform."""
        return is_relative_path(self.uri)

    def to_ndarray(
        self, format: PixelFormat | Literal["native"] = "rgb", **options: Unpack[FrameOptions]
    ) -> PixelArray:
        """Load the image, or decode the frame.

        Args:
            format: The order of channels: ``"rgb"``, ``"bgr"``, ``"rgba"``, ``"bgra"`` or ``"gray"``;
                ``"native"`` for the channels of the media, and every bit of them.
            **options: Those of ``batch_decode`` that are not about the output's layout, such as
                ``base_dir``, ``untrusted``, ``resize``, ``crop``, ``dtype``, ``max_pixels``, ``match``,
                ``tolerance_ns``. What only concerns videos does nothing for an image. ``keep_av_open`` is
                taken and does nothing: no decoder outlives a call.

        Returns:
            ``(height, width, channels)``, or ``(height, width)`` of gray: uint8, or with ``dtype="native"``
            and ``format="native"`` the type that keeps all bits, such as uint16.

        Raises:
            ValueError: An unknown format.
            MissingExtraError: A frame of a video without the ``video`` extra.
            MediaRefError: The media cannot be found, read or decoded; see :mod:`mediaref_ursa._core.errors`.
        """
        given: dict[str, Any] = {**options}
        given.pop("keep_av_open", None)
        if "image_decoder" in given or "image_decoder_options" in given:
            from mediaref_ursa._batch.options import check_image_decoder

            check_image_decoder(given.pop("image_decoder", None), given.pop("image_decoder_options", None))
        for name in ("channel_format", "colorspace", "output_format"):
            if name in given:
                raise TypeError(f"to_ndarray takes format instead of {name}")
        if "device" in given:
            raise TypeError("to_ndarray gives an array; for a tensor on a device, use batch_decode")
        if format == "native":
            given["dtype"] = "native"
        if self.is_video:
            return self._frame(format, given)
        from mediaref_ursa._images.load import load_image
        from mediaref_ursa.store._location import Location

        ours = {name: value for name, value in given.items() if name not in _VIDEO_OPTIONS}
        access = Access.from_options(ours)
        store, storage_options = ours.pop("store", None), ours.pop("storage_options", None)
        return load_image(Location(self.uri, store, storage_options, access), format, **ours)

    def _frame(self, format: PixelFormat | Literal["native"], options: dict[str, Any]) -> PixelArray:
        from mediaref_ursa._images.pillow import check_pixel_format

        if format == "native":
            options["output_format"] = "native"
        else:
            options["colorspace"] = _COLORSPACES[check_pixel_format(format)]
        with needs_extra("video"):
            from mediaref_ursa._batch.batch_decode import batch_decode

        frame: PixelArray = batch_decode([self], **options)[0]
        return frame[..., 0] if format == "gray" else frame

    def to_pil_image(
        self, format: Literal["rgb", "rgba", "gray"] = "rgb", **options: Unpack[FrameOptions]
    ) -> Image.Image:
        """Load the image, or decode the frame, into a PIL image of mode RGB, RGBA or L.

        Takes the options of :meth:`to_ndarray` and raises what it raises. With ``dtype="native"``, gray of 16
        bits is of mode I;16, and colours of more than 8 bits are an UnsupportedMediaError.
        """
        from mediaref_ursa._images.pillow import check_pil_format, to_pil

        return to_pil(self.to_ndarray(check_pil_format(format), **options))

    def validate_uri(
        self, *, storage_options: Mapping[str, Any] | None = None, **access: Unpack[AccessOptions]
    ) -> bool:
        """Return whether an object exists at the URI; embedded media always exist.

        Args:
            storage_options: For cloud stores, as fsspec takes them.
            **access: What may be asked for, as ``batch_decode`` takes it, such as ``untrusted``.

        Returns:
            For a path, whether there is a file, a folder or anything else, which need not be readable. For
            any other URI, whether its store says that there is an object; False too where it is not
            allowed to be read, or the store does not answer.

        Raises:
            InvalidReferenceError: No store serves the URI, or it is not to be asked for.
            MissingExtraError: What its store needs is not installed.
        """
        allowed = Access.from_only_options("validate_uri", access)
        if self.is_embedded:
            allowed.check_scheme(self.uri)
            return True
        if is_local(self.uri) and not is_path(self.uri):
            return False
        location = location_of(self.uri, allowed)
        if is_local(location) and split_blob(location) is None:
            return os.path.exists(local_path(location))  # noqa: PTH110 - Path.exists raises for some
        try:
            store_for(location, storage_options, access=allowed).head(location)
        except StoreError:
            return False
        except InvalidReferenceError:
            if access or storage_options:  # the caller's options may refuse it
                raise
            return False
        return True

    def resolve_relative_path(
        self,
        base_path: str | os.PathLike[str],
        on_unresolvable: Literal["error", "warn", "ignore"] = "warn",
    ) -> MediaRef:
        """Return the reference with a relative path put after ``base_path``.

        Absolute paths and ``file://`` URIs come back as they are. URIs that name no local file cannot
        be resolved.

        Args:
            base_path: A local folder, as a path or ``file://`` URI.
            on_unresolvable: Whether a URI that names no local file is an error, is warned of and
                returned, or is returned.

        Raises:
            InvalidReferenceError: ``on_unresolvable="error"`` and the URI names no local file.

        >>> MediaRef("clips/a.mp4", 5).resolve_relative_path("/data")
        MediaRef(uri='/data/clips/a.mp4', pts_ns=5)
        """
        if on_unresolvable not in ("error", "warn", "ignore"):
            raise ValueError(f"on_unresolvable is 'error', 'warn' or 'ignore', found {on_unresolvable!r}")
        scheme = scheme_of(self.uri)
        if scheme not in ("", "file"):
            message = f"Cannot resolve unresolvable URI (no local path): {redact(self.uri)}"
            if on_unresolvable == "error":
                raise InvalidReferenceError(message)
            if on_unresolvable == "warn":
                warnings.warn(message, UserWarning, stacklevel=2)
            return self
        if not self.is_relative_path:
            return self
        base = local_path(os.fspath(base_path))
        return MediaRef(uri=(Path(base) / self.uri).as_posix(), pts_ns=self.pts_ns)

    def __str__(self) -> str:
        return repr(self)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        long = self.is_embedded or len(self.uri) > _DISPLAYED_CHARACTERS
        yield "uri", redact(self.uri) if long else without_credentials(self.uri)
        yield "pts_ns", self.pts_ns


def trusted_refs(uris: Sequence[str], pts_ns: Sequence[int | None]) -> list[MediaRef]:
    """Build references from values that are known to be valid, without validating each field.

    Args:
        uris: Strings, neither empty nor with a NUL.
        pts_ns: int64 values or None, as many.
    """
    put = object.__setattr__
    names = {"uri", "pts_ns"}  # shared: a frozen model never alters it, and copies have their own
    let_torch_collate(MediaRef)
    refs = []
    with _collector_paused():
        for uri, pts in zip(uris, pts_ns, strict=True):
            ref = MediaRef.__new__(MediaRef)
            put(ref, "uri", uri)  # one by one: a dict for each reference takes half the memory again
            put(ref, "pts_ns", pts)
            put(ref, "__pydantic_fields_set__", names)
            put(ref, "__pydantic_extra__", None)
            put(ref, "__pydantic_private__", None)
            refs.append(ref)
    return refs


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Disable the garbage collector in the block: walking the growing list would cost five times the work."""
    was_running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_running:
            gc.enable()


# Pydantic's first validation takes a lock of its own: within this import, a fork waits for it.
MediaRef(Path("-"), 0)
