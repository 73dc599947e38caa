"""What a type checker accepts and refuses: read by mypy and pyright, never run.

Each refusal is marked for both checkers, which report a mark that nothing needs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mediaref_ursa import (
    Access,
    CollectionIndex,
    FetchOptions,
    IndexLimits,
    LanceFrameIndex,
    LazyVideo,
    MediaRef,
    batch_decode,
    plan_decode,
)
from mediaref_ursa.catalog import ModalityRow, StorageFormat, open_modality
from mediaref_ursa.video_decoder import PyAVVideoDecoder

REFS = [MediaRef("clip.mp4", 0)]
ACCESS = Access(untrusted=True, base_dir="data", index_limits=IndexLimits(max_seconds=5))
FETCH = FetchOptions(max_requests=4)


class Row(NamedTuple):
    uri: str
    pts_ns: int | None


def references(table: Any, given: Sequence[MediaRef], columns: dict[str, list[Any]]) -> None:
    batch_decode(REFS)
    batch_decode(tuple(REFS))
    batch_decode(given)
    batch_decode(ref for ref in REFS)
    batch_decode([{"uri": "clip.mp4", "pts_ns": 0}])
    batch_decode([Row("clip.mp4", 0)])
    batch_decode(columns)
    batch_decode(table)  # pyarrow has no types
    LazyVideo.from_refs(given)
    plan_decode(columns)


def tables(frame: pd.DataFrame, column: pd.Series) -> None:
    batch_decode(frame)
    batch_decode(column)


def no_references() -> None:
    batch_decode("clip.mp4")  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    batch_decode(5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    batch_decode([("clip.mp4", 0)])  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]


def option_values() -> None:
    batch_decode(REFS, access=ACCESS, fetch=FETCH)
    plan_decode(REFS, access=ACCESS, fetch=FETCH, allow_gap=False)
    LazyVideo("clip.mp4", access=ACCESS, fetch=FETCH)
    LazyVideo.from_uri(Path("clip.mp4"), access=ACCESS, resize=(64, 64))
    LazyVideo.from_segments(["a.mp4", "b.mp4"], uri="camera", access=ACCESS)
    PyAVVideoDecoder("clip.mp4", access=ACCESS)
    open_modality(ModalityRow(name="camera", format=StorageFormat.VIDEO, uri="a.mp4"), access=ACCESS)
    REFS[0].to_ndarray(access=ACCESS)
    REFS[0].validate_uri(access=ACCESS)


def options_by_name(index: LanceFrameIndex) -> None:
    batch_decode(REFS, untrusted=True, base_dir=Path("data"), max_pixels=10**6, allow_schemes={"https"})
    batch_decode(REFS, frame_index=index, decoder_options={"num_ffmpeg_threads": 2}, max_workers=1)
    collection = CollectionIndex.open("set.lance", create=True)
    collection.add(["clip.mp4"], jobs=2, on_error="skip")
    batch_decode(REFS, frame_index=collection)
    plan_decode(REFS, frame_index=collection)
    LazyVideo.from_uri("clip.mp4", frame_index=collection)
    batch_decode(REFS, frame_index={"clip.mp4": index}, keep_av_open=True, apply_rotation=False)
    LazyVideo.from_uri("clip.mp4", untrusted=True, index_limits=IndexLimits())


def rules(video: LazyVideo) -> None:
    batch_decode(REFS, match="playback")
    REFS[0].to_ndarray(match="nearest", tolerance_ns=10**6)
    REFS[0].to_pil_image(match="nearest")
    batch_decode(REFS, match="closest")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    plan_decode(REFS, match="closest")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    video.frame_at(0.5, match="closest")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def unknown_options() -> None:
    batch_decode(REFS, rezise=(64, 64))  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    batch_decode(REFS, tolerance_ns="1")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    batch_decode(REFS, on_error="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    batch_decode(REFS, access=FETCH)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    plan_decode(REFS, resize=(64, 64))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    LazyVideo("clip.mp4", untrustd=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    LazyVideo.from_uri("clip.mp4", frame_indx="a.lance")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    PyAVVideoDecoder("clip.mp4", untrustd=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    REFS[0].to_ndarray(colorspace="BGR")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    REFS[0].validate_uri(resize=(1, 1))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Access(untrustd=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
