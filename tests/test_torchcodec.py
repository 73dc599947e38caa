"""TorchCodec as a second engine: the same frames, named by the same index."""

from __future__ import annotations

import builtins
import io
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _media import CLIP_NAMES, Clip
from _oracle import OracleFrame, linear_frames

from mediaref_ursa import (
    CorruptMediaError,
    LimitExceededError,
    MediaRef,
    MissingExtraError,
    UnsupportedMediaError,
    batch_decode,
)
from mediaref_ursa.video_decoder import BatchDecodingStrategy, PyAVVideoDecoder

torch = pytest.importorskip("torch", reason="torch is not installed")
try:
    from torchcodec.decoders import VideoDecoder
except (ImportError, OSError, RuntimeError) as error:
    pytest.skip(f"torchcodec is not installed, or cannot load FFmpeg: {error!s:.80}", allow_module_level=True)

from mediaref_ursa.video_decoder import TorchCodecVideoDecoder  # noqa: E402 - without torchcodec, it is skipped

GetClip = Callable[[str], Clip]

LEVELS = 2
"""By how much the pixels of the two engines may differ, on 8-bit 4:2:0."""

OTHER_CHROMA = {"h264_mbaff_mp4", "vp9_odd_webm"}
"""Interlaced frames, and odd sizes, whose chroma the two engines interpolate in different ways."""

TORCHCODEC_CANNOT = {
    "h264_edit_list_mp4",
    "h264_b_frames_avi",
    "h264_ts",
    "h264_open_gop_ts",
    "hevc_ts",
    "vp8_hidden_webm",
    "vp8_hidden_mkv",
    "mpeg2_ts",
    "mpeg4_avi",
    "h264_duplicate_pts_mkv",
}
"""Files that TorchCodec, opening them itself, cannot give all the frames of."""


def references(path: Path, frames: list[OracleFrame]) -> list[MediaRef]:
    return [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]


def differences(found: Any, expected: list[OracleFrame]) -> np.ndarray:
    """Return the largest difference of each frame's pixels, in levels."""
    return np.array([int(np.abs(a.astype(int) - b.rgb).max()) for a, b in zip(found, expected, strict=True)])


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_both_engines_give_the_same_frames(name: str, clip: GetClip) -> None:
    path = clip(name).path
    frames = linear_frames(path)
    refs = references(path, frames)
    found = batch_decode(refs, decoder="torchcodec")
    assert all(isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 for pixels in found)
    if frames[0].frame.format.name in ("yuv420p", "yuvj420p") and name not in OTHER_CHROMA:
        assert differences(found, frames).max() <= LEVELS
    else:  # the frame is the one that is nearest of all
        for place, pixels in enumerate(found):
            distances = [np.abs(pixels.astype(int) - frame.rgb).mean() for frame in frames]
            assert distances[place] == min(distances)


@pytest.mark.parametrize("name", [name for name in CLIP_NAMES if name not in TORCHCODEC_CANNOT])
def test_every_frame_is_that_of_torchcodec_to_the_bit(name: str, clip: GetClip) -> None:
    path = clip(name).path
    theirs = VideoDecoder(str(path))
    expected = theirs.get_frames_at(list(range(len(theirs))))  # in one go: no seeking, no wrong keyframes
    with TorchCodecVideoDecoder(path) as decoder:
        found = decoder.get_frames_at(range(len(decoder)), strategy="separate")
    assert torch.equal(found.data, expected.data)


@pytest.mark.parametrize("name", sorted(TORCHCODEC_CANNOT))
def test_frames_that_torchcodec_alone_cannot_give(name: str, clip: GetClip) -> None:
    path = clip(name).path
    theirs = VideoDecoder(str(path))
    try:
        complete = len(theirs.get_frames_at(list(range(len(theirs))))) == len(linear_frames(path))
    except RuntimeError:
        complete = False
    assert not complete, "take it out of TORCHCODEC_CANNOT"


