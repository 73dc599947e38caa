"""Seconds as references: what is taken, what is refused, and float32 in every call that takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from _media import Clip

from mediaref_ursa import LazyVideo, MediaRef, batch_decode, pts_ns_from_seconds, write_frame_index
from mediaref_ursa.catalog import ModalityRow
from mediaref_ursa.video_decoder import PyAVVideoDecoder

FRAME = 107_999
SECONDS = FRAME / 30
"""The last frame of an hour; its float32 lies 114 µs before it."""
RIGHT = pts_ns_from_seconds(np.float32(SECONDS))


def of_torch(values: list[float], name: str = "float32") -> Any:
    torch = pytest.importorskip("torch")
    return torch.tensor(values, dtype=getattr(torch, name))


FLOAT32 = {
    "NumPy": lambda values: np.array(values, np.float32),
    "NumPy, big-endian": lambda values: np.array(values, ">f4"),
    "NumPy, scalars in a list": lambda values: [np.float32(value) for value in values],
    "NumPy, scalars in an array of objects": lambda values: np.array([np.float32(v) for v in values], object),
    "torch": of_torch,
    "torch, in a list": lambda values: list(of_torch(values)),
    "Arrow": lambda values: pa.array(values, pa.float32()),
    "Arrow, chunked": lambda values: pa.chunked_array([values, []], pa.float32()),
    "Arrow, dictionary": lambda values: pa.array(values, pa.float32()).dictionary_encode(),
    "Arrow, scalars in a list": lambda values: list(pa.array(values, pa.float32())),
    "pandas": lambda values: pd.Series(values, dtype=np.float32),
    "pandas, nullable": lambda values: pd.Series(values, dtype="Float32"),
    "pandas, of Arrow": lambda values: pd.Series(values, dtype=pd.ArrowDtype(pa.float32())),
    "pandas, index": lambda values: pd.Index(np.array(values, np.float32)),
}


def test_a_float32_that_was_rounded_down_is_lifted_by_less_than_half_its_spacing() -> None:
    exact = round(Fraction(FRAME, 30) * 10**9)

    assert int(np.float64(np.float32(SECONDS)) * 1e9) < exact - 1000
    assert (
        exact - 1000
        <= RIGHT
        < float(np.float32(SECONDS)) * 1e9 + float(np.spacing(np.float32(SECONDS))) / 2 * 1e9
    )


@pytest.mark.parametrize("made", FLOAT32.values(), ids=FLOAT32)
def test_the_precision_of_float32_is_seen_wherever_it_stands(made: Callable[[list[float]], Any]) -> None:
    found = pts_ns_from_seconds(made([SECONDS, 0.5]))

    assert found.dtype == np.int64
    assert found.tolist() == [RIGHT, 500_000_000]


@pytest.mark.parametrize("made", FLOAT32.values(), ids=FLOAT32)
def test_float64_and_wholes_in_the_same_places(made: Callable[[list[float]], Any]) -> None:
    values = [SECONDS, 0.5]
    for wide in (np.array(values), pa.array(values), pd.Series(values), of_torch(values, "float64"), values):
        assert pts_ns_from_seconds(wide).tolist() == [3_599_966_666_667, 500_000_000]
    for whole in (np.array([7]), pa.array([7]), pd.Series([7], dtype="Int64"), of_torch([7], "int64"), (7,)):
        assert pts_ns_from_seconds(whole).tolist() == [7_000_000_000]


def test_scalars_give_ints_and_arrays_keep_their_shape() -> None:
    for scalar in (np.float32(SECONDS), np.array(SECONDS, np.float32), pa.scalar(SECONDS, pa.float32())):
        assert type(pts_ns_from_seconds(scalar)) is int
        assert pts_ns_from_seconds(scalar) == RIGHT
    assert pts_ns_from_seconds(of_torch(SECONDS)) == RIGHT  # type: ignore[arg-type]
    assert pts_ns_from_seconds(np.ones((2, 3), np.float32)).shape == (2, 3)
    assert pts_ns_from_seconds([]).shape == (0,)
    assert pts_ns_from_seconds(x / 2 for x in range(3)).tolist() == [0, 500_000_000, 1_000_000_000]


def test_exact_numbers_of_python() -> None:
    assert pts_ns_from_seconds(Fraction(1001, 30_000)) == 33_366_667
    assert pts_ns_from_seconds(Decimal("1.000000001")) == 1_000_000_001
    assert pts_ns_from_seconds([1, Fraction(1, 3), 0.5, Decimal(2)]).tolist() == [
        1_000_000_000,
        333_333_333,
        500_000_000,
        2_000_000_000,
    ]


def test_half_precision_is_taken_as_far_as_it_goes() -> None:
    times = np.arange(0, 15, 1 / 30)
    assert pts_ns_from_seconds(times.astype(np.float16)).shape == times.shape
    assert pts_ns_from_seconds(of_torch([1.5], "bfloat16")).tolist() == [pts_ns_from_seconds(1.5) + 3_905_251]
    with pytest.raises(ValueError, match=r"60 frames a second, found 100.0 with 11 bits.*0.0625 s later"):
        pts_ns_from_seconds(np.float16(100))
    with pytest.raises(ValueError, match="8 bits"):
        pts_ns_from_seconds(of_torch([100.0], "bfloat16"))
    with pytest.raises(ValueError, match="24 bits"):
        pts_ns_from_seconds(np.float32(1.7e9))  # since 1970: 128 s from one float to the next
    assert pts_ns_from_seconds(np.float16(100), frame_rate=10) == 100_031_249_001
    with pytest.raises(ValueError, match="130 frames"):
        pts_ns_from_seconds(np.float32(100_000.0), frame_rate=130)
    with pytest.raises(ValueError, match="frame_rate above 0"):
        pts_ns_from_seconds(1.0, frame_rate=0)


@pytest.mark.parametrize(
    ("seconds", "error", "message"),
    [
        ("1.5", TypeError, "type str"),
        (["1.5"], TypeError, "type str"),
        (True, TypeError, "type bool"),
        (np.array([True]), TypeError, "found bool"),
        (None, TypeError, "NoneType"),
        ([0.5, None], TypeError, "NoneType"),
        (1j, TypeError, "complex"),
        ([np.array([0.5])], TypeError, "pass an array"),
        ([[0.5]], TypeError, "type list"),
        (np.array([1], "m8[s]"), TypeError, "timedelta64"),
        (pd.DataFrame({"t": [0.5]}), TypeError, "type str"),
        (pa.table({"t": [0.5]}), TypeError, "name the column"),
        (float("nan"), ValueError, "finite seconds, found nan"),
        ([0.5, float("inf")], ValueError, "found inf at position 1"),
        (Decimal("NaN"), ValueError, "found nan"),
        (np.ma.MaskedArray([0.5, 1.0], [False, True]), ValueError, "none at position 1"),
        (pa.array([0.5, None]), ValueError, "null at position 1"),
        (pd.Series([0.5, None], dtype="Float32"), ValueError, "none at position 1"),
        (1e10, ValueError, "fit into int64"),
        (-1e10, ValueError, "fit into int64"),
        (10**300, ValueError, "fit into int64"),
        ([Fraction(2**63, 10**9)], ValueError, "fit into int64"),
    ],
)
def test_what_is_no_time(seconds: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pts_ns_from_seconds(seconds)


def test_a_reference_of_seconds() -> None:
    assert MediaRef.from_seconds("a.mp4", 1.5) == MediaRef("a.mp4", 1_500_000_000)
    assert MediaRef.from_seconds("a.mp4", np.float32(SECONDS)).pts_ns == RIGHT
    assert MediaRef.from_seconds("a.mp4", np.float16(100), frame_rate=10).pts_ns == 100_031_249_001
    with pytest.raises(TypeError, match=r"one time in seconds, found list; .*pts_ns_from_seconds"):
        MediaRef.from_seconds("a.mp4", [1.5])
    with pytest.raises(ValueError, match=r"MediaRef\.from_seconds"):
        MediaRef("a.mp4", 1.5)  # type: ignore[arg-type]


@pytest.fixture
def late(clip: Callable[[str], Clip], tmp_path: Any) -> str:
    """A clip of 30 frames a second that begins after an hour."""
    import av

    path = str(tmp_path / "late.mp4")
    base = Fraction(1, 90_000)
    with av.open(path, "w") as file:
        stream = file.add_stream("libx264", rate=30, options={"g": "30", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.time_base = 64, 48, "yuv420p", base
        for number in range(90):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 2 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = (HOUR_OF_FRAMES + number) * 3000, base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


HOUR_OF_FRAMES = 108_000
WRITTEN = {name: FLOAT32[name] for name in ("NumPy", "torch", "Arrow", "pandas", "torch, in a list")}


def shown_seconds(decoder: PyAVVideoDecoder) -> np.ndarray:
    return np.asarray(decoder.get_all_frames().pts_seconds)


@pytest.mark.parametrize("made", WRITTEN.values(), ids=WRITTEN)
def test_decoders_and_batches_take_float32(late: str, made: Callable[[list[float]], Any]) -> None:
    with PyAVVideoDecoder(late, dimension_order="NHWC") as decoder:
        every = decoder.get_all_frames()
        stored = made(every.pts_seconds.tolist())
        assert every.pts_seconds[0] > 3000
        assert (np.asarray(stored, dtype=np.float64) < every.pts_seconds - 1e-5).sum() > 20

        batch = decoder.get_frames_played_at(stored)
        frames = batch_decode([MediaRef(late, pts_ns) for pts_ns in pts_ns_from_seconds(stored)])

    np.testing.assert_array_equal(batch.pts_seconds, every.pts_seconds)
    np.testing.assert_array_equal(batch.data, every.data)
    np.testing.assert_array_equal(np.array(frames), every.data)


def test_single_frames_and_ranges_take_float32(late: str) -> None:
    with PyAVVideoDecoder(late) as decoder:
        times = shown_seconds(decoder)
        stored = times.astype(np.float32)
        for number in range(0, 88, 3):
            assert decoder.get_frame_played_at(stored[number]).pts_seconds == times[number]
            found = decoder.get_frames_played_in_range(stored[number], stored[number + 2])
            assert found.pts_seconds.tolist() == times[number : number + 2].tolist()
            assert len(decoder.get_frames_played_in_range(stored[number], stored[number])) <= 1
        again = decoder.get_frames_played_in_range(stored[3], stored[9], fps=30)
        np.testing.assert_allclose(again.pts_seconds, float(stored[3]) + np.arange(6) / 30, atol=1e-9)
        wanted = decoder.get_frames_at(range(3, 9))
        np.testing.assert_array_equal(again.data, wanted.data)


def test_windows_of_lazy_videos_take_float32(late: str) -> None:
    video = LazyVideo(late, frame_index=write_frame_index(late))
    times = video.timestamps
    stored = times.astype(np.float32)
    tensors = of_torch(times.tolist())
    for number in range(0, 88, 3):
        wanted = times[number : number + 2].tolist()
        assert video.lazy_slice(stored[number], stored[number + 2]).timestamps.tolist() == wanted
        assert video.lazy_slice(tensors[number], tensors[number + 2]).timestamps.tolist() == wanted
        assert len(video.slice(stored[number], stored[number + 2]).timestamps) == 2
        row = ModalityRow(
            name="a", format="video", uri=late, start_seconds=stored[number], end_seconds=stored[number + 2]
        )
        assert video.lazy_slice(row.start_seconds, row.end_seconds).timestamps.tolist() == wanted  # type: ignore[arg-type]
    assert len(video.lazy_slice(np.float32("-inf"), np.float32("inf"))) == 90
    assert len(video.lazy_slice(times[4], np.float32(times[4]))) == 0
    assert len(video.lazy_slice(float(stored[4]), stored[4])) == 0
