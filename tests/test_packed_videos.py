"""Videos packed into a Lance table, on disk and in a bucket: exact frames, and no more bytes than planned."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from _counting_proxy import CountingProxy
from _media import CLIP_NAMES, Clip
from _oracle import OracleFrame, linear_frames
from _s3 import Bucket, new_bucket

from mediaref_ursa import (
    FrameIndexStaleError,
    LazyVideo,
    MediaChangedError,
    MediaNotFoundError,
    MediaRef,
    batch_decode,
    blob_uri,
    pack_videos,
    plan_decode,
)

GetClip = Callable[[str], Clip]


@pytest.fixture(scope="module")
def packed(clip: GetClip, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The URI of each clip of the test corpus in one table."""
    paths = [clip(name).path for name in CLIP_NAMES]
    table = tmp_path_factory.mktemp("packed") / "corpus.lance"
    return dict(zip(CLIP_NAMES, pack_videos(paths, table, keys=list(CLIP_NAMES)), strict=True))


def references(uri: str, frames: Sequence[OracleFrame]) -> list[MediaRef]:
    return [MediaRef(uri, round(frame.time * 10**9)) for frame in frames]


def noise(path: Path, frames: int) -> Path:
    """Write a video whose frames cannot be compressed much."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"crf": "20", "g": "12"}
        for _ in range(frames):
            pixels = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def assert_same(found: Sequence[Any], expected: Sequence[OracleFrame]) -> None:
    assert len(found) == len(expected)
    wrong = [i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if not np.array_equal(a, b.rgb)]
    assert wrong == []


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_every_clip_gives_the_frames_of_a_linear_decode(
    name: str, packed: dict[str, str], clip: GetClip
) -> None:
    frames = linear_frames(clip(name).path)
    assert_same(batch_decode(references(packed[name], frames)), frames)
    some = random.Random(name).choices(range(len(frames)), k=7)
    refs = references(packed[name], frames)
    assert_same(batch_decode([refs[i] for i in some]), [frames[i] for i in some])


def test_a_batch_of_many_rows(packed: dict[str, str], clip: GetClip) -> None:
    names = ["h264_pyramid_mp4", "mpeg4_avi", "vp8_webm", "h264_vfr_mp4"]
    truth = {name: linear_frames(clip(name).path) for name in names}
    wanted = [(name, i) for name in names for i in range(0, len(truth[name]), 5)]
    random.Random(3).shuffle(wanted)
    refs = [references(packed[name], truth[name])[i] for name, i in wanted]

    assert_same(batch_decode(refs), [truth[name][i] for name, i in wanted])


def test_a_lazy_video_of_a_row(packed: dict[str, str], clip: GetClip) -> None:
    frames = linear_frames(clip("h264_pyramid_mp4").path)
    video = LazyVideo.from_uri(packed["h264_pyramid_mp4"])

    assert len(video) == len(frames)
    assert_same(list(np.moveaxis(video[3:9], 1, -1)), frames[3:9])


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return new_bucket(monkeypatch)


@pytest.fixture
def table(bucket: Bucket) -> str:
    return f"s3://{bucket.name}/sets/a b.lance"


class TestBucket:
    """A packed table in a bucket, by Lance's own object store."""

    @pytest.mark.parametrize("spelling", ["options", "object_store_options"])
    def test_packed_there(self, bucket: Bucket, table: str, clip: GetClip, spelling: str) -> None:
        options = getattr(bucket, spelling)
        path = clip("h264_pyramid_mp4").path
        (uri,) = pack_videos([path], table, keys=["takes/a b.mp4"], storage_options=options)
        frames = linear_frames(path)

        assert uri == f"s3://{bucket.name}/sets/a b.lance/@video/takes/a%20b.mp4"
        assert_same(batch_decode(references(uri, frames), storage_options=options), frames)
        with pytest.raises(MediaNotFoundError, match="no row"):
            batch_decode([MediaRef(uri + "x", 0)], storage_options=options)

    def test_files_of_a_bucket_are_packed(self, bucket: Bucket, table: str, clip: GetClip) -> None:
        path = clip("h264_pyramid_mp4").path
        source = bucket.put("in/x.mp4", path.read_bytes())
        (uri,) = pack_videos([source], table, storage_options=bucket.options)
        frames = linear_frames(path)

        assert uri.endswith("/@video/x.mp4")
        assert_same(batch_decode(references(uri, frames), storage_options=bucket.options), frames)

    def test_a_table_that_is_copied_there(
        self, bucket: Bucket, table: str, clip: GetClip, tmp_path: Path
    ) -> None:
        path = clip("h264_pyramid_mp4").path
        pack_videos([path], tmp_path / "set.lance", keys=["a"])
        for file in (tmp_path / "set.lance").rglob("*"):
            if file.is_file():
                bucket.put(f"sets/a b.lance/{file.relative_to(tmp_path / 'set.lance')}", file.read_bytes())
        frames = linear_frames(path)

        for options in ({}, {"untrusted": True}):
            refs = references(blob_uri(table, "video", "a"), frames)
            found = batch_decode(refs, storage_options=bucket.options, **options)
            assert_same(found, frames)

    def test_no_more_bytes_on_the_wire_than_planned(
        self, bucket: Bucket, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """16 random frames of a file of some megabytes: all that the server sends, look-ups included."""
        monkeypatch.setenv("MEDIAREF_URSA_CACHE_LIMIT", "0")
        path = noise(tmp_path / "noise.mp4", frames=120)
        frames = linear_frames(path)
        some = random.Random(1).sample(range(len(frames)), 16)
        with CountingProxy(bucket.endpoint_url) as proxy:
            options: dict[str, Any] = {"storage_options": {**bucket.options, "endpoint_url": proxy.url}}
            (uri,) = pack_videos([path], table, keys=["a"], **options)
            refs = [references(uri, frames)[i] for i in some]
            batch_decode(refs[:1], **options)  # scans the video, and keeps its index
            plan = plan_decode(refs, **options)
            proxy.reset()
            assert_same(batch_decode(refs, **options), [frames[i] for i in some])

        assert plan.bytes < proxy.bytes_sent <= 1.15 * plan.bytes

    def test_a_row_that_is_written_anew(
        self, bucket: Bucket, table: str, clip: GetClip, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without the disk cache, which still has the bytes of the row that was."""
        import lance

        monkeypatch.setenv("MEDIAREF_URSA_CACHE_LIMIT", "0")
        first, second = clip("h264_pyramid_mp4").path, clip("mpeg4_avi").path
        (uri,) = pack_videos([first], table, keys=["a"], storage_options=bucket.options)
        frames = linear_frames(first)
        assert_same(batch_decode(references(uri, frames)[:2], storage_options=bucket.options), frames[:2])
        video = LazyVideo.from_uri(uri, storage_options=bucket.options)
        dataset = lance.dataset(table, storage_options=bucket.object_store_options)
        dataset.delete("key = 'a'")
        pack_videos([second], table, keys=["a"], storage_options=bucket.options)

        with pytest.raises((MediaChangedError, FrameIndexStaleError)):
            list(video[20:25])
        others = linear_frames(second)[:10]
        assert_same(batch_decode(references(uri, others), storage_options=bucket.options), others)

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_in_other_processes(self, bucket: Bucket, table: str, clip: GetClip, method: str) -> None:
        path = clip("h264_pyramid_mp4").path
        (uri,) = pack_videos([path], table, keys=["a"], storage_options=bucket.options)
        refs = references(uri, linear_frames(path))
        expected = batch_decode(refs[:2], storage_options=bucket.options)
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            found = pool.map(Decode(bucket.options), [refs[:2], refs[:2]])
        for frames in found:
            assert all(np.array_equal(a, b) for a, b in zip(frames, expected, strict=True))


class Decode:
    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    def __call__(self, refs: list[MediaRef]) -> list[Any]:
        return list(batch_decode(refs, storage_options=self._options))