@pytest.mark.parametrize("strategy", list(BatchDecodingStrategy))
@pytest.mark.parametrize("name", ["h264_open_gop_mp4", "hevc_open_gop_mp4", "vp9_alt_ref_webm", "mpeg2_ts"])
def test_strategies_do_not_change_frames(name: str, strategy: BatchDecodingStrategy, clip: GetClip) -> None:
    path = clip(name).path
    frames = linear_frames(path)
    some = [frames[i] for i in (31, 5, 5, 0, 17, len(frames) - 1)]
    assert differences(batch_decode(references(path, some), strategy, "torchcodec"), some).max() <= LEVELS


def test_a_file_that_lies_about_keyframes(clip: GetClip) -> None:
    path = clip("hevc_all_flagged_mp4").path
    frames = linear_frames(path)
    theirs = VideoDecoder(str(path), dimension_order="NHWC")
    alone = [theirs[i].numpy() for i in reversed(range(len(frames)))][::-1]
    assert (differences(alone, frames) > 20).any(), (
        "TorchCodec has learnt to see through this: tell so in docs/"
    )
    found = batch_decode(references(path, frames), "separate", "torchcodec")
    assert differences(found, frames).max() <= LEVELS


@pytest.mark.parametrize("name", ["h264_29_97_mp4", "h264_29_97_mkv", "h264_23_976_mp4"])
def test_rounded_times_name_the_same_frame(name: str, clip: GetClip) -> None:
    path = clip(name).path
    frames = linear_frames(path)
    for rounding in (int, round):
        refs = [MediaRef(str(path), rounding(float(frame.time) * 1e9)) for frame in frames]
        assert differences(batch_decode(refs, decoder="torchcodec"), frames).max() <= LEVELS
    seconds = [float(frame.time) for frame in frames]
    batch = TorchCodecVideoDecoder(path).get_frames_played_at(seconds)
    assert batch.pts_seconds.tolist() == seconds


