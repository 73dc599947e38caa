"""Decoded windows as temporaldata objects: the only module that knows temporaldata."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from temporaldata import Interval, IrregularTimeSeries


class FrameSeries(IrregularTimeSeries):  # type: ignore[misc] # temporaldata has no types
    """An ``IrregularTimeSeries`` of frames that also carries the metadata of its video.

    In every other way it is what its base class is, in HDF5 files too.
    """

    _metadata: Any = None

    @property
    def metadata(self) -> Any:
        """The metadata of the video that the frames come from, the same object."""
        return self._metadata

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
