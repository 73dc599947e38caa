"""A recorded session on disk: two cameras of three files each, and spikes in an HDF5 file."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
from _oracle import linear_frames

from mediaref_ursa import write_frame_index
from mediaref_ursa.catalog import ModalityRow


class Recorded:
    """Two cameras of three files each, the second's clock without the tick of a dropped frame, and spikes."""

    def __init__(
        self, folder: Path, clip: str, td: ModuleType, name: str = "day1", start: float = 100.0
    ) -> None:
        self.name = name
        frames = linear_frames(clip)
        self.frames = np.stack([frame.rgb for frame in frames] * 3)
        self.clocks: dict[str, np.ndarray] = {}
        self.rows = []
        for camera, offset in (("left", 0.0), ("right", 0.013)):
            files = []
            for number in range(3):
                files.append(str(shutil.copy(clip, folder / f"{name}-{camera}-{number}.mp4")))
            ticks = start + offset + np.arange(len(self.frames) + 1) / 25
            self.clocks[camera] = np.delete(ticks, 17) if camera == "right" else ticks[:-1]
            uri = str(folder / f"{name}-{camera}")
            write_frame_index(uri, segments=files, timestamps=self.clocks[camera])
            self.rows.append(ModalityRow(recording=name, name=camera, format="mp4_index", uri=uri))
        self.spikes = start + np.sort(np.random.default_rng(5).uniform(0, len(self.frames) / 25, 500))
        series = td.IrregularTimeSeries(
            timestamps=self.spikes,
            unit=np.arange(500),
            domain=td.Interval(start, start + len(self.frames) / 25),
        )
        with h5py.File(folder / f"{name}.h5", "w") as file:
            series.to_hdf5(file.create_group("spikes"))
        self.rows.append(
            ModalityRow(
                recording=name, name="spikes", format="hdf5", uri=str(folder / f"{name}.h5"), group="spikes"
            )
        )

    def shown(self, camera: str, start: float, end: float) -> np.ndarray:
        clock = self.clocks[camera]
        return self.frames[(clock >= start) & (clock < end)]