@pytest.mark.parametrize("colorspace", ["RGB", "BGR", "RGBA", "BGRA", "G"])
@pytest.mark.parametrize("channel_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("name", ["rotated_90_mp4", "rotated_180_mp4", "h264_idr_mp4"])
def test_pixels_are_handed_out_as_by_pyav(
    name: str, channel_format: str, colorspace: str, clip: GetClip
) -> None:
    refs = [MediaRef(str(clip(name).path), 400_000_000)]
    options: dict[str, Any] = {"colorspace": colorspace, "channel_format": channel_format}
    ours, theirs = (batch_decode(refs, decoder=name, **options)[0] for name in ("pyav", "torchcodec"))
    assert ours.shape == theirs.shape
    assert theirs.flags.c_contiguous
    levels = 4 if colorspace == "G" else LEVELS  # swscale takes it from the video's luma, without RGB
    assert np.abs(ours.astype(int) - theirs).max() <= levels


def test_resizing_is_bilinear(clip: GetClip) -> None:
    from PIL import Image

    refs = [MediaRef(str(clip("rotated_90_mp4").path), 400_000_000)]
    whole = Image.fromarray(batch_decode(refs)[0])
    for height, width in ((48, 32), (200, 100)):
        ours, theirs = (
            batch_decode(refs, decoder=name, resize=(height, width))[0].astype(int)
            for name in ("pyav", "torchcodec")
        )
        expected = np.asarray(whole.resize((width, height), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(theirs - expected).mean() < 1
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).mean() < 10  # swscale resizes luma and chroma apart


def test_one_frame_of_a_reference(clip: GetClip) -> None:
    ref = MediaRef(str(clip("h264_idr_mp4").path), 0)
    assert np.array_equal(ref.to_ndarray(decoder="torchcodec"), ref.to_ndarray())
    assert ref.to_ndarray("gray", decoder="torchcodec").shape == (64, 96)
    assert ref.to_pil_image(decoder="torchcodec").size == (96, 64)


def test_each_frame_has_memory_of_its_own(clip: GetClip) -> None:
    ref = MediaRef(str(clip("h264_idr_mp4").path), 0)
    for options in ({}, {"device": "cpu"}):
        first, second = batch_decode([ref, ref], decoder="torchcodec", **options)
        before = second.copy() if isinstance(second, np.ndarray) else second.clone()
        first[...] = 0
        assert (second == before).all()


def test_tensors_on_the_cpu(clip: GetClip, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (5, 4), (1, 2, 3)).save(tmp_path / "image.png")
    refs = [MediaRef(str(clip("h264_idr_mp4").path), 0), MediaRef(str(tmp_path / "image.png"))]
    arrays = batch_decode(refs)
    for decoder in (None, "pyav", "torchcodec"):
        tensors = batch_decode(refs, decoder=decoder, device="cpu")
        assert all(isinstance(frame, torch.Tensor) and frame.dtype == torch.uint8 for frame in tensors)
        assert all(np.array_equal(a, b.numpy()) for a, b in zip(arrays, tensors, strict=True))
    missing = batch_decode([MediaRef("nothing.mp4", 0)], device="cpu", on_error="none")
    assert missing == [None]


def test_options_that_are_wrong(clip: GetClip) -> None:
    refs = [MediaRef(str(clip("h264_idr_mp4").path), 0)]
    with pytest.raises(TypeError, match="decoder_options among device, num_ffmpeg_threads, transforms"):
        batch_decode(refs, decoder="torchcodec", decoder_options={"stream_index": 1})
    with pytest.raises(TypeError, match="only num_ffmpeg_threads in decoder_options"):
        batch_decode(refs, decoder="pyav", decoder_options={"device": "cpu"})
    with pytest.raises(TypeError, match="use batch_decode"):
        refs[0].to_ndarray(device="cpu")
    assert np.array_equal(batch_decode(refs, decoder_options={"device": "cpu"})[0], batch_decode(refs)[0])
    with pytest.raises(ValueError, match="expected a device of torch"):
        batch_decode(refs, device="abacus")
    with pytest.raises(ValueError, match="expected decoder='torchcodec'"):
        batch_decode(refs, decoder="pyav", device="cuda")
    for device in ("mps", "xpu"):
        with pytest.raises(ValueError, match="expected a"):
            batch_decode(refs, decoder="torchcodec", decoder_options={"device": device})


def test_options_of_torchcodec(clip: GetClip) -> None:
    from torchcodec.transforms import Resize

    refs = [MediaRef(str(clip("h264_idr_mp4").path), 0)]
    expected = batch_decode(refs)[0]
    options = {"device": "cpu", "num_ffmpeg_threads": 2}
    assert np.array_equal(batch_decode(refs, decoder="torchcodec", decoder_options=options)[0], expected)
    smaller = {"transforms": [Resize((32, 48))]}
    assert batch_decode(refs, decoder="torchcodec", decoder_options=smaller)[0].shape == (32, 48, 3)


def test_limits(clip: GetClip) -> None:
    refs = [MediaRef(str(clip("h264_idr_mp4").path), 0)]
    for options in ({"max_pixels": 100}, {"max_pixels": 10_000, "resize": (200, 100)}):
        with pytest.raises(LimitExceededError, match="max_pixels="):
            batch_decode(refs, decoder="torchcodec", **options)


def test_alpha_is_not_made_up(clip: GetClip) -> None:
    refs = [MediaRef(str(clip("png_alpha_mov").path), 0)]
    with pytest.raises(UnsupportedMediaError, match="decoder='pyav'"):
        batch_decode(refs, decoder="torchcodec", colorspace="RGBA")


def test_damaged_packets_are_errors_and_the_rest_are_frames(clip: GetClip, tmp_path: Path) -> None:
    from mediaref_ursa import write_frame_index

    path = tmp_path / "damaged.mp4"
    data = bytearray(clip("h264_idr_mp4").path.read_bytes())
    path.write_bytes(data)
    index = write_frame_index(path)
    table = index.segment_table(0)
    bad = int(table.packets.offset[20]) + 10
    data[bad] ^= 0xFF
    path.write_bytes(data)
    frames = linear_frames(clip("h264_idr_mp4").path)
    refs = references(path, frames)
    ours, theirs = (batch_decode(refs, decoder=name, on_error="none") for name in ("pyav", "torchcodec"))
    assert set(ours.errors) == set(theirs.errors)
    assert all(isinstance(error, CorruptMediaError) for error in theirs.errors.values())
    good = [i for i in range(len(frames)) if i not in ours.errors]
    assert 0 < len(good) < len(frames)
    assert differences([theirs[i] for i in good], [frames[i] for i in good]).max() <= LEVELS


def test_the_decoder_gives_tensors(clip: GetClip) -> None:
    path = clip("h264_pyramid_mp4").path
    theirs, ours = VideoDecoder(str(path)), TorchCodecVideoDecoder(path)
    assert len(theirs) == len(ours)
    for call in (
        lambda decoder: decoder[5],
        lambda decoder: decoder[-3:],
        lambda decoder: decoder.get_frame_at(7).data,
        lambda decoder: decoder.get_frames_at([3, 1, 1]).data,
        lambda decoder: decoder.get_frames_at(torch.tensor([3, 1])).pts_seconds,
        lambda decoder: decoder.get_frames_in_range(2, 9, 3).data,
        lambda decoder: decoder.get_frame_played_at(0.5).data,
        lambda decoder: decoder.get_frames_played_at(torch.tensor([0.5, 0.1])).data,
        lambda decoder: decoder.get_frames_played_in_range(0.1, 0.5).pts_seconds,
        lambda decoder: decoder.get_frames_played_in_range(0.1, 0.5, fps=13).pts_seconds,
        lambda decoder: decoder.get_frames_played_in_range(0.1, 0.5, fps=13).duration_seconds,
        lambda decoder: decoder.get_frames_played_in_range(0.1, 0.5, fps=13).data,
        lambda decoder: decoder.get_all_frames().data,
        lambda decoder: decoder.get_all_frames(fps=11).data,
        lambda decoder: decoder.get_frames_in_range(0, 0).data,
        lambda decoder: decoder.get_frames_played_at([]).data,
        lambda decoder: torch.stack(list(decoder)),
    ):
        expected, found = call(theirs), call(ours)
        assert isinstance(found, torch.Tensor)
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected) if found.dtype == torch.uint8 else torch.allclose(found, expected)


@pytest.mark.parametrize("fps", [1, 7, 12.5, 24, 29.97, 30, 50, 60])
@pytest.mark.parametrize(("start", "stop"), [(0.0, 1.92), (0.05, 0.3), (0.1, 0.32), (0.0, 0.22), (1.0, 1.9)])
def test_other_rates_are_those_of_torchcodec(fps: float, start: float, stop: float, clip: GetClip) -> None:
    path = clip("h264_pyramid_mp4").path
    theirs = VideoDecoder(str(path)).get_frames_played_in_range(start, stop, fps=fps)
    ours = PyAVVideoDecoder(path).get_frames_played_in_range(start, stop, fps=fps)
    assert np.allclose(ours.pts_seconds, theirs.pts_seconds.numpy(), rtol=0, atol=1e-9)
    assert np.allclose(ours.duration_seconds, theirs.duration_seconds.numpy())
    times = ours.pts_seconds
    clear = np.abs(times - np.round(times / 0.04) * 0.04) > 1e-6  # elsewhere its float may be just too small
    assert np.array_equal(ours.data[clear], theirs.data.numpy()[clear])
    assert np.array_equal(ours.data, PyAVVideoDecoder(path).get_frames_played_at(times).data)


@pytest.mark.parametrize(
    "call",
    [
        lambda decoder: decoder[48],
        lambda decoder: decoder[-49],
        lambda decoder: decoder["a"],
        lambda decoder: decoder[1.0],
        lambda decoder: decoder.get_frame_at(1000),
        lambda decoder: decoder.get_frames_at([0, 1000]),
        lambda decoder: decoder.get_frame_played_at(-1),
        lambda decoder: decoder.get_frame_played_at(1.92),
        lambda decoder: decoder.get_frames_in_range(0, 10, 0),
        lambda decoder: decoder.get_frames_played_in_range(0.3, 0.2),
        lambda decoder: decoder.get_frames_played_in_range(0, 100),
        lambda decoder: decoder.get_frames_played_in_range(-1, 1),
        lambda decoder: decoder.get_frames_played_in_range(1.92, 1.92),
    ],
)
def test_what_is_not_there_is_answered_as_by_torchcodec(call: Callable[[Any], Any], clip: GetClip) -> None:
    path = clip("h264_pyramid_mp4").path
    with pytest.raises((IndexError, ValueError, TypeError)) as theirs:
        call(VideoDecoder(str(path)))
    for decoder in (TorchCodecVideoDecoder(path), PyAVVideoDecoder(path)):
        with pytest.raises(theirs.type):
            call(decoder)


def test_metadata_is_that_of_torchcodec(clip: GetClip) -> None:
    for name in ("h264_29_97_mp4", "rotated_90_mp4", "hevc_10bit_mp4", "h264_late_start_mp4"):
        path = clip(name).path
        ours, theirs = TorchCodecVideoDecoder(path).metadata, VideoDecoder(str(path)).metadata
        for field in ("num_frames", "width", "height", "codec", "pixel_format"):
            assert getattr(ours, field) == getattr(theirs, field)
        last = 0.04 if theirs.end_stream_seconds < float(ours.end_stream_seconds or 0) else 0  # which it lost
        for field in ("begin_stream_seconds", "end_stream_seconds", "duration_seconds"):
            assert float(getattr(ours, field)) == pytest.approx(getattr(theirs, field), abs=last + 1e-6)
        assert ours.rotation == (theirs.rotation or 0) % 360


def test_what_torchcodec_takes_is_taken(clip: GetClip) -> None:
    path = clip("h264_pyramid_mp4").path
    expected = VideoDecoder(str(path))[4]
    data = path.read_bytes()
    for source in (
        str(path),
        path,
        data,
        torch.frombuffer(bytearray(data), dtype=torch.uint8),
        io.BytesIO(data),
    ):
        decoder = TorchCodecVideoDecoder(
            source, seek_mode="approximate", num_ffmpeg_threads=0, device=torch.device("cpu")
        )
        assert torch.equal(decoder[4], expected)
    with pytest.raises(ValueError, match="seek_mode"):
        TorchCodecVideoDecoder(path, seek_mode="wrong")


def test_a_forked_child_decodes(clip: GetClip) -> None:
    path = clip("h264_pyramid_mp4").path
    decoder = TorchCodecVideoDecoder(path)
    expected = decoder.get_all_frames().data
    pid = os.fork()
    if pid == 0:
        os._exit(0 if torch.equal(decoder.get_all_frames().data, expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_spawned_worker_decodes(clip: GetClip) -> None:
    path = clip("h264_pyramid_mp4").path
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply_async(_frame_of, (TorchCodecVideoDecoder(path), 5)).get(timeout=120)
    assert np.array_equal(found, PyAVVideoDecoder(path)[5])


def _frame_of(decoder: Any, index: int) -> np.ndarray:
    return decoder[index].numpy()


def _import_failing(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """Let the import of a module, and of what lies in it, fail."""
    real = builtins.__import__

    def importing(wanted: str, *rest: Any, **named: Any) -> Any:
        if wanted == name or wanted.startswith(f"{name}."):
            raise error
        return real(wanted, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", importing)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("torchcodec", ModuleNotFoundError("No module", name="torchcodec"), "^TorchCodec is not installed"),
        (
            "torch",
            ModuleNotFoundError("No module", name="torch"),
            "PyTorch, .* is not installed",
        ),
        ("torchcodec", RuntimeError("Could not load libtorchcodec.\n\nmore"), "cannot load FFmpeg's shared"),
        ("torchcodec", OSError("libavutil.so.60: cannot open"), "cannot load FFmpeg's shared"),
    ],
)
def test_torchcodec_that_is_not_there(
    name: str, error: Exception, message: str, clip: GetClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clip("h264_idr_mp4").path
    ref = MediaRef(str(path), 0)
    _import_failing(monkeypatch, name, error)
    for call in (
        lambda: batch_decode([ref], decoder="torchcodec"),
        lambda: batch_decode([], decoder="torchcodec"),
        lambda: ref.to_ndarray(decoder="torchcodec"),
        lambda: TorchCodecVideoDecoder(path),
    ):
        with pytest.raises(ImportError, match=message) as caught:
            call()
        assert isinstance(caught.value, MissingExtraError)
        assert "\n" not in str(caught.value)
    if "not installed" in message:
        assert "pip install" in str(caught.value)


QUOTED = "Could not load libtorchcodec. Likely causes:\n 1. FFmpeg is not properly installed\n"
NO_FFMPEG = "OSError: libavutil.so.{}: cannot open shared object file: No such file or directory\n"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            RuntimeError(QUOTED + NO_FFMPEG.format(60) + NO_FFMPEG.format(59)),
            r"cannot load FFmpeg's shared libraries \(libavutil.so.60: .*install FFmpeg 4 to 8",
        ),
        (
            RuntimeError(QUOTED + NO_FFMPEG.format(60) + "OSError: a.so: undefined symbol: _ZN3c10\n"),
            r"do not load together \(a.so: undefined symbol: _ZN3c10\)",
        ),
        (
            OSError("libnvrtc.so.13: cannot open shared object file: No such file or directory"),
            r"do not load together \(libnvrtc.so.13: cannot open",
        ),
        (RuntimeError("Could not load libtorchcodec.\n\nmore"), "cannot load FFmpeg's shared libraries; "),
    ],
)
def test_a_pair_that_does_not_go_together_is_named(
    error: Exception, says: str, clip: GetClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import version

    from mediaref_ursa._decode.torchcodec.library import TESTED_PAIRS

    path = clip("h264_idr_mp4").path
    outer = OSError("Could not load this library: /x/libtorchcodec_image.so")
    outer.__cause__ = error
    for raised in (error, outer):
        _import_failing(monkeypatch, "torchcodec", raised)
        with pytest.raises(MissingExtraError, match=says) as caught:
            TorchCodecVideoDecoder(path)
        assert caught.value.__cause__ is raised
        text = str(caught.value)
        assert f"TorchCodec {version('torchcodec')} and PyTorch {version('torch')}" in text
        assert all(f"torch {one} with torchcodec {other}" in text for one, other in TESTED_PAIRS)
        assert "\n" not in text


def test_the_docs_name_the_pairs_that_were_tested() -> None:
    from mediaref_ursa._decode.torchcodec.library import TESTED_PAIRS

    root = Path(__file__).parents[1]
    for page in ("README.md", "docs/migrating-from-mediaref.md"):
        text = " ".join((root / page).read_text(encoding="utf-8").split())
        for one, other in TESTED_PAIRS:
            assert f"torch {one} and torchcodec {other}" in text


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@needs_cuda
@pytest.mark.parametrize("name", ["h264_pyramid_mp4", "hevc_open_gop_mp4", "av1_mp4", "vp9_alt_ref_webm"])
def test_the_gpu_names_the_same_frames(name: str, clip: GetClip) -> None:
    path = clip(name).path
    frames = linear_frames(path)
    refs = references(path, frames)
    on_gpu = batch_decode(refs, device="cuda")
    assert all(frame.device.type == "cuda" for frame in on_gpu)
    as_arrays = batch_decode(refs, decoder="torchcodec", decoder_options={"device": "cuda"})
    for place, (tensor, array) in enumerate(zip(on_gpu, as_arrays, strict=True)):
        assert np.array_equal(tensor.cpu().numpy(), array)
        distances = [np.abs(array.astype(int) - frame.rgb).mean() for frame in frames]
        assert distances[place] == min(distances)


@needs_cuda
def test_the_decoder_on_the_gpu(clip: GetClip) -> None:
    path = clip("h264_pyramid_mp4").path
    batch = TorchCodecVideoDecoder(path, device="cuda").get_frames_at([0, 20, 3])
    assert batch.data.device.type == "cuda"
    assert batch.pts_seconds.device.type == "cpu"
    on_cpu = TorchCodecVideoDecoder(path).get_frames_at([0, 20, 3])
    assert (batch.data.cpu().int() - on_cpu.data.int()).abs().float().mean() < 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there(clip: GetClip) -> None:
    path = clip("h264_pyramid_mp4").path
    with pytest.raises(ValueError, match="expected a CUDA device"):
        batch_decode([MediaRef(str(path), 0)], device="cuda")
    with pytest.raises(ValueError, match="expected a CUDA device"):
        TorchCodecVideoDecoder(path, device="cuda")


def test_a_packet_that_decoders_refuse_is_an_error(clip: GetClip, tmp_path: Path) -> None:
    from mediaref_ursa._index.build import scan_frame_index

    path = tmp_path / "refused.mp4"
    data = bytearray(clip("h264_one_gop_mp4").path.read_bytes())
    table = scan_frame_index(clip("h264_one_gop_mp4").path).segment_table(0)
    reference = int(np.flatnonzero(table.packets.is_reference[20:] == 1)[0]) + 20
    start = int(table.packets.offset[reference])
    data[start + 4] = data[start + 4] & 0xE0 | 12  # the slice becomes filler, so that there is no picture
    path.write_bytes(data)
    frames = linear_frames(clip("h264_one_gop_mp4").path)
    refs = references(path, frames)
    found = batch_decode(refs, decoder="torchcodec", on_error="none")
    good = [i for i in range(len(frames)) if i not in found.errors]
    assert good
    assert found.errors
    before = [i for i in good if table.packet[i] < reference]
    assert differences([found[i] for i in before], [frames[i] for i in before]).max(initial=0) <= LEVELS
    ours = batch_decode(refs, on_error="none")
    both = [i for i in good if i not in ours.errors]
    assert all(np.abs(found[i].astype(int) - ours[i]).max() <= LEVELS for i in both)


def test_transforms_see_the_picture_as_it_is_shown(clip: GetClip) -> None:
    from torchcodec.transforms import CenterCrop, Resize

    path = clip("rotated_90_mp4").path
    for transform in (Resize((32, 48)), CenterCrop((40, 20))):
        expected = VideoDecoder(str(path), transforms=[transform])[3]
        assert torch.equal(TorchCodecVideoDecoder(path, transforms=[transform])[3], expected)
    with pytest.raises((TypeError, ValueError)):
        TorchCodecVideoDecoder(path, transforms=[3])[0]
    with pytest.raises(TypeError):
        TorchCodecVideoDecoder(path, num_ffmpeg_threads="x")
    with pytest.raises(ValueError, match="num_ffmpeg_threads"):
        TorchCodecVideoDecoder(path, num_ffmpeg_threads=-1)


def test_samplers_of_torchcodec_take_the_decoder(clip: GetClip) -> None:
    from torchcodec.samplers import clips_at_random_indices, clips_at_regular_timestamps

    path = clip("h264_pyramid_mp4").path
    decoder = TorchCodecVideoDecoder(path)
    metadata = decoder.metadata
    assert isinstance(metadata.duration_seconds, float)
    assert torch.linspace(0, metadata.end_stream_seconds, 3).tolist() == pytest.approx([0, 0.96, 1.92])
    for make in (
        lambda d: clips_at_regular_timestamps(d, seconds_between_clip_starts=0.5, num_frames_per_clip=2),
        lambda d: clips_at_random_indices(d, num_clips=1, num_frames_per_clip=48),
    ):
        found, expected = make(decoder), make(VideoDecoder(str(path)))
        assert torch.equal(found.data, expected.data)


def test_single_values_are_batches_of_one(clip: GetClip) -> None:
    path = clip("h264_pyramid_mp4").path
    for decoder in (TorchCodecVideoDecoder(path), PyAVVideoDecoder(path)):
        for index in (3, np.array(3), torch.tensor(3)):
            assert decoder.get_frames_at(index).pts_seconds.tolist() == [0.12]
        for seconds in (0.12, np.array(0.12), torch.tensor(0.12, dtype=torch.float64)):
            assert decoder.get_frames_played_at(seconds).pts_seconds.tolist() == [0.12]
        with pytest.raises(IndexError):
            decoder[10**30]
        assert len(decoder.get_frames_played_in_range(0, 1, fps=np.float32(5))) == 5
