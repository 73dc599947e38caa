"""The names of MediaRef 2.1: what they do here, and which errors name something else."""

from __future__ import annotations

import importlib
import inspect
import pickle
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _cli_runner import run
from _media import Clip
from _oracle import linear_frames
from _s3 import new_bucket
from PIL import Image
from test_native import write_depth

from mediaref_ursa import MediaRef, UnsupportedMediaError, batch_decode
from mediaref_ursa._batch.options import DECODERS
from mediaref_ursa.batch import DecoderBackend
from mediaref_ursa.compat.lerobot import from_videoframe, lerobot_episode_to_refs, to_videoframe
from mediaref_ursa.video_decoder import (
    BaseVideoDecoder,
    CodecVideoDecoder,
    FrameBatch,
    PyAVVideoDecoder,
    TensorCodecVideoDecoder,
)
from mediaref_ursa.video_decoder.pyav_decoder import clear_metadata_cache

GetClip = Callable[[str], Clip]

PARAMETERS = {
    "batch.batch_decode": [
        "refs", "decoder", "output_format", "decoder_options", "image_decoder", "image_decoder_options",
        "storage_options", "allow_images", "allow_multi_video", "gap_threshold", "allow_gap",
    ],
    "core.MediaRef.to_ndarray": [
        "format", "decoder", "decoder_options", "image_decoder", "image_decoder_options", "storage_options",
    ],
    "core.MediaRef.validate_uri": ["storage_options"],
    "core.MediaRef.resolve_relative_path": ["base_path", "on_unresolvable"],
    "video_decoder.pyav_decoder.PyAVVideoDecoder": [
        "source", "storage_options", "output_format", "expected_pixel_format",
    ],
    "video_decoder.tensorcodec_decoder.TensorCodecVideoDecoder": ["source"],
    "video_decoder.codec_decoder.CodecVideoDecoder.clear_cache": [],
    "video_decoder.pyav_decoder.clear_metadata_cache": [],
    "video_decoder.frame_batch.FrameBatch": ["data", "pts_seconds", "duration_seconds", "pixel_format"],
    "video_decoder.types.VideoStreamMetadata": [
        "num_frames", "duration_seconds", "average_rate", "width", "height", "begin_stream_seconds",
        "end_stream_seconds", "pixel_format",
    ],
    "compat.lerobot.from_videoframe": ["vf"],
    "compat.lerobot.to_videoframe": ["ref"],
    "compat.lerobot.lerobot_episode_to_refs": ["video_path", "from_timestamp", "frame_timestamps"],
}  # fmt: skip
"""The parameters that each public callable of MediaRef 2.1 documents, and has here."""


