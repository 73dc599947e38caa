"""Mutants of every clip: each frame is that of a linear decode, or an error of the library's tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from _containers import Sample, remux
from _encoding import RGBArray
from _media import CLIP_NAMES, Clip
from _oracle import best_video_stream, to_rgb

from mediaref_ursa import MediaRef, MediaRefError, batch_decode, write_frame_index

Change = Callable[[Sample], tuple[bytes, bool]]
EVERY = 7


def decoded_as_players_do(path: Path) -> dict[int, RGBArray]:
    """Return frames by time in nanoseconds; a packet that the decoder refuses is left out."""
    frames: dict[int, RGBArray] = {}
    with av.open(str(path)) as container:
        stream = best_video_stream(container)
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for packet in container.demux(stream):
            try:
                given = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in given:
                if frame.pts is not None:
                    frames[-(-(frame.pts * stream.time_base * 10**9) // 1)] = to_rgb(frame)
    return frames


def cut_to(share: float) -> Change:
    """Cut every seventh packet: what is left is a header, or a part of the picture."""

    def change(sample: Sample) -> tuple[bytes, bool]:
        if sample.number % EVERY != EVERY - 1:
            return sample.data, sample.is_keyframe
        return sample.data[: max(1, int(len(sample.data) * share))], sample.is_keyframe

    return change


def keyframes_cut(sample: Sample) -> tuple[bytes, bool]:
    """Leave little more than a header of each keyframe but the first."""
    is_cut = sample.is_keyframe and sample.number > 0
    return sample.data[:16] if is_cut else sample.data, sample.is_keyframe


def zeroed(sample: Sample) -> tuple[bytes, bool]:
    """Zero the second half of every seventh packet."""
    half = len(sample.data) // 2
    is_hit = sample.number % EVERY == EVERY - 1
    return sample.data[:half] + bytes(len(sample.data) - half) if is_hit else sample.data, sample.is_keyframe


def followed_by_junk(sample: Sample) -> tuple[bytes, bool]:
    """Let a start code and bytes that are no unit follow every seventh packet."""
    is_hit = sample.number % EVERY == EVERY - 1
    return sample.data + b"\0\0\1\xbe\0\4abcd" * is_hit, sample.is_keyframe


def all_flagged(sample: Sample) -> tuple[bytes, bool]:
    """Call every packet a keyframe."""
    return sample.data, True


MUTANTS: dict[str, Change] = {
    "one byte": cut_to(0),
    "a header": cut_to(0.05),
    "a part": cut_to(0.6),
    "keyframes cut": keyframes_cut,
    "zeroed": zeroed,
    "junk behind": followed_by_junk,
    "all flagged": all_flagged,
}
LEAVE_HOLES = ("vp8", "huffyuv", "ffvhuff")
"""Codecs whose decoders leave parts of a damaged picture unwritten, unmarked: ``decode=True`` finds that."""
CLIPS = [name for name in CLIP_NAMES if not name.startswith("colour_")]


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("name", CLIPS)
def test_frames_of_a_mutant_are_right_or_errors(
    name: str, mutant: str, clip: Callable[[str], Clip], tmp_path: Path
) -> None:
    whole = clip(name).path
    path = tmp_path / whole.name
    try:
        remux(whole, path, MUTANTS[mutant])
    except (av.error.FFmpegError, ValueError) as error:
        pytest.skip(f"FFmpeg does not write it: {error}")
    try:
        write_frame_index(str(path), decode=name.startswith(LEAVE_HOLES))
    except MediaRefError:
        return
    frames = decoded_as_players_do(path)
    refs = [MediaRef(str(path), time) for time in frames]
    together = batch_decode(refs, on_error="none")
    for ref, pixels, expected in zip(refs, together, frames.values(), strict=True):
        assert pixels is None or np.array_equal(pixels, expected), ref
    for place in range(0, len(refs), 3):
        alone = batch_decode([refs[place]], on_error="none")[0]
        assert alone is None or np.array_equal(alone, [*frames.values()][place]), refs[place]
