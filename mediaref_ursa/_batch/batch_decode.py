"""``batch_decode`` and ``plan_decode``: references are resolved, planned and decoded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np

from mediaref_ursa._batch.decode import BatchOutput, decode_videos, load_images
from mediaref_ursa._batch.options import DECODERS, Backend, BatchOptions, OnError
from mediaref_ursa._batch.resolve import BatchRequest, resolve_batch
from mediaref_ursa._core.array_types import Int64Array, PixelArray, UInt8Array
from mediaref_ursa._core.counters import Counters, counting
from mediaref_ursa._core.errors import MediaRefError
from mediaref_ursa._core.interpreter_exit import working
from mediaref_ursa._core.process_state import close_all
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.reentrancy import refuse_amid_change
from mediaref_ursa._core.ticks import NO_PTS_NS, TOLERANCE_NS
from mediaref_ursa._core.wording import counted
from mediaref_ursa._model.pixels import Crop, Dtype, PixelSpec
from mediaref_ursa._plan.decode_plan import DecodePlan
from mediaref_ursa._plan.frame_times import PLAYBACK, Match
from mediaref_ursa._plan.runs import BatchDecodingStrategy
from mediaref_ursa._references.columns import References

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from mediaref_ursa._batch.options import (
        DecodeOptions,
        Device,
        FrameIndexes,
        NativeOptions,
        ResolveOptions,
        UInt8Options,
    )

Frame = TypeVar("Frame")


@set_module("mediaref_ursa")
class DecodedBatch(list[Frame]):
    """A list of frames in the order of the references, and the errors of those that have none.

    Of arrays, ``DecodedBatch[NDArray[uint8]]``; of tensors with ``device=``; of either or None with
    ``on_error="none"``.

    Attributes:
        errors: The error of each reference that gave None, by its position in the list.
        counters: Requests, bytes, packets and frames of the call.
        pts_ns: int64 ``(n,)``: the exact time of each frame, rounded to the nearest nanosecond. A reference
            made of it and the URI gives the same frame, by either rule of ``match``. The least int64, -2**63,
            where there is no time: for images, and where a reference gave None. NaT of
            ``pts_ns.view("datetime64[ns]")`` is that number.

    >>> from mediaref_ursa import MediaRef, batch_decode
    >>> batch = batch_decode([MediaRef("clip.mp4", 520_000_000), MediaRef("photo.png")])
    >>> batch.pts_ns.tolist()
    [500000000, -9223372036854775808]
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        errors: Mapping[int, MediaRefError],
        counters: Counters,
        pts_ns: Int64Array | None = None,
    ) -> None:
        super().__init__(frames)
        self.errors: dict[int, MediaRefError] = dict(errors)
        self.counters = counters
        if pts_ns is None:
            pts_ns = np.full(len(self), NO_PTS_NS, dtype=np.int64)
        self.pts_ns: Int64Array = pts_ns

    def __repr__(self) -> str:
        frames = counted(len(self) - sum(frame is None for frame in self), "frame")
        return f"<DecodedBatch {frames}, {counted(len(self.errors), 'error')}>"

    def errors_by_uri(self) -> dict[str, list[MediaRefError]]:
        """Return the errors of each URI, in the order of the references.

        >>> from mediaref_ursa import MediaRef, batch_decode
        >>> batch = batch_decode([MediaRef("gone.mp4", 0), MediaRef("photo.png")], on_error="none")
        >>> batch, list(batch.errors_by_uri())
        (<DecodedBatch 1 frame, 1 error>, ['gone.mp4'])
        """
        found: dict[str, list[MediaRefError]] = {}
        for position in sorted(self.errors):
            error = self.errors[position]
            found.setdefault(error.uri or "", []).append(error)
        return found


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    dtype: Literal["native"],
    on_error: Literal["raise"] = "raise",
    device: None = None,
    as_array: Literal[False] = False,
    **options: Unpack[NativeOptions],
) -> DecodedBatch[PixelArray]: ...


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    dtype: Literal["native"],
    on_error: OnError = "raise",
    device: None = None,
    as_array: Literal[False] = False,
    **options: Unpack[NativeOptions],
) -> DecodedBatch[PixelArray | None]: ...


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    output_format: Literal["native"],
    on_error: Literal["raise"] = "raise",
    device: None = None,
    as_array: Literal[False] = False,
    **options: Unpack[NativeOptions],
) -> DecodedBatch[PixelArray]: ...


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    output_format: Literal["native"],
    on_error: OnError = "raise",
    device: None = None,
    as_array: Literal[False] = False,
    **options: Unpack[NativeOptions],
) -> DecodedBatch[PixelArray | None]: ...


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    dtype: Literal["native"],
    on_error: Literal["raise"] = "raise",
    device: None = None,
    as_array: Literal[True],
    **options: Unpack[NativeOptions],
) -> PixelArray: ...


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    on_error: Literal["raise"] = "raise",
    device: None = None,
    as_array: Literal[False] = False,
    **options: Unpack[UInt8Options],
) -> DecodedBatch[UInt8Array]: ...


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    on_error: OnError = "raise",
    device: None = None,
    as_array: Literal[False] = False,
    **options: Unpack[UInt8Options],
) -> DecodedBatch[UInt8Array | None]: ...


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    on_error: Literal["raise"] = "raise",
    device: None = None,
    as_array: Literal[True],
    **options: Unpack[UInt8Options],
) -> UInt8Array: ...


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    on_error: Literal["raise"] = "raise",
    device: Device,
    as_array: Literal[False] = False,
    **options: Unpack[DecodeOptions],
) -> DecodedBatch[torch.Tensor]: ...


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    on_error: OnError = "raise",
    device: Device,
    as_array: Literal[False] = False,
    **options: Unpack[DecodeOptions],
) -> DecodedBatch[torch.Tensor | None]: ...


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    on_error: Literal["raise"] = "raise",
    device: Device,
    as_array: Literal[True],
    **options: Unpack[DecodeOptions],
) -> torch.Tensor: ...


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    on_error: OnError = "raise",
    device: Device | None = None,
    as_array: bool = False,
    **options: Unpack[DecodeOptions],
) -> DecodedBatch[Any] | UInt8Array | torch.Tensor: ...


