"""Conversion of seconds to nanoseconds, with regard to the precision in which they were stored.

A time of a frame that was stored as a float was rounded to the nearest one. The tolerance of the playback
rule (:func:`mediaref_ursa._core.ticks.frames_at`) makes up for that in float64, and in float32 for half a
minute. Beyond that a time that was rounded down names the frame before its own. So it is taken as the latest
time that rounds to the same float: at most half the distance to the next float later, less the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from numbers import Rational, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import FrameOutsideVideoError
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.ticks import NS_PER_SECOND, TOLERANCE_NS

FRAME_RATE = 60
"""Frames a second that seconds must be able to distinguish, where the caller names no rate."""

_EXACT_BITS = 53
_SIGNIFICAND_BITS = {
    "bfloat16": 8,
    "float16": 11,
    "halffloat": 11,
    "float32": 24,
    "float64": _EXACT_BITS,
    "double": _EXACT_BITS,
    "float96": _EXACT_BITS,
    "float128": _EXACT_BITS,
}
"""Bits of precision by the names of NumPy, torch and Arrow; Arrow's "float" is float32."""

_MAX_SECONDS = 2**63 // NS_PER_SECOND
_MAX_ASKED_NS = 2**62
_PRODUCT_ERROR_NS = 1e-6
_SLACK_NS = 1
"""Slack for a time that was rounded twice: to float64, then to float32."""


@set_module("mediaref_ursa")
def pts_ns_from_seconds(seconds: Any, *, frame_rate: float | Fraction = FRAME_RATE) -> Any:
    """Return seconds as the ``pts_ns`` of references, whole nanoseconds.

    Seconds that are the time of a frame come back to that frame, if the type of number that they are stored
    in can distinguish it from its neighbours: float32 does so at 60 frames a second for 72 hours, float64
    always. The result is the nearest nanosecond or, where floats lie further apart than twice
    ``tolerance_ns`` of :func:`batch_decode` (1 µs; in float32 from 16 s on), up to half their distance later.

    The precision is that of the numbers as they are given: a float32 that became a Python float
    (``float(t)``, ``.tolist()``, ``.item()``) looks like a float64. Make it one again:
    ``np.float32(t)``, ``np.asarray(values, np.float32)``. Times that were *computed* in float32 may lie
    further from their frame than rounding alone explains: compute in float64, or in nanoseconds.

    Args:
        seconds: One time, or many: Python numbers, ``Fraction`` and ``Decimal``, NumPy scalars and arrays,
            torch tensors, Arrow arrays, chunked arrays and scalars, pandas columns, lists of these numbers.
        frame_rate: The most frames a second of the video. Floats that lie further apart than two of its
            frames are an error, since they could not be distinguished.

    Returns:
        An int for one time, else an int64 array of the same shape.

    Raises:
        TypeError: No numbers.
        ValueError: A time that is null or not finite, does not fit into int64 nanoseconds, or is too coarse
            for ``frame_rate``.

    Example:
        >>> import numpy as np
        >>> from mediaref_ursa import pts_ns_from_seconds
        >>> pts_ns_from_seconds(1.5), pts_ns_from_seconds([0, 1.5]).tolist()
        (1500000000, [0, 1500000000])
        >>> frame = 107_999  # of a video of 30 frames a second, at 3599.9666...
        >>> stored = np.float32(frame / 30)  # 3599.966552734375, and the next float32 is 0.00024 later
        >>> int(float(stored) * 1e9) * 30 // 10**9, pts_ns_from_seconds(stored) * 30 // 10**9
        (107998, 107999)
    """
    given = _read(seconds)
    given.check_fits()
    ns = given.latest_ns(frame_rate)
    for position, exact in given.exact.items():
        ns[position] = round(exact * NS_PER_SECOND)
    return int(ns[0]) if given.shape is None else ns.reshape(given.shape)


def latest_times(seconds: Any) -> list[Fraction]:
    """Return the times of :func:`pts_ns_from_seconds` as seconds; exact numbers as they are.

    Times beyond the range of int64 nanoseconds become some time near its bounds.

    >>> latest_times([0.5, Fraction(1, 3)]), latest_times(np.float32(64)) == [64 + Fraction(2_816, 10**9)]
    ([Fraction(1, 2), Fraction(1, 3)], True)
    """
    given = _read(seconds)
    if given.shape is not None and len(given.shape) != 1:
        raise ValueError(f"expected one row of seconds, found an array of the shape {given.shape}")
    return given.times(given.latest_ns(FRAME_RATE))


