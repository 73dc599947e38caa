"""In a PyTorch DataLoader: with and without workers, forked and spawned, after use in the parent."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _media import Clip
from _oracle import linear_frames

from mediaref_ursa import LazyVideo, batch_decode, write_frame_index

torch = pytest.importorskip("torch", reason="torch is not installed")
data = pytest.importorskip("torch.utils.data", reason="torch is not installed")

GetClip = Callable[[str], Clip]
WINDOW = 8


class Windows:
    """A data set of windows of a video, and of references to its frames."""

    def __init__(self, video: LazyVideo, *, as_refs: bool) -> None:
        self.video = video
        self.as_refs = as_refs

    def __len__(self) -> int:
        return len(self.video) // WINDOW

    def __getitem__(self, number: int) -> object:
        places = slice(number * WINDOW, (number + 1) * WINDOW)
        if not self.as_refs:
            return torch.from_numpy(self.video[places])
        start, end = self.video.timestamps[places][[0, -1]]
        refs = self.video.lazy_slice(start, end + 1e-6).refs()
        return torch.from_numpy(np.stack(batch_decode(refs, channel_format="NCHW")))


@pytest.mark.parametrize("with_index", [True, False])
@pytest.mark.parametrize("as_refs", [False, True])
@pytest.mark.parametrize(("workers", "method"), [(0, None), (2, "fork"), (2, "spawn")])
def test_windows_come_out_of_a_loader(
    workers: int, method: str | None, as_refs: bool, with_index: bool, clip: GetClip, tmp_path: Path
) -> None:
    path = str(shutil.copy(clip("h264_29_97_mp4").path, tmp_path / "video.mp4"))
    if with_index:
        write_frame_index(path)
    video = LazyVideo.from_uri(path)
    expected = np.stack([frame.rgb for frame in linear_frames(path)]).transpose(0, 3, 1, 2)
    assert np.array_equal(video[:4], expected[:4])  # the parent has used it before the fork
    loader = data.DataLoader(
        Windows(video, as_refs=as_refs),
        batch_size=2,
        num_workers=workers,
        multiprocessing_context=method,
        timeout=60 if workers else 0,
    )
    found = np.concatenate([batch.flatten(0, 1).numpy() for batch in loader])
    assert np.array_equal(found, expected[: len(found)])
    assert len(found) == len(video) // WINDOW * WINDOW