@set_module("mediaref_ursa")
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    resize: tuple[int, int] | None = None,
    crop: Crop | None = None,
    colorspace: str = "RGB",
    dtype: Dtype = "uint8",
    output_format: Literal["rgb", "native"] = "rgb",
    channel_format: str | None = None,
    on_error: OnError = "raise",
    match: Match = "playback",
    tolerance_ns: int = TOLERANCE_NS,
    base_dir: str | os.PathLike[str] | None = None,
    frame_index: FrameIndexes | None = None,
    device: Device | None = None,
    decoder_options: Mapping[str, Any] | None = None,
    max_workers: int | None = None,
    as_array: bool = False,
    out: Any = None,
    **kwargs: Any,
) -> Any:
    """Decode references to video frames and images, as many and as mixed as you like.

    Each reference to a video names the last frame whose time is not after ``pts_ns`` plus the
    tolerance, in absolute container time: the frame that a player displays then. With ``match="nearest"`` it
    names the frame whose own time is nearest. A frame that is asked for several times is decoded once.

    Args:
        refs: ``MediaRef`` objects or dicts with ``uri`` and ``pts_ns``, in any sequence: a list, a
            tuple, an Arrow ``struct<uri, pts_ns>`` array, a pandas column; a table of Arrow, pandas or Polars
            with one column of them, or with columns ``uri`` and ``pts_ns``.
        strategy: How much work frames of one video share; never which frames come out.
        decoder: ``"pyav"``, or ``"torchcodec"``, which needs the ``torchcodec`` extra. Both are fed
            the same packets and name the same frame; PyAV unless ``device`` is a CUDA device.
        resize: ``(height, width)`` of every output in pixels; each frame's own size without it.
        crop: ``(top, left, height, width)`` in pixels of the upright picture, cut out of it before it is
            resized: without ``resize`` the same pixels as that part of the whole frame.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA``, or ``G`` for one channel. Alpha is that of the
            media, and 255 where they have none; alpha that cannot be read is an error.
        dtype: ``"native"`` keeps every bit: samples of more than 8 bits come out as uint16, floating point as
            it is. ``G`` of gray media are the stored values, as of depth maps; colours are full scale, 65535
            is white, converted as FFmpeg's ``-pix_fmt rgb48le`` does it. ``"uint8"`` cuts them to 8 bits.
        output_format: ``"native"``, as MediaRef 2 has it: ``dtype="native"``, and gray media as ``(H, W)``.
        channel_format: ``NHWC`` for arrays ``(H, W, C)``, as they are without it; ``NCHW`` for ``(C, H, W)``.
        on_error: ``"raise"`` raises the error of the first reference that fails; ``"none"`` puts
            None in its place and decodes the rest, with the errors in ``.errors`` of the list.
        match: The rule by which a time names a frame. ``"playback"``: the frame that is displayed then.
            ``"nearest"``: the frame whose time is nearest, of two that are equally near the earlier, also
            before the first frame and after the last. Frames that have no time are never the nearest.
        tolerance_ns: With ``match="playback"``, nanoseconds by which a reference may lie before its frame:
            what rounding to whole nanoseconds, or a float64 of seconds, takes from a time. Times in float32
            are further away, and need no larger one if :func:`pts_ns_from_seconds` made them nanoseconds.
            With ``match="nearest"``, the largest distance between a reference and its frame, in either
            direction; the default takes exact times only. Half the distance of two frames reaches all
            times between them.
        base_dir: Where relative references begin. No reference to a file, relative or not, may lead out of
            it, by ``..``, an absolute path or a symbolic link.
        frame_index: A ``LanceFrameIndex`` of the one video that is referred to, or a mapping from
            URIs to them; found next to each video, or built in memory, without it.
        device: A torch device: the frames are torch tensors there instead of NumPy arrays. Frames for
            ``"cuda"`` are decoded by the GPU and are never in host memory.
        decoder_options: ``num_ffmpeg_threads`` (1), FFmpeg's own threads within each decoder: a window within
            one long group of pictures, which is one decoder's work, is decoded faster with some; with
            ``decoder="pyav"`` decoders then end with the call, and a process must not fork meanwhile. For
            TorchCodec also ``device`` (``"cuda"`` decodes on the GPU, and gives arrays all the same),
            ``transforms``, whose random crops are drawn once for all frames of one size, and ``seek_mode``,
            which changes nothing. ``dimension_order`` is another name of ``channel_format``.
        max_workers: Threads that decode and convert; as many as there are cores for this process, one in
            a worker of torch's data loader. With one, the caller's thread does all.
        as_array: Return one array ``(N, H, W, C)`` or ``(N, C, H, W)`` instead of a list: frames are written
            into it at once, so that it is faster. All must have one shape, as with ``resize``.
        out: Array of that shape, and of the frames' type, to write frames into, such as that of the last
            batch: new memory costs about as much as conversion. With ``device``, a tensor. With ``as_array``
            it is returned; else the list holds views of its rows, and rows of references that failed are left
            as they were.
        **kwargs: ``apply_rotation`` (True) turns frames by the container's display matrix;
            ``store`` is where bytes are read from, and ``storage_options`` what the store of a
            cloud scheme takes; ``fetch``, a ``FetchOptions``, is how remote bytes are fetched.
            ``access``, an ``Access``, is what may be read, as one value; or each of its attributes by name.
            ``untrusted`` (False) says that the references come from an untrusted writer: hosts outside the
            public network are refused, videos without an index are scanned in a process of its own.
            Options that open what is refused: ``allow_schemes``, ``allow_private_hosts``,
            ``max_redirects`` (5), ``allow_outside_base``, ``allow_outside_index``,
            ``max_data_uri_bytes`` (64 MiB), ``max_pixels`` (8K), ``index_limits``,
            ``allow_shared_cache_dir``; see ``docs/security.md``.
            ``allow_images``, ``allow_multi_video`` and ``allow_gap`` (with ``gap_threshold`` in
            seconds) are MediaRef's: False makes an image, a second video or a gap a ValueError.
            ``keep_av_open`` is accepted and means nothing.

    Returns:
        uint8 arrays, or with ``dtype="native"`` of the media's type, in the order of ``refs``, each its own
        memory; a list that also has ``.pts_ns``, the exact time of each frame, ``.errors`` and
        ``.counters``. With ``as_array``, one array or tensor. Type checkers know which.

    Raises:
        ValueError: An option that is none of its values, references that an ``allow_`` option forbids, or
            frames of several shapes for one array.
        MissingExtraError: ``decoder="torchcodec"`` or ``device`` without TorchCodec or torch.
        FrameOutsideVideoError: A time at which nothing is displayed; with ``match="nearest"`` a
            ``FrameBeyondToleranceError``, with the distance and the times of the frames before and after.
        MediaRefError: The first reference that fails, with ``on_error="raise"``.

    Warns:
        BitDepthWarning: Gray values of more than 8 bits are cut to 8, once for each file and process.

    Example:
        >>> from mediaref_ursa import MediaRef, batch_decode
        >>> frames = batch_decode([MediaRef("clip.mp4", 1_000_000_000), MediaRef("photo.png")])
        >>> [frame.shape for frame in frames]
        [(96, 128, 3), (96, 128, 3)]
        >>> late = MediaRef("clip.mp4", 990_000_000)  # of 30 frames a second
        >>> batch_decode([late]).pts_ns.tolist()
        [966666667]
        >>> batch_decode([late], match="nearest", tolerance_ns=20_000_000).pts_ns.tolist()
        [1000000000]
    """
    if strategy in DECODERS and decoder is None:  # where MediaRef 1 has the decoder
        strategy, decoder = None, str(strategy)
    backend = Backend.from_options(decoder, device, decoder_options)
    if on_error not in ("raise", "none"):
        raise ValueError(f"expected on_error to be 'raise' or 'none', found {on_error!r}")
    if as_array and on_error == "none":
        raise ValueError(
            "expected on_error='raise' with as_array=True, found 'none': an array cannot hold errors; "
            "pass out= without as_array, and look at .errors of the list"
        )
    options = BatchOptions.from_options(kwargs, base_dir)
    channel_format = backend.channel_format(channel_format)
    spec = PixelSpec(
        resize,
        _colorspace(colorspace, output_format),
        channel_format,
        options.apply_rotation,
        options.access.max_pixels,
        "native" if output_format == "native" else dtype,
        crop,
    )
    with working(), counting() as counted:
        request = BatchRequest.from_refs(refs, match, tolerance_ns, frame_index, options)
        count = len(request.columns)
        rows = backend.rows(count, out, spec) if as_array or out is not None else None
        output = BatchOutput(request.columns, rows)
        load_images(request, spec, output)
        # A missing TorchCodec is an error also where all references are to images.
        if request.has_videos or backend.decoder != "pyav":
            from mediaref_ursa._decode.execute import checked_workers, make_engine

            engine = make_engine(backend.decoder, spec, backend.options, tensors=backend.device is not None)
            workers = checked_workers(max_workers)
            decode_videos(request, _strategy(strategy), engine, output, max_workers=workers)
        if on_error == "raise":
            output.raise_first()
        if as_array:
            return backend.moved_array(rows, spec, out)
        frames = (output.frames.get(slot) for slot in range(count))
        if output_format == "native":
            frames = (_without_one_channel(frame, channel_format) for frame in frames)
        return DecodedBatch(backend.moved(frames), output.errors, counted, output.times_given())


