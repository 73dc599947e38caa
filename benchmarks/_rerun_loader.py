"""The data set of rerun-sdk that shuffles blocks, over recordings of the same pictures as the videos.

Runs in the environment of rerun-sdk. A recording cannot have B-frames, so that its pictures are encoded anew
without; the rest is as in the video.
"""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import rerun
import torch
from rerun.experimental import dataloader
from torch.utils.data import DataLoader, IterableDataset

_TIMELINE = "number"
_servers: list[Any] = []  # run as long as this process
_FETCHED = 250  # frames of a block: as many as share a random access point

# rerun-sdk imports torchvision, for images. One that was built for CUDA finds no operators beside a torch
# that was not, and then cannot be imported unless they are declared.
if not torch.backends.cuda.is_built():
    _operators = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


class Frames(IterableDataset[Any]):
    """A data set of rerun-sdk; workers that unpickle it import this module first."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __iter__(self) -> Any:
        return iter(self.data)


def recordings(folder: Path, videos: list[str], gop: int) -> list[Path]:
    """Return a recording for each video, made if they are not in the folder yet."""
    done = folder / "recordings"
    found = [done / f"{Path(video).stem}.rrd" for video in videos]
    if done.exists():
        return found
    partial = folder / "recordings.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    samples, keys = _without_b_frames(videos[0], gop)
    for number, path in enumerate(found):
        recording = rerun.RecordingStream("epoch", recording_id=path.stem)
        recording.save(partial / path.name)
        recording.log("camera", rerun.VideoStream.from_fields(codec=rerun.VideoCodec.H264), static=True)
        times = rerun.TimeColumn(_TIMELINE, sequence=range(len(samples)))
        columns = rerun.VideoStream.columns(sample=samples, is_keyframe=keys)
        recording.send_columns("camera", indexes=[times], columns=columns)
        rows = np.arange(number * len(samples), (number + 1) * len(samples), dtype=np.float64)
        recording.send_columns("row", indexes=[times], columns=rerun.Scalars.columns(scalars=rows))
        recording.disconnect()
    partial.rename(done)
    return found


def _without_b_frames(video: str, gop: int) -> tuple[list[bytes], list[bool]]:
    """Return the packets of a video's pictures, encoded anew, and whether each begins a closed GOP."""
    samples, keys = [], []
    with av.open(video) as source:
        of = source.streams.video[0]
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = of.width, of.height, "yuv420p"
        encoder.time_base = Fraction(1, int(of.average_rate or 30))
        encoder.options = {"g": str(gop), "bf": "0"}
        for number, frame in enumerate(source.decode(of)):
            again = frame.reformat(format="yuv420p")
            again.pts, again.time_base, again.pict_type = number, encoder.time_base, 0
            for packet in encoder.encode(again):
                samples.append(bytes(packet))
                keys.append(packet.is_keyframe)
        for packet in encoder.encode(None):
            samples.append(bytes(packet))
            keys.append(packet.is_keyframe)
    return samples, keys


def loader(folder: Path, videos: list[str], *, gop: int, buffer_frames: int, workers: int) -> DataLoader[Any]:
    """Return a loader of batches of 32; the server that its workers ask runs in this process."""
    server = rerun.server.Server(host="127.0.0.1", datasets={"epoch": recordings(folder, videos, gop)})
    source = dataloader.DataSource(server.client().get_dataset("epoch"))
    fields = {
        "frame": dataloader.Field("/camera:VideoStream:sample", dataloader.VideoFrameDecoder(codec="h264")),
        "row": dataloader.Field("/row:Scalars:scalars", dataloader.NumericDecoder()),
    }
    data = dataloader.RerunIterableDataset(
        source,
        _TIMELINE,
        fields,
        fetch_block_size=_FETCHED,
        shuffle_strategy=dataloader.BlockShuffle(buffer_size=buffer_frames),
    )
    found = DataLoader(Frames(data), 32, num_workers=workers, multiprocessing_context="spawn")
    _servers.append(server)
    return found