def found(path: str) -> Any:
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(["mediaref_ursa", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            value = getattr(value, part)
        return value
    raise AssertionError(path)


@pytest.mark.parametrize("path", PARAMETERS)
def test_each_callable_takes_the_documented_parameters(path: str) -> None:
    signature = inspect.signature(found(path))
    has_options = any(part.kind is part.VAR_KEYWORD for part in signature.parameters.values())
    for name in PARAMETERS[path]:
        assert name in signature.parameters or has_options, name


@pytest.fixture
def video(clip: GetClip) -> tuple[str, list[np.ndarray]]:
    path = str(clip("h264_idr_mp4").path)
    return path, [frame.rgb for frame in linear_frames(path)]


@pytest.fixture
def depth(tmp_path: Path) -> tuple[str, np.ndarray]:
    values = np.random.default_rng(0).integers(0, 1 << 12, (5, 48, 66), dtype=np.uint16)
    return str(write_depth(tmp_path / "depth.mkv", "gray12le", values)), values


def test_tensorcodec_is_the_default_decoder(video: tuple[str, list[np.ndarray]]) -> None:
    path, frames = video
    refs = [MediaRef(path, 0), MediaRef(path, 400_000_000)]
    expected = batch_decode(refs)
    assert np.array_equal(expected[0], frames[0])
    options = {
        "seek_mode": "approximate",
        "device": "cpu",
        "num_ffmpeg_threads": 2,
        "dimension_order": "NHWC",
    }
    for given in (
        batch_decode(refs, "tensorcodec"),
        batch_decode(refs, decoder="tensorcodec"),
        batch_decode(refs, decoder="tensorcodec", decoder_options=options),
        [ref.to_ndarray(decoder="tensorcodec") for ref in refs],
    ):
        assert all(np.array_equal(*pair) for pair in zip(given, expected, strict=True))
    with pytest.raises(ValueError, match="decoder='torchcodec'"):
        batch_decode(refs, decoder="tensorcodec", decoder_options={"device": "cuda"})
    with pytest.raises(ValueError, match="seek_mode"):
        batch_decode(refs, decoder="tensorcodec", decoder_options={"seek_mode": "fast"})
    with pytest.raises(TypeError, match="found other"):
        batch_decode(refs, decoder="tensorcodec", decoder_options={"other": 1})
    for decoder in (None, "tensorcodec", "pyav", "torchcodec"):
        with pytest.raises(TypeError, match="write output_format='native'"):
            batch_decode(refs, decoder=decoder, decoder_options={"output_format": "native"})
        with pytest.raises(TypeError, match="expected_pixel_format, which PyAVVideoDecoder takes"):
            batch_decode(refs, decoder=decoder, decoder_options={"expected_pixel_format": "gray"})
    with pytest.raises(ValueError, match="or a decoder .*tensorcodec.* found 'decord'"):
        batch_decode(refs, "decord")
    assert set(typing.get_args(DecoderBackend)) == set(DECODERS)


def test_image_decoders_are_taken_and_their_options_refused(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    path = str(tmp_path / "a.png")
    Image.fromarray(pixels).save(path)
    ref = MediaRef(path)
    for name in ("tensorcodec", "torchcodec", None):
        options: dict[str, Any] = {"image_decoder": name, "image_decoder_options": {}}
        assert np.array_equal(batch_decode([ref], **options)[0], pixels)
        assert np.array_equal(ref.to_ndarray(**options), pixels)
        assert np.array_equal(np.asarray(ref.to_pil_image(**options)), pixels)
    for call in (lambda **given: batch_decode([ref], **given), ref.to_ndarray, ref.to_pil_image):
        with pytest.raises(ValueError, match="image_decoder to be one of"):
            call(image_decoder="pillow")
        with pytest.raises(ValueError, match="no image_decoder_options"):
            call(image_decoder_options={"mode": "RGB"})


def test_the_classes_of_decoders(video: tuple[str, list[np.ndarray]]) -> None:
    path, frames = video
    assert issubclass(TensorCodecVideoDecoder, CodecVideoDecoder)
    assert issubclass(CodecVideoDecoder, BaseVideoDecoder)
    with TensorCodecVideoDecoder(
        path, seek_mode="approximate", device="cpu", num_ffmpeg_threads=2
    ) as decoder:
        batch = decoder.get_frames_played_at([0.0, 0.4])
        assert np.array_equal(batch.data[0].transpose(1, 2, 0), frames[0])
        assert batch.pixel_format is None
        TensorCodecVideoDecoder.clear_cache()
        again = pickle.loads(pickle.dumps(decoder))
        assert type(again) is TensorCodecVideoDecoder
        assert np.array_equal(again[0], decoder[0])
    clear_metadata_cache()
    for base in (CodecVideoDecoder, type("Own", (CodecVideoDecoder,), {})):
        with pytest.raises(TypeError, match="expected PyAVVideoDecoder, .* no engine"):
            base(path)
    batch = FrameBatch(np.zeros((1, 1, 2, 2)), np.zeros(1), np.zeros(1), "gray")
    assert batch[:1].pixel_format == "gray"
    with pytest.raises(ValueError, match="torchcodec"):
        TensorCodecVideoDecoder(path, device="cuda:0")
    with pytest.raises(TypeError, match="nothing_such"):
        TensorCodecVideoDecoder(path, nothing_such=1)


@pytest.mark.parametrize("kind", [PyAVVideoDecoder, TensorCodecVideoDecoder])
def test_native_output_of_decoders(kind: Any, depth: tuple[str, np.ndarray]) -> None:
    path, values = depth
    with kind(path, output_format="native", expected_pixel_format="gray12le") as decoder:
        batch = decoder.get_frames_played_at([0.0, 0.08])
        assert batch.data.dtype == np.uint16
        assert np.array_equal(batch.data[:, 0], values[[0, 2]])
        assert batch.pixel_format == batch[:1].pixel_format == "gray12le"
        assert decoder.get_frames_at([]).data.shape == (0, 1, 48, 66)
        assert pickle.loads(pickle.dumps(decoder)).get_frames_at([1]).pixel_format == "gray12le"
    with pytest.raises(UnsupportedMediaError, match="expected media of gray16le, found gray12le"):
        kind(path, output_format="native", expected_pixel_format="gray16le")
    with pytest.raises(ValueError, match="expected output_format='native'"):
        kind(path, expected_pixel_format="gray12le")
    with pytest.raises(ValueError, match="'rgb' or 'native'"):
        kind(path, output_format="bgr")
    with pytest.raises(ValueError, match="found both"):
        kind(path, output_format="native", colorspace="G")


def test_validate_uri_takes_storage_options(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = new_bucket(monkeypatch)
    uri = bucket.put("a.mp4", b"x")
    assert MediaRef(uri).validate_uri(storage_options=bucket.options)
    assert not MediaRef(uri.replace("a.mp4", "b.mp4")).validate_uri(storage_options=bucket.options)


def test_video_frames_of_lerobot(clip: GetClip) -> None:
    path = str(clip("h264_29_97_mp4").path)
    frames = linear_frames(path)
    for frame in frames:
        for kind in (float, np.float64, np.float32):
            ref = from_videoframe({"path": path, "timestamp": kind(float(frame.time)), "other": 1})
            assert np.array_equal(ref.to_ndarray(), frame.rgb)
            assert from_videoframe(to_videoframe(ref)) == ref
    with pytest.raises(KeyError):
        from_videoframe({"path": "a.mp4"})
    for wrong in ({"path": Path("a.mp4"), "timestamp": 0.0}, {"path": "a.mp4", "timestamp": "0"}):
        with pytest.raises(TypeError, match="expected a"):
            from_videoframe(wrong)
    with pytest.raises(ValueError, match="image"):
        to_videoframe(MediaRef("a.png"))


def test_the_episode_of_a_shard() -> None:
    times = np.arange(20, dtype=np.float32) / np.float32(30)
    refs = lerobot_episode_to_refs(video_path="a.mp4", from_timestamp=12.5, frame_timestamps=times)
    assert [ref.uri for ref in refs] == ["a.mp4"] * 20
    for number, ref in enumerate(refs):
        assert abs(ref.pts_ns / 1e9 - 12.5 - number / 30) < 1e-6  # type: ignore[operator]
    listed = lerobot_episode_to_refs(
        video_path="a.mp4", from_timestamp=12.5, frame_timestamps=iter(times.tolist())
    )
    assert len(listed) == 20
    assert lerobot_episode_to_refs(video_path="a.mp4", from_timestamp=0.0, frame_timestamps=[]) == []


@pytest.mark.parametrize("module", ["cached_av", "resource_cache"])
def test_modules_without_a_meaning_say_what_to_use(module: str) -> None:
    with pytest.raises(ImportError, match="cleanup_cache|batch_decode"):
        importlib.import_module(f"mediaref_ursa.{module}")


@pytest.mark.parametrize("command", ["enable-hf-feature", "disable-hf-feature", "status"])
def test_commands_without_a_meaning_say_what_to_use(command: str) -> None:
    done = run(command)
    assert done.exit_code == 2
    assert "import mediaref_ursa.hf" in done.output