def times_asked(seconds: Any, uri: str) -> list[Fraction]:
    """Return the times, see :func:`latest_times`, at which frames of a video are asked for.

    Raises:
        FrameOutsideVideoError: One is not finite, so that no frame is displayed then.
    """
    try:
        return latest_times(seconds)
    except NotFiniteError as error:
        raise FrameOutsideVideoError(str(error), uri=uri) from None


def floor_ns(seconds: Fraction) -> int:
    """Return a time in whole nanoseconds, within -2**62 and 2**62.

    >>> floor_ns(Fraction(1001, 30000)), floor_ns(Fraction(10**40)) == 2**62
    (33366666, True)
    """
    return min(max(math.floor(seconds * NS_PER_SECOND), -_MAX_ASKED_NS), _MAX_ASKED_NS)


def range_of_times(start_seconds: Any, stop_seconds: Any) -> tuple[Fraction, Fraction]:
    """Return a half-open range of times: the frame displayed at its start, and none that begins at its end.

    So the start is the latest time that rounds to the float which was given, and the end the earliest. An
    end that was not before the start is not before it then.

    >>> range_of_times(0.5, 1.5)
    (Fraction(1, 2), Fraction(3, 2))

    Raises:
        TypeError: One is no number, or several.
    """
    first, last = _read(start_seconds), _read(stop_seconds)
    for given, seconds in ((first, start_seconds), (last, stop_seconds)):
        if given.shape is not None:
            raise TypeError(f"expected one time in seconds, found {type(seconds).__name__}")
    (start,), (stop,) = first.times(first.latest_ns(FRAME_RATE)), last.times(last.earliest_ns(FRAME_RATE))
    is_ordered = first.times(first.nearest_ns()) <= last.times(last.nearest_ns())
    return start, max(start, stop) if is_ordered else stop


def earliest_seconds(seconds: Any) -> float:
    """Return the earliest time that rounds to the float which was given: where a range of frames begins.

    Frames from the one of this time on are those at or after it, and frames before it are not. A float64, and
    any exact number, comes back as a float.

    >>> earliest_seconds(0.5), round(earliest_seconds(np.float32(3600)), 6)
    (0.5, 3599.999878)
    """
    if isinstance(seconds, float) and not isinstance(seconds, np.floating):
        return seconds
    given = _read(seconds, finite=False)
    if given.shape is not None:
        raise TypeError(f"expected one time in seconds, found {type(seconds).__name__}")
    if given.exact:
        return float(given.exact[0])
    value = float(given.numbers[0])
    given.check_precision(FRAME_RATE)
    below = float(given.half_gaps(-1)[0])
    return value - below - _SLACK_NS / NS_PER_SECOND if below else value


def window_bounds(start: Any, end: Any) -> tuple[float, float]:
    """Return the bounds of a half-open window of frames: the earliest times that round to what was given.

    An end that was not before the start is not before it then, whatever types the two have, nor is one that
    may stand for the start in its own precision.

    >>> window_bounds(5.0, np.float32(5)), window_bounds(2, 1)
    ((5.0, 5.0), (2.0, 1.0))
    """
    first, last = earliest_seconds(start), earliest_seconds(end)
    latest = 2 * float(end) - last if math.isfinite(last) else float(end)  # that rounds to the end
    return first, max(first, last) if float(start) <= latest else last


class NotFiniteError(ValueError):
    """A time that is infinite or no number."""