@set_module("mediaref_ursa")
def plan_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    **options: Unpack[ResolveOptions],
) -> DecodePlan:
    """Return what :func:`batch_decode` would do for the same arguments, without decoding.

    Raises:
        MediaRefError: The first reference that names no frame.

    Example:
        >>> plan = plan_decode([{"uri": "clip.mp4", "pts_ns": 0}])
        >>> plan.frames, plan.packets
        (1, 1)
    """
    given: dict[str, Any] = {**options}
    match, tolerance_ns = given.pop("match", PLAYBACK), given.pop("tolerance_ns", TOLERANCE_NS)
    frame_index = given.pop("frame_index", None)
    base_dir = given.pop("base_dir", None)  # None is the default, also together with access=
    request = BatchRequest.from_refs(
        refs, match, tolerance_ns, frame_index, BatchOptions.from_options(given, base_dir)
    )
    resolved = resolve_batch(request)
    output = BatchOutput(request.columns)
    for slot, error in resolved.errors.items():
        output.fail((slot,), error)
    output.raise_first()
    return resolved.plan(request, _strategy(strategy))


@set_module("mediaref_ursa")
def cleanup_cache() -> None:
    """Release all that this process keeps: indexes, idle decoders, buffers, threads, connections, processes.

    What is on disk stays: see ``mediaref-ursa cache clear``.

    Raises:
        ReentrantCallError: A signal's handler calls amid a change of what is held.

    >>> cleanup_cache()
    """
    refuse_amid_change()
    close_all()


