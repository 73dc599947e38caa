"""Frames of a video as objects of temporaldata, or of torch_brain, into which it was merged.

The only module that knows these packages. Their containers ask ``isinstance`` of their own classes, and keep
whole what is none of them; so a series is an instance of the package's ``IrregularTimeSeries``, and what is
passed for one is seen as that by each of the packages that are loaded.
"""

from __future__ import annotations

import copy
import importlib
import sys
from functools import cache
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array, PixelArray
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._lazy.lazy_frames import LazyFrames

PACKAGES = {"temporaldata": "temporaldata", "torch_brain": "torch_brain.data"}
"""The modules that hold the classes of each package."""

REFERENCE_COLUMNS = ("uri", "pts_ns", "options")
"""Columns that replace ``frames`` in a file: UTF-8 bytes, int64, and JSON as UTF-8 bytes."""


class RefersToFrames(Protocol):
    """Protocol of a source of lazy frames that can refer to its frames."""

    def reference_columns(self, numbers: Int64Array) -> dict[str, npt.NDArray[Any]]:
        """Return the ``REFERENCE_COLUMNS`` of frames: arrays of as many rows."""
        ...


def load_package(package: str) -> ModuleType:
    """Return the module with the classes of a package.

    Raises:
        ValueError: Another name than those of ``PACKAGES``.
        MissingExtraError: It is not installed.
    """
    if package not in PACKAGES:
        raise ValueError(f"expected package to be one of {list(PACKAGES)}, found {package!r}")
    with needs_extra("video"):
        return importlib.import_module(PACKAGES[package])


def default_package() -> str:
    """Return the default package: the one that is imported, or temporaldata."""
    loaded = [name for name, module in PACKAGES.items() if module in sys.modules]
    return loaded[0] if len(loaded) == 1 else "temporaldata"


def package_of(value: Any) -> str:
    """Return the package that an object's class belongs to."""
    return type(value).__module__.partition(".")[0]


def _loaded_classes() -> tuple[type, ...]:
    """Return the ``IrregularTimeSeries`` of each package that this process has imported."""
    modules: list[Any] = [sys.modules.get(name) for name in PACKAGES.values()]
    return tuple(module.IrregularTimeSeries for module in modules if hasattr(module, "IrregularTimeSeries"))


class SeenAsTimeSeries:
    """Base that ``isinstance`` accepts as the ``IrregularTimeSeries`` of every loaded package.

    ``Data`` slices and saves only what is one; anything else it keeps whole, without a word.
    """

    @property
    def __class__(self) -> Any:
        own: Any = type(self)
        return _seen_as(own, _loaded_classes())

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError(f"expected to stay a {type(self).__name__}, found {value.__name__}")

    def __reduce__(self) -> tuple[Any, ...]:
        # pickle refuses an object whose class is another one than its __class__ unless it is configured to.
        return _with_state, (type(self), self.__dict__.copy())


def _with_state(kind: type, state: dict[str, Any]) -> Any:
    made: Any = object.__new__(kind)
    made.__dict__.update(state)
    return made


@cache
def _seen_as(own: Any, series: tuple[type, ...]) -> Any:
    missing = [kind for kind in series if not any(kind is base for base in own.__mro__)]
    return type(own)(own.__name__, (own, *missing), {"__module__": own.__module__}) if missing else own


class _SeriesType(type):
    """Metaclass by which ``concat`` of the packages joins such series: it compares types by ``==``."""

    def __eq__(cls, other: object) -> bool:
        return cls is other or any(other is kind for kind in _loaded_classes())

    __hash__ = type.__hash__


