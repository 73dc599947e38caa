"""What a type checker says of results: read by mypy and pyright, never run."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from typing_extensions import assert_type

from mediaref_ursa import (
    DecodedBatch,
    DecodePlan,
    FrameBeyondToleranceError,
    LazyVideo,
    MediaRef,
    References,
    batch_decode,
    plan_decode,
)
from mediaref_ursa._core.array_types import UInt8Array
from mediaref_ursa._references.columns import ArrowTable
from mediaref_ursa.video_decoder import FrameBatch, PyAVVideoDecoder

REFS = [MediaRef("clip.mp4", 0), MediaRef("photo.png")]


def lists() -> None:
    assert_type(batch_decode(REFS), DecodedBatch[UInt8Array])
    assert_type(batch_decode(REFS)[0], UInt8Array)
    assert_type(batch_decode(REFS, "sequential", "pyav", resize=(64, 64)), DecodedBatch[UInt8Array])
    assert_type(batch_decode(REFS, on_error="raise", untrusted=True), DecodedBatch[UInt8Array])


def nothing_where_an_error_is() -> None:
    batch = batch_decode(REFS, on_error="none")
    assert_type(batch, DecodedBatch[UInt8Array | None])
    for frame in batch:
        assert_type(frame, UInt8Array | None)
    for position, error in batch.errors.items():
        assert_type(position, int)
        assert_type(error.uri, str | None)


def one_array() -> None:
    assert_type(batch_decode(REFS, as_array=True), UInt8Array)
    assert_type(batch_decode(REFS, as_array=True, out=np.empty((2, 8, 8, 3), np.uint8)), UInt8Array)


def tensors(device: torch.device) -> None:
    assert_type(batch_decode(REFS, device="cpu"), DecodedBatch[torch.Tensor])
    assert_type(batch_decode(REFS, device=device, on_error="none"), DecodedBatch[torch.Tensor | None])
    assert_type(batch_decode(REFS, device=device, as_array=True), torch.Tensor)


def chosen_at_run_time(as_array: bool, device: str | None) -> None:
    found = batch_decode(REFS, as_array=as_array, device=device)
    assert_type(found, DecodedBatch[Any] | UInt8Array | torch.Tensor)


def every_bit() -> None:
    assert_type(batch_decode(REFS, dtype="native"), DecodedBatch[npt.NDArray[Any]])
    assert_type(batch_decode(REFS, dtype="native", as_array=True), npt.NDArray[Any])
    assert_type(batch_decode(REFS, dtype="native", on_error="none"), DecodedBatch[npt.NDArray[Any] | None])
    assert_type(batch_decode(REFS, output_format="native"), DecodedBatch[npt.NDArray[Any]])
    assert_type(batch_decode(REFS, dtype="uint8", crop=(0, 0, 8, 8)), DecodedBatch[UInt8Array])
    assert_type(batch_decode(REFS, dtype="native", device="cpu"), DecodedBatch[torch.Tensor])


def masks() -> None:
    found = batch_decode(REFS, as_array=True, on_error="mask")
    assert_type(found, tuple[npt.NDArray[Any], npt.NDArray[np.bool_]])


def tables(table: ArrowTable, windows: list[list[MediaRef]]) -> None:
    assert_type(batch_decode(table, column="obs", rebase={"/old": "new"}), DecodedBatch[UInt8Array])
    batch_decode(windows, as_array=True)
    batch_decode(table, path="media_ref", uri="v", pts_ns="t")
    assert_type(plan_decode(table, on_error="none", column="obs"), DecodePlan)


def plans() -> None:
    assert_type(plan_decode(REFS, tolerance_ns=0), DecodePlan)
    assert_type(plan_decode(REFS, match="nearest", tolerance_ns=0), DecodePlan)


def times() -> None:
    assert_type(batch_decode(REFS, match="nearest"), DecodedBatch[UInt8Array])
    assert_type(batch_decode(REFS, device="cpu").pts_ns, npt.NDArray[np.int64])


def frames_beyond_the_tolerance(error: FrameBeyondToleranceError) -> None:
    assert_type(error.distance_ns, int)
    assert_type(error.neighbours_ns, tuple[int | None, int | None])


def one_frame(ref: MediaRef) -> None:
    pixels: npt.NDArray[np.uint8] = ref.to_ndarray("gray", untrusted=True)
    assert pixels.ndim == 2


def lazy_videos(video: LazyVideo) -> None:
    assert_type(video[0], npt.NDArray[Any])  # of uint8, or with dtype="native" of the media's type
    assert_type(video[2:8], npt.NDArray[Any])
    assert_type(video[[0, 5, 9]], npt.NDArray[Any])
    assert_type(video.frame_at(0.5), npt.NDArray[Any])
    assert_type(video.frame_at(np.float32(0.5), match="nearest", tolerance_ns=10**7), npt.NDArray[Any])
    assert_type(video.pts_ns, npt.NDArray[np.int64])
    assert_type(video.lazy_slice(0.5, 1.0), LazyVideo)
    assert_type(iter(video), Iterator[npt.NDArray[Any]])
    assert_type(LazyVideo.from_refs(video.refs()), tuple[LazyVideo, slice])


def decoder_classes() -> None:
    with PyAVVideoDecoder("clip.mp4") as decoder:
        assert_type(decoder.get_frames_played_at([0.0]), FrameBatch)
        assert_type(decoder.get_frames_played_at([0.0], match="nearest", tolerance_ns=5), FrameBatch)
        assert_type(decoder.get_frame_played_at(0.0, match="nearest").pts_ns, int | None)


def with_references_of_one_name(refs: References) -> None:
    assert_type(batch_decode(refs), DecodedBatch[UInt8Array])