@dataclass(frozen=True)
class _Seconds:
    """Times in their given precision, in one dimension.

    Attributes:
        numbers: float64 ``(n,)``; exact numbers rounded.
        bits: int64 ``(n,)``, the precision of each.
        exact: Those that are no floats, by their position.
        shape: Of what was given, None for one number.
    """

    numbers: npt.NDArray[np.float64]
    bits: Int64Array
    exact: dict[int, Fraction]
    shape: tuple[int, ...] | None

    def check_fits(self) -> None:
        """Refuse times that do not fit into int64 nanoseconds."""
        maximum = max((abs(Fraction(number)) for number in self._extremes()), default=Fraction(0))
        if maximum >= _MAX_SECONDS:
            raise ValueError(f"expected seconds that fit into int64 nanoseconds, found {float(maximum):g}")

    def _extremes(self) -> list[Any]:
        floats = [self.numbers.min(), self.numbers.max()] if self.numbers.size else []
        return [*floats, *self.exact.values()]

    def check_precision(self, frame_rate: float | Fraction) -> None:
        """Refuse floats whose precision is too low to distinguish frames."""
        if not frame_rate > 0:
            raise ValueError(f"expected frame_rate above 0, found {frame_rate}")
        gaps = 2 * self.half_gaps(+1)
        if gaps.size and float(gaps.max()) > 1 / frame_rate:
            worst = int(gaps.argmax())
            raise ValueError(
                f"expected seconds that distinguish frames at {float(frame_rate):g} frames a second, found "
                f"{self.numbers[worst]} with {self.bits[worst]} bits of precision: the next such number is "
                f"{gaps[worst]:g} s later; give float64 seconds, or to pts_ns_from_seconds the video's own "
                "frame_rate= if it is lower"
            )

    def half_gaps(self, direction: int) -> npt.NDArray[np.float64]:
        """Return half the distance to the next number after (+1) or before (-1) each; 0 for exact ones."""
        mantissa, exponent = np.frexp(self.numbers)
        half = np.ldexp(1.0, exponent - self.bits - 1)
        half = np.where(mantissa * direction == -0.5, half / 2, half)
        known = (self.bits < _EXACT_BITS) & (self.numbers != 0) & np.isfinite(self.numbers)
        return np.where(known, half, 0.0)

    def nearest_ns(self) -> Int64Array:
        whole, scaled = self._split(self.numbers)
        ns = whole + np.rint(scaled).astype(np.int64)
        # The product of up to 23 bits with 10**9 is exact. Where rounding a longer one may have decided, the
        # number itself decides.
        is_long = np.modf(np.ldexp(self.numbers, 23))[0] != 0
        is_close = np.abs(np.abs(scaled - np.trunc(scaled)) - 0.5) < _PRODUCT_ERROR_NS
        for position in np.flatnonzero(is_long & is_close).tolist():
            ns[position] = round(Fraction(self.numbers[position]) * NS_PER_SECOND)
        return ns

    def latest_ns(self, frame_rate: float | Fraction) -> Int64Array:
        """Return the nanosecond at which a frame is displayed whose time rounds to each number."""
        self.check_precision(frame_rate)
        whole, scaled = self._split(self.numbers + self.half_gaps(+1))
        lifted = whole + np.ceil(scaled).astype(np.int64) + _SLACK_NS - TOLERANCE_NS
        return np.maximum(self.nearest_ns(), lifted)

    def earliest_ns(self, frame_rate: float | Fraction) -> Int64Array:
        """Return the nanosecond that is not after a frame whose time rounds to each number."""
        self.check_precision(frame_rate)
        whole, scaled = self._split(self.numbers - self.half_gaps(-1))
        lowered = whole + np.floor(scaled).astype(np.int64) - _SLACK_NS + TOLERANCE_NS
        return np.minimum(self.nearest_ns(), lowered)

    def times(self, ns: Int64Array) -> list[Fraction]:
        """Return nanoseconds as seconds, and exact numbers as they were given."""
        times = [Fraction(value, NS_PER_SECOND) for value in ns.tolist()]
        for position, exact in self.exact.items():
            times[position] = exact
        return times

    @staticmethod
    def _split(numbers: npt.NDArray[np.float64]) -> tuple[Int64Array, npt.NDArray[np.float64]]:
        """Return whole seconds in nanoseconds, and the rest in nanoseconds."""
        clipped = np.clip(numbers, -_MAX_SECONDS, _MAX_SECONDS)
        rest, whole = np.modf(clipped)
        return whole.astype(np.int64) * NS_PER_SECOND, rest * NS_PER_SECOND


def _read(seconds: Any, *, finite: bool = True) -> _Seconds:
    """Return the seconds of a number, a sequence, an array, a tensor or a column.

    Raises:
        TypeError: No numbers.
        ValueError: A null.
        NotFiniteError: A number that is not finite, unless ``finite`` is False.
    """
    if isinstance(seconds, Iterable) and not hasattr(seconds, "dtype") and not _is_arrow(seconds):
        found = _read_each(list(seconds))
    else:
        found = _read_typed(seconds)
    wrong = np.flatnonzero(~np.isfinite(found.numbers))
    if finite and wrong.size:
        where = "" if found.shape is None else f" at position {wrong[0]}"
        raise NotFiniteError(f"expected finite seconds, found {found.numbers[wrong[0]]}{where}")
    return found


