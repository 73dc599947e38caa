"""``batch_decode`` and ``plan_decode``: references are resolved, planned and decoded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

from mediaref_ursa._batch.decode import BatchOutput, decode_videos, load_images
from mediaref_ursa._batch.decoded_batch import (
    DecodedBatch,
    decoded_mask,
    in_rows,
    in_windows,
    window_length,
    without_one_channel,
)
from mediaref_ursa._batch.options import DECODERS, Backend, BatchOptions, OnError
from mediaref_ursa._batch.resolve import BatchRequest, resolve_batch
from mediaref_ursa._core.array_types import BoolArray, PixelArray, UInt8Array
from mediaref_ursa._core.counters import counting
from mediaref_ursa._core.interpreter_exit import working
from mediaref_ursa._core.process_state import close_all
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.reentrancy import refuse_amid_change
from mediaref_ursa._core.ticks import TOLERANCE_NS
from mediaref_ursa._model.pixels import Crop, Dtype, PixelSpec, checked_output_format
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


@overload
def batch_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    on_error: Literal["mask"],
    device: None = None,
    as_array: Literal[True],
    **options: Unpack[DecodeOptions],
) -> tuple[PixelArray, BoolArray]: ...


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
    on_error: OnError | Literal["mask"] = "raise",
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
            tuple, an Arrow ``struct<uri, pts_ns>`` array, a pandas column; a table of Arrow, pandas, Polars,
            DuckDB or anything else with ``__arrow_c_stream__`` or ``__arrow_c_array__``, with one column of
            them, or with columns ``uri`` and ``pts_ns``. A row may be a list of references, such as a window
            of observations: the result then is a list of lists.
        strategy: How much work frames of one video share; never which frames come out.
        decoder: ``"pyav"``, or ``"torchcodec"``, which needs the ``torchcodec`` extra. Both are fed
            the same packets and name the same frame; PyAV unless ``device`` is a CUDA device.
            ``"tensorcodec"``, of MediaRef 2, is another name of ``"pyav"``.
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
            None in its place and decodes the rest, with the errors in ``.errors`` of the list; ``"mask"``,
            with ``as_array``, gives zeros in its place, and a mask.
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
        frame_index: A ``LanceFrameIndex`` of the one video that is referred to, a mapping from
            URIs to them, or a ``CollectionIndex``, which is asked for all videos at once. That of a video
            that it does not have, or of every one without it, is found next to the video, or built in memory.
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
            into it at once, so that it is faster. All must have one shape, as with ``resize``. Of rows that
            are lists of one length, ``(rows, window, H, W, C)``.
        out: Array of that shape, and of the frames' type, to write frames into, such as that of the last
            batch: new memory costs about as much as conversion. With ``device``, a tensor. With ``as_array``
            it is returned; else the list holds views of its rows, and rows of references that failed are left
            as they were.
        **kwargs: ``column`` names the column of references of a table, or ``uri`` and ``pts_ns`` its columns
            of URIs and of times; ``path`` the nested field of structs or JSON strings that holds the
            reference, such as ``"media_ref"``. ``rebase`` replaces what URIs begin with, as :func:`rebase`
            does, before anything else looks at them. ``apply_rotation`` (True) turns frames by the
            container's display matrix; ``store`` is where bytes are read from, and ``storage_options`` what
            the store of a cloud scheme takes; ``fetch``, a ``FetchOptions``, is how remote bytes are fetched.
            ``access``, an ``Access``, is what may be read, as one value; or each of its attributes by name.
            ``untrusted`` (False) says that the references come from an untrusted writer: hosts outside the
            public network are refused, videos without an index are scanned in a process of its own. Options
            that open what is refused: ``allow_schemes``, ``allow_private_hosts``, ``max_redirects`` (5),
            ``allow_outside_base``, ``allow_outside_index``, ``max_data_uri_bytes`` (64 MiB), ``max_pixels``
            (8K), ``index_limits``, ``allow_shared_cache_dir``; see ``docs/security.md``. ``allow_images``,
            ``allow_multi_video`` and ``allow_gap`` (with ``gap_threshold`` in seconds) are MediaRef's: False
            makes an image, a second video or a gap a ValueError. ``keep_av_open`` is accepted and means
            nothing.

    Returns:
        uint8 arrays, or with ``dtype="native"`` of the media's type, in the order of ``refs``, each its own
        memory; a list that also has ``.pts_ns``, the exact time of each frame, ``.errors`` and
        ``.counters``. With ``as_array``, one array or tensor; with ``on_error="mask"`` too, that and bool
        ``(N,)``, which references gave a frame. Type checkers know which.

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
    _check_on_error(on_error, as_array=as_array)
    options = BatchOptions.from_options(kwargs, base_dir)
    channel_format = backend.channel_format(channel_format)
    spec = PixelSpec(
        resize,
        checked_output_format(output_format, colorspace),
        channel_format,
        options.apply_rotation,
        options.access.max_pixels,
        "native" if output_format == "native" else dtype,
        crop,
    )
    with working(), counting() as counted:
        request = BatchRequest.from_refs(refs, match, tolerance_ns, frame_index, options)
        count, lengths = len(request.columns), request.columns.lengths
        if as_array:
            window_length(lengths)
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
            failed = output.errors if on_error == "mask" else None
            array = in_windows(backend.moved_array(rows, spec, out, failed), lengths)
            return (array, in_windows(decoded_mask(count, failed), lengths)) if failed is not None else array
        frames: Any = (output.frames.get(slot) for slot in range(count))
        if output_format == "native":
            frames = (without_one_channel(frame, channel_format) for frame in frames)
        frames = in_rows(list(backend.moved(frames)), lengths)
        return DecodedBatch(frames, output.errors, counted, output.times_given())


@set_module("mediaref_ursa")
def plan_decode(
    refs: References,
    strategy: BatchDecodingStrategy | str | None = None,
    *,
    on_error: OnError = "raise",
    **options: Unpack[ResolveOptions],
) -> DecodePlan:
    """Return what :func:`batch_decode` would do for the same arguments, without decoding.

    Args:
        refs: As :func:`batch_decode` takes them.
        strategy: How much work frames of one video share.
        on_error: ``"none"`` plans for the references that name frames, with the errors of the others in
            ``.errors`` of the plan.
        **options: Those of :func:`batch_decode` by which references are resolved and bytes fetched.

    Raises:
        MediaRefError: The first reference that names no frame.

    Example:
        >>> plan = plan_decode([{"uri": "clip.mp4", "pts_ns": 0}])
        >>> plan.frames, plan.packets
        (1, 1)
    """
    if on_error not in ("raise", "none"):
        raise ValueError(f"expected on_error to be 'raise' or 'none', found {on_error!r}")
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
    if on_error == "raise":
        output.raise_first()
    return replace(resolved.plan(request, _strategy(strategy)), errors=output.errors)


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


def _check_on_error(on_error: str, *, as_array: bool) -> None:
    if on_error not in ("raise", "none", "mask"):
        raise ValueError(f"expected on_error to be 'raise', 'none' or 'mask', found {on_error!r}")
    if as_array and on_error == "none":
        raise ValueError(
            "expected on_error='raise' or 'mask' with as_array=True, found 'none': an array cannot hold "
            "errors; pass on_error='mask' for an array and a mask, or out= without as_array, and look at "
            ".errors of the list"
        )
    if on_error == "mask" and not as_array:
        raise ValueError(
            "expected as_array=True with on_error='mask', found a list; on_error='none' puts None into lists"
        )


def _strategy(strategy: BatchDecodingStrategy | str | None) -> BatchDecodingStrategy:
    if strategy is None:
        return BatchDecodingStrategy.SEQUENTIAL_PER_KEYFRAME_BLOCK
    try:
        return BatchDecodingStrategy(strategy)
    except ValueError:
        known = ", ".join(repr(known.value) for known in BatchDecodingStrategy)
        raise ValueError(
            f"expected strategy to be one of {known}, or a decoder ({', '.join(DECODERS)}), "
            f"found {strategy!r}"
        ) from None
