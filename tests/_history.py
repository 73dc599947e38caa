"""Every frame of a video, asked for in several orders: what was asked before must not count."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from _encoding import RGBArray
from _oracle import OracleFrame, linear_frames

from mediaref_ursa import MediaRef, batch_decode, write_frame_index
from mediaref_ursa._decode.decoder_pool import decoders


def wrong_frames(frames: Iterable[OracleFrame], pixels: Iterable[RGBArray | None]) -> list[int]:
    """Return which frames differ from those of the linear decode."""
    found = zip(frames, pixels, strict=True)
    return [i for i, (frame, rgb) in enumerate(found) if rgb is None or not np.array_equal(rgb, frame.rgb)]


def assert_no_history(path: Path, *, at_most: int = 200) -> list[OracleFrame]:
    """Ask for every frame from a clean state, in a batch, backwards and after each other; return them.

    Of more than ``at_most`` frames, all are asked for in the batch and a sample in the other orders.
    """
    frames = linear_frames(path)
    write_frame_index(str(path), overwrite=True)
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    assert not wrong_frames(frames, batch_decode(refs)), "in a batch"
    if len(refs) > at_most:
        some = sorted({*range(at_most // 2), *random.Random(1).sample(range(len(refs)), at_most // 2)})
        frames, refs = [frames[i] for i in some], [refs[i] for i in some]
    assert not wrong_frames(frames, _alone(refs)), "alone"
    decoders.close()
    assert not wrong_frames(frames[::-1], [ref.to_ndarray() for ref in refs[::-1]]), "backwards"
    order = random.Random(0).sample(range(len(refs)), len(refs))
    shuffled = [refs[i].to_ndarray() for i in order]
    assert not wrong_frames([frames[i] for i in order], shuffled), "after each other"
    return frames


def _alone(refs: Sequence[MediaRef]) -> Iterable[RGBArray]:
    for ref in refs:
        decoders.close()
        yield ref.to_ndarray()
