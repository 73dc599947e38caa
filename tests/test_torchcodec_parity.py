"""What ``torchcodec.decoders.VideoDecoder`` does, done alike by the decoder classes."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _media import Clip

from mediaref_ursa import MediaRef, batch_decode, write_frame_index
from mediaref_ursa.video_decoder import PyAVVideoDecoder

torch = pytest.importorskip("torch", reason="torch is not installed")
try:
    import torchcodec
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import CenterCrop, RandomCrop, Resize
except (ImportError, OSError, RuntimeError) as error:
    pytest.skip(f"torchcodec is not installed, or cannot load FFmpeg: {error!s:.80}", allow_module_level=True)

from mediaref_ursa.video_decoder import TorchCodecVideoDecoder  # noqa: E402 - without torchcodec, it is skipped

GetClip = Callable[[str], Clip]
COLOURS = ("color_primaries", "color_space", "color_transfer_characteristic")
HEADER_FLOATS = ("average_fps", "begin_stream_seconds", "duration_seconds")
MAPPINGS = {"frames": [{"pts": 0, "duration": 1, "key_frame": 1}]}


@pytest.fixture
def video(clip: GetClip) -> Path:
    """96 x 64, 48 frames, 25 a second, groups of 12."""
    return clip("h264_pyramid_mp4").path


# Transforms


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_random_crop_is_drawn_once_and_as_torchcodec_draws_it(seed: int, video: Path) -> None:
    torch.manual_seed(seed)
    theirs = VideoDecoder(str(video), transforms=[RandomCrop((40, 56))])
    torch.manual_seed(seed)
    ours = TorchCodecVideoDecoder(video, transforms=[RandomCrop((40, 56))])
    expected = theirs.get_frames_at(list(range(48))).data
    torch.manual_seed(99)
    assert torch.equal(ours.get_frames_at(range(48), strategy="separate").data, expected)
    assert torch.equal(ours[7], expected[7])
    assert torch.equal(torch.stack(list(ours)), expected)
    copy = pickle.loads(pickle.dumps(ours))
    assert torch.equal(copy[30], expected[30])


def test_transforms_follow_one_another(video: Path) -> None:
    torch.manual_seed(4)
    theirs = VideoDecoder(str(video), transforms=[Resize((60, 80)), RandomCrop((40, 56))])
    torch.manual_seed(4)
    ours = TorchCodecVideoDecoder(video, transforms=[Resize((60, 80)), RandomCrop((40, 56))])
    assert torch.equal(ours[:].data, theirs[:].data)
    assert ours.get_frames_at([]).data.shape == theirs.get_frames_in_range(0, 0).data.shape == (0, 3, 40, 56)


def test_a_random_crop_of_a_turned_video_and_of_full_range(clip: GetClip) -> None:
    for name in ("rotated_90_mp4", "h264_10bit_mp4"):
        path = clip(name).path
        torch.manual_seed(4)
        theirs = VideoDecoder(str(path), transforms=[RandomCrop((40, 20))])
        torch.manual_seed(4)
        ours = TorchCodecVideoDecoder(path, transforms=[RandomCrop((40, 20))])
        assert torch.equal(ours[:8], theirs[:8])


def test_one_batch_has_one_crop(video: Path) -> None:
    refs = [MediaRef(str(video), number * 40_000_000) for number in range(48)]
    whole = np.stack(batch_decode(refs, decoder="torchcodec")).astype(int)
    cropped = batch_decode(refs, decoder="torchcodec", decoder_options={"transforms": [RandomCrop((40, 56))]})
    assert {frame.shape for frame in cropped} == {(40, 56, 3)}
    places = {
        (top, left)
        for top in range(64 - 40 + 1)
        for left in range(96 - 56 + 1)
        if np.abs(whole[0, top : top + 40, left : left + 56] - cropped[0]).max() <= 2
    }
    assert len(places) == 1
    top, left = places.pop()
    for frame, pixels in zip(whole, cropped, strict=True):
        assert np.abs(frame[top : top + 40, left : left + 56] - pixels).max() <= 2


@pytest.mark.parametrize(
    "transforms",
    [
        [3],
        3,
        ["x"],
        [RandomCrop((65, 20))],
        [RandomCrop((20, 97))],
        [CenterCrop((65, 20))],
        [CenterCrop((20, 20)), RandomCrop((30, 10))],
        [Resize((0, 5))],
        [CenterCrop((0, 0))],
        [RandomCrop((0, 4))],
    ],
    ids=repr,
)
def test_transforms_that_cannot_be_are_told_when_a_decoder_is_made(transforms: Any, video: Path) -> None:
    with pytest.raises(ValueError, match=r"transform|crop|Input dimensions"):
        TorchCodecVideoDecoder(video, transforms=transforms)
    refs = [MediaRef(str(video), 0)]
    with pytest.raises(ValueError, match=r"transform|crop|Input dimensions"):
        batch_decode(refs, decoder="torchcodec", decoder_options={"transforms": transforms})


def test_no_transforms_are_none(video: Path) -> None:
    assert torch.equal(TorchCodecVideoDecoder(video, transforms=[])[3], VideoDecoder(str(video))[3])


# Times


@pytest.mark.parametrize("make", [PyAVVideoDecoder, TorchCodecVideoDecoder])
@pytest.mark.parametrize("width", [1e-12, 1e-9, 1e-7, 1e-6, 1.5e-6, 1e-3])
def test_a_short_range_has_the_frame_that_is_shown_then(make: Any, width: float, video: Path) -> None:
    theirs, ours = VideoDecoder(str(video)), make(video)
    for start in (0.0, 0.05, 0.0799, 0.5, 1.9):
        expected = theirs.get_frames_played_in_range(start, start + width)
        found = ours.get_frames_played_in_range(start, start + width)
        assert np.array_equal(found.pts_seconds, expected.pts_seconds), start
        assert np.array_equal(found.data, expected.data), start
        assert len(ours.get_frames_played_in_range(start, start)) == 0


@pytest.mark.parametrize("make", [PyAVVideoDecoder, TorchCodecVideoDecoder])
@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), float("-inf"), np.float32("nan")])
def test_a_time_that_is_not_finite_is_outside_the_video(make: Any, seconds: float, video: Path) -> None:
    decoder = make(video)
    for builtin in (IndexError, ValueError):
        for call in (
            lambda: decoder.get_frame_played_at(seconds),
            lambda: decoder.get_frames_played_at([0.1, seconds]),
            lambda: decoder.get_frames_played_at(np.array([seconds])),
        ):
            with pytest.raises(builtin, match="expected finite seconds"):
                call()
    for start, stop in ((seconds, 1.0), (0.0, seconds), (seconds, seconds)):
        for fps in (None, 10):
            with pytest.raises(ValueError, match="expected"):
                decoder.get_frames_played_in_range(start, stop, fps)
    for fps in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected fps above 0"):
            decoder.get_all_frames(fps)


@pytest.mark.parametrize("make", [PyAVVideoDecoder, TorchCodecVideoDecoder])
@pytest.mark.parametrize("seconds", ["0", b"0", None, [0.1], {}])
def test_a_time_that_is_no_number(make: Any, seconds: Any, video: Path) -> None:
    decoder = make(video)
    for call in (
        lambda: decoder.get_frame_played_at(seconds),
        lambda: decoder.get_frames_played_at([0.1, seconds]),
        lambda: decoder.get_frames_played_in_range(seconds, 1.0),
        lambda: decoder.get_frames_played_in_range(0.0, seconds),
    ):
        with pytest.raises(TypeError):
            call()


# Sources and options


@pytest.mark.parametrize("make", [PyAVVideoDecoder, TorchCodecVideoDecoder])
def test_a_file_that_is_open_for_text(make: Any, video: Path, tmp_path: Path) -> None:
    import tempfile

    with video.open() as text, tempfile.NamedTemporaryFile("w+") as wrapped:
        for file in (text, wrapped, io.StringIO("abc")):
            with pytest.raises(TypeError, match="rb"):
                make(file)


@pytest.mark.parametrize(
    ("mappings", "error"),
    [
        ("{", ValueError),
        (b"nope", ValueError),
        (b"\xff\xfe\x00", ValueError),
        ("{}", ValueError),
        ("[1]", ValueError),
        ('{"frames": []}', ValueError),
        ('{"frames": [3]}', ValueError),
        ('{"frames": [{"pts": 0, "duration": 1}]}', ValueError),
        ('{"frames": [{"pts": "a", "duration": 1, "key_frame": 1}]}', ValueError),
        (io.StringIO("{"), ValueError),
        (5, TypeError),
    ],
)
def test_frame_mappings_that_are_none(mappings: Any, error: type[Exception], video: Path) -> None:
    with pytest.raises(error):
        TorchCodecVideoDecoder(video, custom_frame_mappings=mappings)


def test_frame_mappings(video: Path) -> None:
    text = json.dumps(MAPPINGS)
    old = json.dumps({"frames": [{"pkt_pts": "0", "pkt_duration": "1", "key_frame": 1}]})
    for given in (text, text.encode(), io.StringIO(text), io.BytesIO(text.encode()), old):
        assert len(TorchCodecVideoDecoder(video, custom_frame_mappings=given)) == 48
    with pytest.raises(ValueError, match="custom_frame_mappings or seek_mode='approximate'"):
        TorchCodecVideoDecoder(video, custom_frame_mappings=text, seek_mode="approximate")


def test_our_class_in_the_place_of_theirs(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = VideoDecoder(str(video))[5]
    monkeypatch.setattr(torchcodec.decoders, "VideoDecoder", TorchCodecVideoDecoder)
    monkeypatch.setattr(torchcodec.decoders._video_decoder, "VideoDecoder", TorchCodecVideoDecoder)
    assert torch.equal(torchcodec.decoders.VideoDecoder(str(video))[5], expected)
    assert np.array_equal(
        batch_decode([MediaRef(str(video), 200_000_000)], decoder="torchcodec", channel_format="NCHW")[0],
        expected.numpy(),
    )


def test_the_number_of_a_stream_is_a_number(video: Path) -> None:
    for make in (PyAVVideoDecoder, TorchCodecVideoDecoder):
        for wrong in ("a", 1.0, [0]):
            with pytest.raises(TypeError):
                make(video, stream_index=wrong)
        with pytest.raises(ValueError, match="the index of a video stream"):
            make(video, stream_index=99)


def test_number_of_threads_is_a_number(video: Path) -> None:
    with pytest.raises(ValueError, match="num_ffmpeg_threads"):
        TorchCodecVideoDecoder(video, num_ffmpeg_threads=None)  # type: ignore[arg-type]


def test_options_of_a_batch_that_are_the_decoders(video: Path) -> None:
    refs = [MediaRef(str(video), 0), MediaRef(str(video), 400_000_000)]
    expected = np.stack(batch_decode(refs, decoder="torchcodec"))
    for seek_mode in ("exact", "approximate"):
        options = {"seek_mode": seek_mode, "dimension_order": "NCHW"}
        found = np.stack(batch_decode(refs, decoder="torchcodec", decoder_options=options))
        assert np.array_equal(found, expected.transpose(0, 3, 1, 2))
    same = {"dimension_order": "NHWC"}
    assert np.array_equal(batch_decode(refs, decoder_options=same), batch_decode(refs))
    for decoder in ("pyav", "torchcodec"):
        agreed = batch_decode(
            refs, decoder=decoder, channel_format="NCHW", decoder_options={"dimension_order": "NCHW"}
        )
        assert agreed[0].shape == (3, 64, 96)
        with pytest.raises(ValueError, match="found channel_format='NCHW' and dimension_order='NHWC'"):
            batch_decode(refs, decoder=decoder, channel_format="NCHW", decoder_options=same)
        with pytest.raises(ValueError, match="NHWC"):
            batch_decode(refs, decoder=decoder, decoder_options={"dimension_order": "HWC"})
    with pytest.raises(ValueError, match="seek_mode"):
        batch_decode(refs, decoder="torchcodec", decoder_options={"seek_mode": "near"})
    with pytest.raises(TypeError, match="only num_ffmpeg_threads"):
        batch_decode(refs, decoder="pyav", decoder_options={"seek_mode": "exact"})


# What comes out


def test_axes_in_memory_are_those_of_torchcodec(video: Path) -> None:
    theirs, ours = VideoDecoder(str(video)), TorchCodecVideoDecoder(video)
    for call in (
        lambda decoder: decoder[3],
        lambda decoder: decoder[3:9],
        lambda decoder: decoder.get_frame_at(3).data,
        lambda decoder: decoder.get_frames_at([3, 4]).data,
        lambda decoder: decoder.get_frames_played_in_range(0.1, 0.5).data,
        lambda decoder: decoder.get_all_frames().data,
        lambda decoder: next(iter(decoder)),
    ):
        found, expected = call(ours), call(theirs)
        assert found.shape == expected.shape
        assert found.stride() == expected.stride()
    for order in ("NCHW", "NHWC"):
        gray = TorchCodecVideoDecoder(video, dimension_order=order, colorspace="G")
        assert sorted(gray[0].shape) == [1, 64, 96]
        assert gray[0].shape[0 if order == "NCHW" else 2] == 1


@pytest.mark.parametrize(
    "name",
    ["h264_idr_mp4", "h264_pyramid_mp4", "hevc_open_gop_mp4", "vp9_alt_ref_webm", "av1_mp4", "mpeg2_mkv"],
)
def test_key_frames(name: str, clip: GetClip) -> None:
    path = clip(name).path
    expected = VideoDecoder(str(path))._get_key_frame_indices()
    found = PyAVVideoDecoder(path).key_frame_indices
    assert found.dtype == np.int64
    assert found.tolist() == expected.tolist()
    tensor = TorchCodecVideoDecoder(path).key_frame_indices
    assert isinstance(tensor, torch.Tensor)
    assert tensor.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "name",
    [
        *("h264_pyramid_mp4", "h264_29_97_mp4", "h264_late_start_mp4", "h264_mkv", "h264_10bit_mp4"),
        *("hevc_open_gop_mp4", "vp9_alt_ref_webm", "av1_mp4", "rotated_90_mp4", "h264_avi"),
    ],
)
def test_metadata_are_those_of_torchcodec(name: str, clip: GetClip) -> None:
    path = clip(name).path
    theirs = VideoDecoder(str(path))
    for make in (PyAVVideoDecoder, TorchCodecVideoDecoder):
        decoder = make(path)
        found, expected = decoder.metadata, theirs.metadata
        assert decoder.stream_index == theirs.stream_index
        for field in ("stream_index", "num_frames_from_header", *COLOURS):
            assert getattr(found, field) == getattr(expected, field), field
        for field in ("bit_rate", *(f"{start}_from_header" for start in HEADER_FLOATS)):
            value = getattr(found, field)
            assert value is None or isinstance(value, float)
            assert (value or 0) == pytest.approx(getattr(expected, field) or 0), field  # unknown is None here
        known = (1,) if expected.pixel_aspect_ratio else (None, 1)  # it says 0 where it does not know
        assert found.pixel_aspect_ratio in known


def test_metadata_of_colours(tmp_path: Path) -> None:
    import av

    path = tmp_path / "pq.mp4"
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        context.sample_aspect_ratio = Fraction(4, 3)
        frame = av.VideoFrame(64, 48, "yuv420p10le")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        file.mux([*stream.encode(frame), *stream.encode(None)])
    index = write_frame_index(path)
    for make in (PyAVVideoDecoder, TorchCodecVideoDecoder):
        found = make(path).metadata
        assert found == make(path.read_bytes()).metadata
        assert [getattr(found, name) for name in COLOURS] == ["bt2020", "bt2020nc", "smpte2084"]
        assert found.pixel_aspect_ratio == Fraction(4, 3)
        assert found.pixel_aspect_ratio == VideoDecoder(str(path)).metadata.pixel_aspect_ratio
        assert isinstance(found.pixel_aspect_ratio, Fraction)
    assert index.segment_table(0).info.header is not None


def test_samplers_say_which_decoder_they_need(video: Path) -> None:
    from torchcodec import samplers

    decoder = PyAVVideoDecoder(video)
    for sample in (
        lambda: samplers.clips_at_random_indices(decoder, num_clips=1),
        lambda: samplers.clips_at_regular_indices(decoder, num_clips=1),
        lambda: samplers.clips_at_random_timestamps(decoder, num_clips=1),
        lambda: samplers.clips_at_regular_timestamps(decoder, seconds_between_clip_starts=1),
    ):
        with pytest.raises(TypeError, match="use TorchCodecVideoDecoder"):
            sample()
    assert len(decoder) == 48
