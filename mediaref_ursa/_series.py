"""Decoded windows as temporaldata objects: the only module that knows temporaldata."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from temporaldata import Interval, IrregularTimeSeries


class FrameSeries(IrregularTimeSeries):  # type: ignore[misc] # temporaldata has no types
    """An ``IrregularTimeSeries`` of frames that also carries the metadata of its video.

    In every other way it is what its base class is, in HDF5 files too. ``temporaldata.concat`` alone
    takes nothing but the base class itself: join windows with ``LazyVideo.concat`` instead.
    """

    _metadata: Any = None

    @property
    def metadata(self) -> Any:
        """The metadata of the video that the frames come from, the same object."""
        return self._metadata

    def slice(self, *args: Any, **kwargs: Any) -> FrameSeries:
        """Return a part of the series, as its base class does, with the same metadata."""
        part: FrameSeries = super().slice(*args, **kwargs)
        part._metadata = self._metadata
        return part

    def to_hdf5(self, file: Any) -> None:
        """Save to an HDF5 file or group, from which ``IrregularTimeSeries.from_hdf5`` reads it."""
        super().to_hdf5(file)
        file.attrs["object"] = IrregularTimeSeries.__name__


def frame_series(
    timestamps: npt.NDArray[np.float64],
    frames: npt.NDArray[np.uint8],
    domain: tuple[float, float],
    metadata: Any,
) -> FrameSeries:
    """Return frames with their timestamps.

    Args:
        timestamps: float64 ``(n,)``, seconds.
        frames: uint8 ``(n, C, H, W)`` or ``(n, H, W, C)``.
        domain: The time, in seconds, from which the frames were taken.
        metadata: Kept as it is.
    """
    series = FrameSeries(
        timestamps=timestamps,
        frames=frames,
        domain=Interval(start=np.array([domain[0]]), end=np.array([domain[1]])),
    )
    series._metadata = metadata
    return series