def _read_each(seconds: list[Any]) -> _Seconds:
    if all(type(value) is float for value in seconds):
        return _floats(np.array(seconds, dtype=np.float64), _EXACT_BITS)
    parts = [_read_typed(value) for value in seconds]
    if any(part.shape is not None for part in parts):
        raise TypeError("expected numbers in a list of seconds, found sequences in it; pass an array")
    return _Seconds(
        np.array([part.numbers[0] for part in parts], dtype=np.float64),
        np.array([part.bits[0] for part in parts], dtype=np.int64),
        {position: part.exact[0] for position, part in enumerate(parts) if part.exact},
        (len(parts),),
    )


def _read_typed(seconds: Any) -> _Seconds:
    """Return the seconds of one number, or of an array with a dtype."""
    if _is_arrow(seconds):
        return _read_arrow(seconds)
    if hasattr(seconds, "dtype"):
        return _read_array(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, (Real, Decimal)):
        raise TypeError(f"expected seconds as numbers, found a value of type {type(seconds).__name__}")
    if isinstance(seconds, Decimal) and not seconds.is_finite():
        seconds = float(seconds)
    if isinstance(seconds, (Rational, Decimal)):
        exact = Fraction(seconds)
        bounded = math.copysign(_MAX_SECONDS, exact) if abs(exact) > _MAX_SECONDS else float(exact)
        return _Seconds(np.array([bounded]), np.array([_EXACT_BITS]), {0: exact}, None)
    return _floats(np.array([float(seconds)]), _EXACT_BITS, is_one=True)


def _floats(numbers: npt.NDArray[Any], bits: int, *, is_one: bool = False) -> _Seconds:
    flat = np.asarray(numbers, dtype=np.float64).reshape(-1)
    precision = np.full(flat.shape, bits, dtype=np.int64)
    return _Seconds(flat, precision, {}, None if is_one else numbers.shape)


def _read_array(seconds: Any) -> _Seconds:
    """Return the seconds of an array or a scalar of NumPy, torch, pandas and similar libraries."""
    dtype = getattr(seconds.dtype, "numpy_dtype", seconds.dtype)  # pandas' own types name NumPy's
    name = str(getattr(dtype, "name", dtype)).lower().removeprefix("torch.")
    if name == "object":
        values = np.asarray(seconds)
        found = _read_each(list(values.reshape(-1)))
        return _Seconds(found.numbers, found.bits, found.exact, values.shape)
    _refuse_nulls(seconds)
    if hasattr(seconds, "detach"):  # torch, whose bfloat16 NumPy does not know
        tensor = seconds.detach().cpu()
        values = (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    elif hasattr(seconds, "isna"):
        values = seconds.to_numpy(dtype=name)
    else:
        values = np.asarray(seconds)
    return _read_plain(values, name)


def _read_plain(values: npt.NDArray[Any], name: str) -> _Seconds:
    is_one = values.shape == ()
    if name.startswith(("int", "uint")):
        whole = {position: Fraction(int(value)) for position, value in enumerate(values.reshape(-1).tolist())}
        return replace(_floats(values, _EXACT_BITS, is_one=is_one), exact=whole)
    if name not in _SIGNIFICAND_BITS:
        raise TypeError(f"expected seconds as floats or integers, found {name}")
    return _floats(values, _SIGNIFICAND_BITS[name], is_one=is_one)


def _refuse_nulls(seconds: Any) -> None:
    is_null = np.ma.getmaskarray(seconds) if isinstance(seconds, np.ma.MaskedArray) else None
    if hasattr(seconds, "isna"):
        is_null = np.asarray(seconds.isna())
    if is_null is not None and is_null.any():
        raise ValueError(f"expected a time in every row, found none at position {int(is_null.argmax())}")


def _is_arrow(seconds: Any) -> bool:
    return type(seconds).__module__.partition(".")[0] == "pyarrow"


def _read_arrow(seconds: Any) -> _Seconds:
    """Return the seconds of an array, a chunked array or a scalar of Arrow."""
    kind = getattr(seconds, "type", None)
    if kind is None:
        raise TypeError(f"expected a column of seconds, found {type(seconds).__name__}; name the column")
    if str(kind).startswith("dictionary"):
        return _read_arrow(seconds.cast(kind.value_type))
    is_one = hasattr(seconds, "as_py")
    rows = [seconds.as_py()] if is_one else seconds.to_pylist()
    if None in rows:
        raise ValueError(f"expected a time in every row, found a null at position {rows.index(None)}")
    name = "float32" if str(kind) == "float" else str(kind)
    if name in _SIGNIFICAND_BITS:
        return _floats(np.array(rows, dtype=np.float64), _SIGNIFICAND_BITS[name], is_one=is_one)
    found = _read_each(rows)
    return replace(found, shape=None) if is_one else found