def _colorspace(colorspace: str, output_format: str) -> str:
    """Return the colour space of a call: of ``output_format="native"``, that of each frame."""
    if output_format not in ("rgb", "native"):
        raise ValueError(f"expected output_format to be 'rgb' or 'native', found {output_format!r}")
    if output_format == "native" and colorspace != "RGB":
        raise ValueError(
            f"expected output_format='native' or colorspace={colorspace!r}, found both: native frames have "
            "the channels of their media; say dtype='native' with a colorspace"
        )
    return "native" if output_format == "native" else colorspace


def _without_one_channel(frame: Any, channel_format: str) -> Any:
    """Return a frame of one channel as ``(H, W)``, others as they are."""
    axis = 0 if channel_format == "NCHW" else -1
    return frame.squeeze(axis) if frame is not None and frame.shape[axis] == 1 else frame


def _strategy(strategy: BatchDecodingStrategy | str | None) -> BatchDecodingStrategy:
    if strategy is None:
        return BatchDecodingStrategy.SEQUENTIAL_PER_KEYFRAME_BLOCK
    try:
        return BatchDecodingStrategy(strategy)
    except ValueError:
        known = ", ".join(repr(known.value) for known in BatchDecodingStrategy)
        raise ValueError(f"expected strategy to be one of {known}, found {strategy!r}") from None
