"""Everything that batch_decode takes and gives, beyond which frame it is."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from _media import Clip
from _oracle import linear_frames
from PIL import Image

import mediaref_ursa
from mediaref_ursa import (
    DataURI,
    FrameIndexMissingError,
    FrameOutsideVideoError,
    InvalidReferenceError,
    LanceFrameIndex,
    LimitExceededError,
    MediaNotFoundError,
    MediaRef,
    MediaRefError,
    batch_decode,
    plan_decode,
    write_frame_index,
)
from mediaref_ursa.store import MemoryStore
from mediaref_ursa.table import to_arrow

GetClip = Callable[[str], Clip]


@pytest.fixture
def video(clip: GetClip) -> str:
    return str(clip("h264_idr_mp4").path)


@pytest.fixture
def times(video: str) -> list[int]:
    return [round(frame.time * 10**9) for frame in linear_frames(video)]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_videos_and_images_mixed_in_any_order(
    video: str, times: list[int], picture: Path, clip: GetClip
) -> None:
    other = str(clip("vp9_alt_ref_webm").path)
    pixels = np.asarray(Image.open(picture))
    embedded = DataURI.from_image(pixels, format="png")
    refs = [
        MediaRef(video, times[9]),
        MediaRef(str(picture)),
        MediaRef(other, 0),
        MediaRef(uri=embedded),
        MediaRef(video, times[2]),
        MediaRef(picture.as_uri()),
        MediaRef(video, times[9]),
    ]
    found = batch_decode(refs)
    frames = linear_frames(video)
    assert np.array_equal(found[0], frames[9].rgb)
    assert np.array_equal(found[2], linear_frames(other)[0].rgb)
    assert np.array_equal(found[4], frames[2].rgb)
    assert all(np.array_equal(found[i], pixels) for i in (1, 3, 5))
    assert np.array_equal(found[6], found[0])


def test_a_frame_asked_for_twice_is_decoded_once_and_given_twice(video: str, times: list[int]) -> None:
    refs = [MediaRef(video, times[5])] * 4
    plan = plan_decode(refs)
    assert (plan.references, plan.frames) == (4, 1)
    found = batch_decode(refs)
    found[0][:] = 0
    assert found[1].any()
    assert all(array.flags.writeable and array.flags.c_contiguous for array in found)


def test_any_sequence_of_references(video: str, times: list[int]) -> None:
    refs = [MediaRef(video, t) for t in times[:5]]
    expected = batch_decode(refs)
    table = pd.DataFrame({"ref": [ref.model_dump() for ref in refs]}, index=[9, 8, 7, 6, 5])
    struct = to_arrow(refs)
    for form in (
        tuple(refs),
        iter(refs),
        [ref.model_dump() for ref in refs],
        table["ref"],
        np.array(refs, dtype=object),
        struct,
        pa.chunked_array([struct.slice(0, 2), struct.slice(2)]),
    ):
        found = batch_decode(form)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert batch_decode([]) == []
    assert batch_decode(to_arrow([])) == []


@pytest.mark.parametrize(
    ("refs", "error"),
    [
        ("video.mp4", TypeError),
        (MediaRef("video.mp4", 0), TypeError),
        ({"uri": "video.mp4"}, TypeError),
        (7, TypeError),
        ([None], ValueError),
        (["video.mp4"], ValueError),
        ([{"uri": "a.mp4", "pts_ns": 1.5}], TypeError),
        ([{"uri": "a.mp4", "pts_ns": True}], TypeError),
        ([{"uri": "a.mp4", "pts_ns": 2**63}], ValueError),
    ],
)
def test_what_is_no_sequence_of_references(refs: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="expected"):
        batch_decode(refs)


def test_options_that_are_none(video: str) -> None:
    refs = [MediaRef(video, 0)]
    with pytest.raises(ValueError, match="^Unknown decoder backend"):
        batch_decode(refs, decoder="opencv")
    for options in (
        {"colorspace": "YUV"},
        {"channel_format": "HWC"},
        {"resize": (0, 5)},
        {"on_error": "skip"},
        {"strategy": "fast"},
        {"tolerance_ns": -1},
    ):
        with pytest.raises(ValueError, match="expected|is not a valid"):
            batch_decode(refs, **options)
    with pytest.raises(TypeError, match="apply_rotation"):
        batch_decode(refs, rotate=True)


def test_colours_sizes_and_axes(video: str, picture: Path) -> None:
    rgb = linear_frames(video)[0].rgb
    refs = [MediaRef(video, 0), MediaRef(str(picture))]
    for colorspace, channels in (("RGB", 3), ("BGR", 3), ("RGBA", 4), ("BGRA", 4), ("G", 1)):
        last = batch_decode(refs, colorspace=colorspace)
        first = batch_decode(refs, colorspace=colorspace, channel_format="NCHW")
        resized = batch_decode(refs, colorspace=colorspace, resize=(11, 17))
        assert last[0].shape == (*rgb.shape[:2], channels)
        assert [frame.shape for frame in resized] == [(11, 17, channels)] * 2
        for a, b in zip(last, first, strict=True):
            assert np.array_equal(a.transpose(2, 0, 1), b)
            assert b.flags.c_contiguous
        if channels == 3:
            assert np.array_equal(last[0], rgb if colorspace == "RGB" else rgb[..., ::-1])
        if channels == 4:
            assert (last[0][..., 3] == 255).all()


def test_gray_is_the_luma_of_the_colours(clip: GetClip) -> None:
    path = str(clip("colour_bt601_limited_mp4").path)
    rgb, gray = batch_decode([MediaRef(path, 0)])[0], batch_decode([MediaRef(path, 0)], colorspace="G")[0]
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma - gray[..., 0]).max() <= 3


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("levels", ["limited", "full"])
def test_colours_follow_the_tags_of_the_stream(matrix: str, levels: str, clip: GetClip) -> None:
    from _media import COLOUR_PATCHES

    found = batch_decode([MediaRef(str(clip(f"colour_{matrix}_{levels}_mp4").path), 0)])[0].astype(int)
    rows, columns, _ = COLOUR_PATCHES.shape
    height, width = found.shape[0] // rows, found.shape[1] // columns
    for row in range(rows):
        for column in range(columns):
            middle = found[row * height + height // 2, column * width + width // 2]
            assert np.abs(middle - COLOUR_PATCHES[row, column]).max() <= 4


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotation_is_applied_unless_it_is_turned_off(turn: int, clip: GetClip) -> None:
    path = str(clip(f"rotated_{turn}_mp4").path)
    turned = batch_decode([MediaRef(path, 0)])[0]
    coded = batch_decode([MediaRef(path, 0)], apply_rotation=False)[0]
    assert np.array_equal(np.rot90(coded, -turn // 90), turned)
    assert batch_decode([MediaRef(path, 0)], resize=(30, 50))[0].shape == (30, 50, 3)
    assert batch_decode([MediaRef(path, 0)], resize=(30, 50), channel_format="NCHW")[0].shape == (3, 30, 50)


def test_errors_leave_the_rest_and_are_reachable(video: str, times: list[int], tmp_path: Path) -> None:
    refs = [
        MediaRef(video, times[0]),
        MediaRef(video, 10**15),
        MediaRef(str(tmp_path / "gone.mp4"), 0),
        MediaRef(str(tmp_path / "gone.png")),
        MediaRef("gopher://host/a.mp4", 0),
        MediaRef(video, times[1]),
    ]
    batch = batch_decode(refs, on_error="none")
    assert [frame is None for frame in batch] == [False, True, True, True, True, False]
    kinds = {i: type(error) for i, error in batch.errors.items()}
    assert kinds == {
        1: FrameOutsideVideoError,
        2: MediaNotFoundError,
        3: MediaNotFoundError,
        4: InvalidReferenceError,
    }
    assert all(
        (error.uri, error.pts_ns) == (refs[i].uri, refs[i].pts_ns) for i, error in batch.errors.items()
    )
    with pytest.raises(FrameOutsideVideoError):
        batch_decode(refs)


def test_the_tolerance_can_be_changed(video: str, times: list[int]) -> None:
    frames = linear_frames(video)
    early = [MediaRef(video, times[4] - 500)]
    assert np.array_equal(batch_decode(early)[0], frames[4].rgb)
    assert np.array_equal(batch_decode(early, tolerance_ns=0)[0], frames[3].rgb)


def test_base_directories(video: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(video, tmp_path / "data" / "video.mp4")
    shutil.copy(video, tmp_path / "outside.mp4")
    os.symlink(tmp_path / "outside.mp4", tmp_path / "data" / "link.mp4")
    refs = [MediaRef("video.mp4", 0)]
    assert batch_decode(refs, base_dir=tmp_path / "data")[0].shape
    assert plan_decode(refs, base_dir=str(tmp_path / "data")).frames == 1
    for uri in ("../outside.mp4", "link.mp4", "a/../../outside.mp4"):
        for pts_ns in (0, None):
            with pytest.raises(InvalidReferenceError, match="leads out"):
                batch_decode([MediaRef(uri, pts_ns)], base_dir=tmp_path / "data")


def test_relative_paths_follow_the_working_directory(
    video: str, clip: GetClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in (("a", "h264_idr_mp4"), ("b", "h264_29_97_mp4")):
        (tmp_path / folder).mkdir()
        shutil.copy(clip(name).path, tmp_path / folder / "video.mp4")
    for folder, name in (("a", "h264_idr_mp4"), ("b", "h264_29_97_mp4"), ("a", "h264_idr_mp4")):
        monkeypatch.chdir(tmp_path / folder)
        found = batch_decode([MediaRef("video.mp4", 0)])[0]
        assert np.array_equal(found, linear_frames(clip(name).path)[0].rgb)


def test_an_index_given_by_the_caller(video: str, times: list[int], clip: GetClip, tmp_path: Path) -> None:
    copies = [shutil.copy(path, tmp_path) for path in (video, clip("h264_mkv").path)]
    indexes = {path: write_frame_index(path) for path in copies}
    refs = [MediaRef(path, times[3]) for path in copies]
    expected = batch_decode(refs)
    assert np.array_equal(batch_decode(refs[:1], frame_index=indexes[copies[0]])[0], expected[0])
    assert np.array_equal(batch_decode(refs[:1], frame_index=copies[0])[0], expected[0])
    assert np.array_equal(batch_decode(refs, frame_index=indexes)[1], expected[1])
    with pytest.raises(ValueError, match="mapping"):
        batch_decode(refs, frame_index=LanceFrameIndex.open(copies[0]))


def test_times_of_several_segments_run_on(clip: GetClip, tmp_path: Path) -> None:
    paths = [shutil.copy(clip(name).path, tmp_path) for name in ("h264_idr_mp4", "h264_29_97_mp4")]
    index = write_frame_index(str(tmp_path / "whole.mp4"), segments=paths)
    first, second = (linear_frames(path) for path in paths)
    moved = round(first[-1].end * 10**9)
    refs = [MediaRef(str(tmp_path / "whole.mp4"), moved + round(frame.time * 10**9)) for frame in second]
    found = batch_decode(refs, frame_index=index)
    assert all(np.array_equal(a, b.rgb) for a, b in zip(found, second, strict=True))


def test_large_pictures_are_refused_before_memory_is_taken(video: str) -> None:
    with pytest.raises(LimitExceededError, match="max_pixels="):
        batch_decode([MediaRef(video, 0)], max_pixels=100)
    with pytest.raises(LimitExceededError, match="max_pixels="):
        batch_decode([MediaRef(video, 0)], resize=(100_000, 100_000))


def test_a_plan_explains_itself(video: str, times: list[int]) -> None:
    plan = plan_decode([MediaRef(video, times[20]), MediaRef(video, times[21]), MediaRef(video, times[45])])
    text = plan.explain()
    assert "3 references" in text
    assert f"{plan.packets} packets" in text
    assert f"{plan.bytes} bytes" in text
    assert text.count("run from packet") == len(plan.runs) == 2


def test_from_many_threads_at_once(video: str, times: list[int], clip: GetClip) -> None:
    mediaref_ursa.cleanup_cache()
    frames = linear_frames(video)
    wrong: list[int] = []

    def work(seed: int) -> None:
        choose = np.random.default_rng(seed)
        for _ in range(8):
            i, j = choose.integers(0, len(frames), 2)
            a, b = batch_decode([MediaRef(video, times[i]), MediaRef(video, times[j])])
            if not (np.array_equal(a, frames[i].rgb) and np.array_equal(b, frames[j].rgb)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def _decode_in_child(video: str, time: int) -> tuple[int, ...]:
    return tuple(batch_decode([MediaRef(video, time)])[0][::16, ::16].ravel().tolist())


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("with_index", [False, True])
def test_in_children_after_use_in_the_parent(
    method: str, with_index: bool, video: str, times: list[int], tmp_path: Path
) -> None:
    if with_index:
        video = shutil.copy(video, tmp_path)
        write_frame_index(video)
    expected = _decode_in_child(video, times[30])
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = [pool.apply_async(_decode_in_child, (video, times[30])) for _ in range(4)]
        assert all(result.get(timeout=60) == expected for result in results)


def test_to_ndarray_and_to_pil_image_of_a_frame(video: str, times: list[int]) -> None:
    rgb = linear_frames(video)[6].rgb
    ref = MediaRef(video, times[6])
    assert np.array_equal(ref.to_ndarray(), rgb)
    assert np.array_equal(ref.to_ndarray("bgr"), rgb[..., ::-1])
    assert ref.to_ndarray("gray").shape == rgb.shape[:2]
    assert np.array_equal(np.asarray(ref.to_pil_image()), rgb)


def _open_index_in_child(video: str) -> int:
    mediaref_ursa.cleanup_cache()
    first = len(LanceFrameIndex.open(video).pts_table(0))
    write_frame_index(video + ".copy.mp4", segments=[video], overwrite=True)
    return first + len(LanceFrameIndex.open(video + ".copy.mp4"))


def test_forked_children_read_and_write_indexes_by_a_process_of_their_own(video: str, tmp_path: Path) -> None:
    video = shutil.copy(video, tmp_path)
    frames = len(write_frame_index(video))
    for _ in range(3):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = [pool.apply_async(_open_index_in_child, (video,)) for _ in range(2)]
            assert [result.get(timeout=60) for result in found] == [2 * frames] * 2
    with multiprocessing.get_context("fork").Pool(1) as pool, pytest.raises(FrameIndexMissingError):
        pool.apply(LanceFrameIndex.open, (video + ".none",))


def test_from_a_store_of_the_callers(video: str, times: list[int], picture: Path) -> None:
    store = MemoryStore({"a video": Path(video).read_bytes(), "a picture": picture.read_bytes()})
    refs = [MediaRef("a video", times[7]), MediaRef("a picture")]
    found = batch_decode(refs, store=store)
    assert np.array_equal(found[0], linear_frames(video)[7].rgb)
    assert np.array_equal(found[1], np.asarray(Image.open(picture)))
    assert plan_decode(refs, store=store).frames == 1
    store.put("a video", Path(video).read_bytes()[:-1000])
    with pytest.raises(MediaRefError):
        batch_decode([MediaRef("a video", times[-1])], store=store)


def test_cleanup_lets_everything_go_and_work_goes_on(video: str, times: list[int]) -> None:
    first = batch_decode([MediaRef(video, times[3])])[0]
    mediaref_ursa.cleanup_cache()
    mediaref_ursa.cleanup_cache()
    assert np.array_equal(batch_decode([MediaRef(video, times[3])])[0], first)


@pytest.mark.parametrize("times", [(-(2**63), 2**63 - 1), (2**62, -(2**62), 0), (-(2**63), 0)])
def test_gaps_of_extreme_times_do_not_overflow(times: tuple[int, ...], video: str) -> None:
    with pytest.raises(
        ValueError, match=r"allow_gap=False, found (9223372036|18446744073|4611686018)\.\d+ s"
    ):
        batch_decode([MediaRef(video, time) for time in times], allow_gap=False)