class _FrameSeries(SeenAsTimeSeries, metaclass=_SeriesType):
    """Mixin of frame series, added to the package's class; see :func:`series_class`."""

    package: str
    _metadata: Any = None
    _frame_indices: Int64Array | None = None

    @property
    def metadata(self) -> Any:
        """The metadata of the video that the frames come from, the same object."""
        return self._metadata

    @property
    def frame_indices(self) -> Int64Array | None:
        """int64 ``(n,)``: the number of each frame in the whole video; None where that is unknown."""
        frames = self.__dict__.get("frames")
        return frames.numbers if isinstance(frames, LazyFrames) else self._frame_indices

    @property
    def frames(self) -> PixelArray:
        """``(n, C, H, W)`` or ``(n, H, W, C)``; lazy ones are decoded now, and kept read-only."""
        frames = self.__dict__.get("frames")
        if frames is None:
            raise AttributeError("Attribute frames not found.")
        return frames.read() if isinstance(frames, LazyFrames) else frames

    @frames.setter
    def frames(self, value: PixelArray) -> None:
        self.__dict__["frames"] = value

    @frames.deleter
    def frames(self) -> None:
        del self.__dict__["frames"]

    def slice(self, start: float, end: float, reset_origin: bool = True) -> _FrameSeries:
        """Return the part with timestamps in ``[start, end)``, as the package's class does, lazily."""
        if not self.is_sorted():  # type: ignore[attr-defined]
            self.sort()
        numbers = self._frame_indices
        if numbers is not None:
            first, stop = np.searchsorted(self.timestamps, [start, end])  # type: ignore[attr-defined]
            numbers = numbers[first:stop]
        return self._carried(super().slice(start, end, reset_origin), numbers)  # type: ignore[misc]

    def select_by_mask(self, mask: npt.NDArray[np.bool_]) -> _FrameSeries:
        """Return the part under a mask, as the package's class does, lazily."""
        bare = copy.copy(self)
        bare.__dict__.pop("_metadata", None)
        numbers = bare.__dict__.pop("_frame_indices", None)
        part = super(_FrameSeries, bare).select_by_mask(mask)  # type: ignore[misc]
        return self._carried(part, None if numbers is None else numbers[np.asarray(mask)])

    def sort(self) -> None:
        """Sort by timestamps, all attributes together."""
        if not self.is_sorted() and self._frame_indices is not None:  # type: ignore[attr-defined]
            self._frame_indices = self._frame_indices[np.argsort(self.timestamps)]  # type: ignore[attr-defined]
        super().sort()  # type: ignore[misc]

    def to_hdf5(self, file: Any) -> None:
        """Save to an HDF5 file or group, from which the package reads it without this library.

        Lazy frames are saved as references (``uri``, ``pts_ns``, ``options``), of which
        ``LazyVideo.from_series`` makes the video again; others as pixels.

        Raises:
            ValueError: A column of the caller's has the name of one of these.
        """
        frames = self.__dict__.get("frames")
        if not isinstance(frames, LazyFrames):
            super().to_hdf5(file)  # type: ignore[misc]
            file.attrs["object"] = "IrregularTimeSeries"
            return
        columns = {name: value for name, value in self.__dict__.items() if not name.startswith("_")}
        del columns["frames"]
        if taken := set(columns) & set(REFERENCE_COLUMNS):
            raise ValueError(f"expected no columns of the names of references, found {sorted(taken)}")
        columns |= _references(frames)
        plain = load_package(self.package).IrregularTimeSeries(
            **columns,
            timekeys=list(self.timekeys()),  # type: ignore[attr-defined]
            domain=self.domain,  # type: ignore[attr-defined]
        )
        plain.to_hdf5(file)

    def _carried(self, part: _FrameSeries, numbers: Int64Array | None) -> _FrameSeries:
        part._metadata = self._metadata
        part._frame_indices = numbers
        return part

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.package, self.__dict__.copy())


def _references(frames: LazyFrames) -> dict[str, npt.NDArray[Any]]:
    source: Any = frames.source
    columns: dict[str, npt.NDArray[Any]] = source.reference_columns(frames.numbers)
    return columns


def _rebuilt(package: str, state: dict[str, Any]) -> _FrameSeries:
    made: _FrameSeries = _with_state(series_class(package), state)
    return made


@cache
def series_class(package: str) -> Any:
    """Return the class of frame series of a package: a subclass of its ``IrregularTimeSeries``."""
    base = load_package(package).IrregularTimeSeries
    names = {"package": package, "__module__": __name__, "__doc__": _FrameSeries.__doc__}
    return _SeriesType("FrameSeries", (_FrameSeries, base), names)


def frame_series(
    timestamps: npt.NDArray[np.float64],
    frames: PixelArray | LazyFrames,
    domain: tuple[float, float],
    metadata: Any,
    *,
    frame_indices: Int64Array | None = None,
    package: str | None = None,
) -> Any:
    """Return frames with their timestamps, an ``IrregularTimeSeries`` of a package.

    Args:
        timestamps: float64 ``(n,)``, seconds.
        frames: ``(n, C, H, W)`` or ``(n, H, W, C)``, decoded or lazy.
        domain: The time, in seconds, from which the frames were taken.
        metadata: Kept as it is.
        frame_indices: int64 ``(n,)``, the number of each frame in the whole video; lazy frames have theirs.
        package: A name of ``PACKAGES``; :func:`default_package` without it.

    Raises:
        MissingExtraError: The package is not installed.
    """
    package = package or default_package()
    series = series_class(package)(timestamps=timestamps, domain=interval(*domain, package=package))
    series.__dict__["frames"] = frames
    series._metadata = metadata
    series._frame_indices = frame_indices
    return series


def interval(start: float, end: float, *, package: str | None = None) -> Any:
    """Return the time from ``start`` to ``end``, in seconds, as an ``Interval`` of a package.

    Args:
        start: Seconds.
        end: Seconds.
        package: A name of ``PACKAGES``; :func:`default_package` without it.
    """
    found = load_package(package or default_package())
    return found.Interval(start=np.array([float(start)]), end=np.array([float(end)]))
