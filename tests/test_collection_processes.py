"""Collections and many processes: workers that read, writers at once, writers that are killed."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pytest
from _media import Clip
from _oracle import linear_frames

from mediaref_ursa import CollectionIndex, LazyVideo, MediaRef, batch_decode, cleanup_cache, plan_decode
from mediaref_ursa.video_decoder import PyAVVideoDecoder

GetClip = Callable[[str], Clip]
VIDEOS = 24

ADD = """
import sys
import mediaref_ursa._index.collection_build as build
from mediaref_ursa import CollectionIndex
build._COMMIT_VIDEOS = 3
collection = CollectionIndex.open(sys.argv[1], create=True)
print("begun", flush=True)
collection.add(sys.argv[2:])
"""
COMPACT = """
import sys
from mediaref_ursa import CollectionIndex
collection = CollectionIndex.open(sys.argv[1])
print("begun", flush=True)
while True:
    collection.add(sys.argv[2:4], overwrite=True)
    collection.compact()
"""


@pytest.fixture
def folder(clip: GetClip, tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(VIDEOS):
        shutil.copy(clip("h264_idr_mp4").path, folder / f"{number:02d}.mp4")
    return folder


def videos_of(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.glob("*.mp4"))


def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == b"begun\n"
    return process


def rows_of(collection: Path) -> list[str]:
    return sorted(lance.dataset(collection).to_table(columns=["uri"]).column("uri").to_pylist())


def decoded(collection: CollectionIndex, video: str) -> bytes:
    frames = batch_decode([MediaRef(video, 0), MediaRef(video, 500_000_000)], frame_index=collection)
    return b"".join(frame.tobytes() for frame in frames)


def test_frames_are_those_of_a_linear_decode_in_every_call(clip: GetClip, tmp_path: Path) -> None:
    names = ("h264_open_gop_mp4", "hevc_open_gop_mp4", "vp8_hidden_webm", "av1_mp4", "mpeg2_mp4")
    videos = [str(clip(name).path) for name in names]
    collection = CollectionIndex.open(tmp_path / "set.lance", create=True)
    collection.add(videos, jobs=2)
    expected = {video: linear_frames(video) for video in videos}
    refs = [
        MediaRef(video, int(pts)) for video in videos for pts in collection.get(video).segment_table(0).pts_ns
    ]
    random.Random(1).shuffle(refs)

    found = batch_decode(refs, frame_index=collection)

    plan = plan_decode(refs, frame_index=collection)
    assert plan.frames == len(refs)
    for ref, frame in zip(refs, found, strict=True):
        table = collection.get(ref.uri).segment_table(0)
        number = int(np.searchsorted(table.pts_ns, ref.pts_ns or 0))
        assert np.array_equal(frame, expected[ref.uri][number].rgb)
    for video in videos:
        rgb = np.stack([frame.rgb for frame in expected[video]])
        lazy = LazyVideo.from_uri(video, frame_index=collection, channel_format="NHWC")
        assert np.array_equal(lazy[:].frames if hasattr(lazy[:], "frames") else lazy[:], rgb)
        decoder = PyAVVideoDecoder(video, frame_index=collection, dimension_order="NHWC")
        assert np.array_equal(decoder[3], rgb[3])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_use_a_collection_of_their_parent(method: str, folder: Path) -> None:
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    videos = videos_of(folder)[:4]
    collection.add(videos)
    expected = [decoded(collection, video) for video in videos]
    cleanup_cache()

    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.starmap(decoded, [(CollectionIndex.open(collection.uri), video) for video in videos])
        again = pool.starmap(decoded, [(collection, video) for video in videos])

    assert found == again == expected


def test_a_forked_child_writes_too(folder: Path) -> None:
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    first, second = videos_of(folder)[:2]
    collection.add([first])
    child = multiprocessing.get_context("fork").Process(target=collection.add, args=([second],))
    child.start()
    child.join(60)

    assert child.exitcode == 0
    assert sorted(collection) == [first, second]


def test_several_writers_lose_nothing_and_leave_no_row_twice(folder: Path) -> None:
    videos, place = videos_of(folder), folder / "set.lance"
    writers = [start(ADD, str(place), *some) for some in (videos[:16], videos[8:], list(reversed(videos)))]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]

    assert rows_of(place) == [Path(video).name for video in videos]
    assert len({decoded(CollectionIndex.open(place), video) for video in videos}) == 1


def test_a_killed_writer_leaves_whole_videos_and_the_next_goes_on(folder: Path) -> None:
    videos, place = videos_of(folder), folder / "set.lance"
    for seed in range(5):
        writer = start(ADD, str(place), *videos)
        time.sleep(random.Random(seed).random() * 0.3)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        collection = CollectionIndex.open(place)
        assert [collection.get(video).has_packets for video in collection] == [True] * len(collection)

    kept = len(CollectionIndex.open(place))
    assert CollectionIndex.open(place).add(videos).kept == kept

    assert rows_of(place) == [Path(video).name for video in videos]


def test_compaction_and_removal_beside_writers_lose_nothing(folder: Path) -> None:
    videos, place = videos_of(folder), folder / "set.lance"
    CollectionIndex.open(place, create=True).add(videos[:2])
    compacting = start(COMPACT, str(place), *videos[:2])
    writers = [start(ADD, str(place), *some) for some in (videos[2:14], videos[10:])]
    collection = CollectionIndex.open(place)
    for _ in range(5):
        collection.remove(videos[:1])
        collection.add(videos[:1])

    assert [writer.wait(120) for writer in writers] == [0, 0]
    assert compacting.poll() is None
    compacting.kill()
    compacting.wait()
    assert rows_of(place) == [Path(video).name for video in videos]


def test_a_table_whose_maker_was_killed_early_gets_its_scalar_index(folder: Path) -> None:
    videos, place = videos_of(folder), folder / "set.lance"
    collection = CollectionIndex.open(place, create=True)
    lance.dataset(place).drop_index(lance.dataset(place).describe_indices()[0].name)
    collection.add(videos[:3])

    assert [index.field_names for index in lance.dataset(place).describe_indices()] == [["uri"]]
    assert sorted(collection.get_many(videos)) == videos[:3]


def test_a_killed_compaction_loses_nothing(folder: Path) -> None:
    videos, place = videos_of(folder), folder / "set.lance"
    CollectionIndex.open(place, create=True).add(videos)
    for seed in range(5):
        writer = start(COMPACT, str(place), *videos)
        time.sleep(random.Random(seed).random() * 0.3)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        collection = CollectionIndex.open(place)
        assert rows_of(place) == [Path(video).name for video in videos]
        assert sorted(collection.get_many(videos)) == videos
    CollectionIndex.open(place).compact()
    assert rows_of(place) == [Path(video).name for video in videos]
