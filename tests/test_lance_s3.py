"""Frame indexes on ``s3://``: written there, found beside the video, and the same frames decoded from it."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from _media import Clip
from _oracle import linear_frames
from _s3 import Bucket, checked_credentials, new_bucket

from mediaref_ursa import (
    FrameIndexExistsError,
    FrameIndexMissingError,
    InvalidReferenceError,
    LanceFrameIndex,
    MediaNotFoundError,
    MediaRef,
    StoreError,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa.store import MemoryStore, store_for


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return new_bucket(monkeypatch)


@pytest.fixture
def video(bucket: Bucket, clip: Callable[[str], Clip]) -> str:
    return bucket.put("takes/a b%20.mp4", clip("h264_pyramid_mp4").path.read_bytes())


def refs_of(uri: str, frames: list[Any]) -> list[MediaRef]:
    return [MediaRef(uri, round(frame.time * 10**9)) for frame in frames]


@pytest.mark.parametrize("spelling", ["options", "object_store_options"])
def test_written_beside_the_video_and_opened_again(bucket: Bucket, video: str, spelling: str) -> None:
    options = getattr(bucket, spelling)
    written = write_frame_index(video, storage_options=options)
    assert {key.split("/")[1] for key in bucket.list_keys()} == {"a b%20.mp4", "a b%20.mp4.lance"}
    opened = LanceFrameIndex.open(video, storage_options=options)
    assert len(opened) == len(written) > 0
    assert opened.pts_table(0).tolist() == written.pts_table(0).tolist()
    assert opened.segments == written.segments
    assert opened.segments[0].uri == video
    opened.check_fresh(0, store_for(video, options).head(video))
    assert opened.segments[0].etag == store_for(video, options).head(video).etag


def test_decoded_bit_for_bit(bucket: Bucket, video: str, clip: Callable[[str], Clip]) -> None:
    truth = linear_frames(clip("h264_pyramid_mp4").path)
    write_frame_index(video, storage_options=bucket.options)
    wanted = [truth[i] for i in (len(truth) - 1, 0, 7, 7, 20)]
    frames = batch_decode(refs_of(video, wanted), storage_options=bucket.options)
    for frame, expected in zip(frames, wanted, strict=True):
        np.testing.assert_array_equal(frame, expected.rgb)


def test_decoded_without_an_index(bucket: Bucket, video: str, clip: Callable[[str], Clip]) -> None:
    truth = linear_frames(clip("h264_pyramid_mp4").path)[3]
    frames = batch_decode(refs_of(video, [truth]), storage_options=bucket.object_store_options)
    np.testing.assert_array_equal(frames[0], truth.rgb)


def test_r2_is_the_same_place(
    bucket: Bucket, video: str, clip: Callable[[str], Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Account and credentials come from the environment; the index keeps the video's own name."""
    monkeypatch.setenv("R2_ENDPOINT_URL", bucket.endpoint_url)
    monkeypatch.setenv("R2_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("R2_SECRET_ACCESS_KEY", "s3cr3t")
    uri = video.replace("s3://", "r2://")
    write_frame_index(uri)
    opened = LanceFrameIndex.open(uri)
    assert b"s3cr3t" not in pickle.dumps(opened)
    assert opened.segments[0].uri == uri
    assert len(LanceFrameIndex.open(video, storage_options=bucket.options)) == len(opened)
    truth = linear_frames(clip("h264_pyramid_mp4").path)[11]
    np.testing.assert_array_equal(batch_decode(refs_of(uri, [truth]))[0], truth.rgb)


def test_r2_without_an_account(bucket: Bucket, video: str) -> None:
    with pytest.raises(InvalidReferenceError, match="R2_ACCOUNT_ID") as caught:
        LanceFrameIndex.open(
            video.replace("s3://", "r2://"), storage_options=bucket.options | {"endpoint_url": None}
        )
    assert caught.value.uri is not None


def test_the_environment_is_enough(bucket: Bucket, video: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lance wants to be told that plain HTTP is meant; what the endpoint says is enough here."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert len(write_frame_index(video)) == len(LanceFrameIndex.open(video))


def test_an_index_is_replaced_only_when_asked(bucket: Bucket, video: str) -> None:
    write_frame_index(video, storage_options=bucket.options)
    with pytest.raises(FrameIndexExistsError):
        write_frame_index(video, storage_options=bucket.options)
    again = write_frame_index(video, overwrite=True, storage_options=bucket.options)
    assert len(LanceFrameIndex.open(video, storage_options=bucket.options)) == len(again)


def test_the_video_may_be_read_from_another_store(bucket: Bucket, clip: Callable[[str], Clip]) -> None:
    uri = f"s3://{bucket.name}/later.mp4"
    store = MemoryStore({uri: clip("h264_idr_mp4").path.read_bytes()})
    write_frame_index(uri, store=store, storage_options=bucket.options)
    assert all(key.startswith("later.mp4.lance/") for key in bucket.list_keys())
    assert LanceFrameIndex.open(uri, storage_options=bucket.options).segments[0].uri == uri


def test_survives_pickling_and_copying(bucket: Bucket, video: str) -> None:
    written = write_frame_index(video, storage_options=bucket.options)
    opened = LanceFrameIndex.open(video, storage_options=bucket.options)
    for twin in (pickle.loads(pickle.dumps(opened)), copy.deepcopy(opened)):
        assert twin.pts_table(0).tolist() == written.pts_table(0).tolist()


class TestErrors:
    def test_no_index_and_no_bucket(self, bucket: Bucket, video: str) -> None:
        with pytest.raises(FrameIndexMissingError):
            LanceFrameIndex.open(video, storage_options=bucket.options)
        gone = f"s3://no-{bucket.name}/a.mp4"
        with pytest.raises((FrameIndexMissingError, StoreError)):
            LanceFrameIndex.open(gone, storage_options=bucket.options)
        with pytest.raises(MediaNotFoundError):
            batch_decode([MediaRef(gone, 0)], storage_options=bucket.options)

    def test_wrong_credentials(self, bucket: Bucket, clip: Callable[[str], Clip]) -> None:
        video = bucket.put("a.mp4", clip("h264_idr_mp4").path.read_bytes())
        write_frame_index(video, storage_options=bucket.options)
        with checked_credentials(bucket) as right:
            wrong = {**right, "secret": "wrong-secret"}
            with pytest.raises(StoreError, match="403") as caught:
                LanceFrameIndex.open(video, storage_options=wrong)
            told = "".join(traceback.format_exception(caught.value))
            assert "wrong-secret" not in told
            assert right["key"] not in told
            assert caught.value.uri == f"{video}.lance"


def _count_frames(video: str, options: dict[str, Any], results: Any) -> None:
    index = LanceFrameIndex.open(video, storage_options=options)
    frame = batch_decode([MediaRef(video, 0)], frame_index=index, storage_options=options)[0]
    results.put((len(index.pts_table(0)), int(frame.sum())))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_another_process_after_use(bucket: Bucket, video: str, method: Any) -> None:
    index = write_frame_index(video, storage_options=bucket.options)
    expected = batch_decode([MediaRef(video, 0)], storage_options=bucket.options)[0]
    context = multiprocessing.get_context(method)
    results = context.Queue()
    child = context.Process(target=_count_frames, args=(video, bucket.options, results))
    child.start()
    assert results.get(timeout=90) == (len(index), int(expected.sum()))
    child.join(30)
    assert child.exitcode == 0
