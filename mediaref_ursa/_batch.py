"""Many references to many pixels: resolve, plan, carry out."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from mediaref_ursa._errors import MediaRefError
from mediaref_ursa._images import load_image
from mediaref_ursa._pixels import PixelSpec
from mediaref_ursa._plan import BatchDecodingStrategy, DecodePlan, plan_runs
from mediaref_ursa._references import ReferenceColumns, reference_columns
from mediaref_ursa._resolve import outside_error, resolve
from mediaref_ursa._time import TOLERANCE_NS, Int64Array
from mediaref_ursa._uri_text import redact
from mediaref_ursa._uris import MAX_DATA_URI_BYTES
from mediaref_ursa.store._local import under_base

if TYPE_CHECKING:
    from mediaref_ursa._execute import DecodedFrame
    from mediaref_ursa._frame_index import LanceFrameIndex
    from mediaref_ursa._frame_table import SegmentTable
    from mediaref_ursa._pillow import PixelFormat
    from mediaref_ursa._sources import VideoSource
    from mediaref_ursa.store import ObjectStore

UInt8Array = npt.NDArray[np.uint8]

_DECODERS = ("pyav", "torchcodec")
_LARGEST_TOLERANCE_NS = 2**62
_IMAGE_FORMATS: dict[str, PixelFormat] = {
    "RGB": "rgb",
    "BGR": "bgr",
    "RGBA": "rgba",
    "BGRA": "bgra",
    "G": "gray",
}


class DecodedBatch(list[Any]):
    """A list of frames in the order of the references, and the errors of those that have none.

    Attributes:
        errors: The error of each reference that gave None, by its place in the list.
    """

    def __init__(self, frames: Iterable[UInt8Array | None], errors: Mapping[int, MediaRefError]) -> None:
        super().__init__(frames)
        self.errors: dict[int, MediaRefError] = dict(errors)


def batch_decode(
    refs: Any,
    strategy: BatchDecodingStrategy | str | None = None,
    decoder: str | None = None,
    *,
    resize: tuple[int, int] | None = None,
    colorspace: str = "RGB",
    channel_format: str = "NHWC",
    on_error: Literal["raise", "none"] = "raise",
    tolerance_ns: int = TOLERANCE_NS,
    base_dir: str | os.PathLike[str] | None = None,
    frame_index: Any = None,
    device: Any = None,
    decoder_options: Mapping[str, Any] | None = None,
    max_workers: int | None = None,
    **kwargs: Any,
) -> list[Any]:
    """Decode references to video frames and images, as many and as mixed as you like.

    Each reference to a video shows the last frame whose time is not after ``pts_ns`` plus the
    tolerance, in absolute container time: the frame that a player shows then. A frame that is asked
    for several times is decoded once.

    Args:
        refs: ``MediaRef`` objects or dicts with ``uri`` and ``pts_ns``, in any sequence: a list, a
            tuple, an Arrow ``struct<uri, pts_ns>`` array, a pandas column.
        strategy: How much work frames of one video share; never which frames come out.
        decoder: ``"pyav"``, or ``"torchcodec"``, which needs the ``torchcodec`` extra. Both are fed
            the same packets and name the same frame; PyAV unless ``device`` is a CUDA device.
        resize: ``(height, width)`` of every output in pixels; each frame's own size without it.
        colorspace: ``RGB``, ``BGR``, ``RGBA``, ``BGRA``, or ``G`` for one channel.
        channel_format: ``NHWC`` for arrays ``(H, W, C)``, ``NCHW`` for ``(C, H, W)``.
        on_error: ``"raise"`` raises the error of the first reference that fails; ``"none"`` puts
            None in its place and decodes the rest, with the errors in ``.errors`` of the list.
        tolerance_ns: Nanoseconds by which a reference may lie before its frame.
        base_dir: Where relative references begin; none may lead out of it.
        frame_index: A ``LanceFrameIndex`` of the one video that is referred to, or a mapping from
            URIs to them; found beside each video, or built in memory, without it.
        device: A torch device: the frames are torch tensors there instead of NumPy arrays. Frames for
            ``"cuda"`` are decoded by the GPU and are never in host memory.
        decoder_options: For TorchCodec ``device`` (``"cuda"`` decodes on the GPU, and gives arrays all the
            same), ``num_ffmpeg_threads`` and ``transforms``.
        max_workers: How many runs are decoded at once; as many as there are cores for this process, one in
            a worker of torch's data loader.
        **kwargs: ``apply_rotation`` (True) turns frames by the container's display matrix;
            ``max_pixels`` (8K) and ``max_data_uri_bytes`` (64 MiB) bound what is decoded;
            ``store`` is where bytes are read from, and ``storage_options`` what the store of a
            cloud scheme takes; ``keep_av_open`` is accepted and means nothing. ``allow_images``,
            ``allow_multi_video`` and ``allow_gap`` (with ``gap_threshold`` in seconds) are MediaRef's:
            False makes an image, a second video or a gap a ValueError.

    Returns:
        uint8 arrays in the order of ``refs``, each its own memory; a list that also has ``.errors``.

    Raises:
        ValueError: An option that is none of its values, or references that an ``allow_`` option forbids.
        MissingExtraError: ``decoder="torchcodec"`` or ``device`` without TorchCodec or torch.
        MediaRefError: The first reference that fails, with ``on_error="raise"``.

    Example:
        >>> from mediaref_ursa import MediaRef, batch_decode
        >>> frames = batch_decode([MediaRef("clip.mp4", 1_000_000_000), MediaRef("photo.png")])
        >>> [frame.shape for frame in frames]
        [(96, 128, 3), (96, 128, 3)]
    """
    if strategy in _DECODERS and decoder is None:  # where MediaRef 1 has the decoder
        strategy, decoder = None, str(strategy)
    backend = _Backend.of(decoder, device, decoder_options)
    if on_error not in ("raise", "none"):
        raise ValueError(f"expected on_error to be 'raise' or 'none', found {on_error!r}")
    options = _Options.of(kwargs)
    spec = PixelSpec(resize, colorspace, channel_format, options.apply_rotation, options.max_pixels)
    batch = _Batch(refs, tolerance_ns, base_dir, frame_index, options, eager=on_error == "raise")
    plan = batch.plan(_strategy(strategy))
    batch.load_images(spec)
    if plan.runs or backend.decoder != "pyav":  # a missing TorchCodec is told, whatever the references
        from mediaref_ursa._execute import checked_workers, execute, make_engine

        engine = make_engine(backend.decoder, spec, backend.options, tensors=backend.device is not None)
        workers = checked_workers(max_workers)
        for decoded in execute(plan, batch.sources_of_segments, engine, max_workers=workers):
            batch.place(decoded)
    if on_error == "raise":
        batch.raise_first()
    frames = (batch.outputs.get(i) for i in range(len(batch.columns)))
    return DecodedBatch(backend.moved(frames), batch.errors)


def plan_decode(
    refs: Any,
    strategy: BatchDecodingStrategy | str | None = None,
    *,
    tolerance_ns: int = TOLERANCE_NS,
    base_dir: str | os.PathLike[str] | None = None,
    frame_index: Any = None,
    **kwargs: Any,
) -> DecodePlan:
    """Return what :func:`batch_decode` would do for the same arguments, without decoding.

    Raises:
        MediaRefError: The first reference that names no frame.

    Example:
        >>> plan = plan_decode([{"uri": "clip.mp4", "pts_ns": 0}])
        >>> plan.frames, plan.packets
        (1, 1)
    """
    batch = _Batch(refs, tolerance_ns, base_dir, frame_index, _Options.of(kwargs), eager=True)
    plan = batch.plan(_strategy(strategy))
    batch.raise_first()
    return plan


def cleanup_cache() -> None:
    """Drop everything that is held: indexes of videos that were read, idle connections, helper processes.

    What is on disk stays: see ``mediaref-ursa cache clear``.

    >>> cleanup_cache()
    """
    for module, forget in (
        ("mediaref_ursa._sources", "forget_sources"),
        ("mediaref_ursa._open_store", "forget_stores"),
        ("mediaref_ursa.store._sessions", "close_idle_sessions"),
        ("mediaref_ursa._lance_calls", "stop_helper"),
    ):
        if module in sys.modules:  # what was never loaded holds nothing
            getattr(sys.modules[module], forget)()


@dataclass(frozen=True)
class _Options:
    """The options that are taken by name only and rarely."""

    apply_rotation: bool = True
    max_pixels: int = PixelSpec.max_pixels
    max_data_uri_bytes: int = MAX_DATA_URI_BYTES
    store: ObjectStore | None = None
    storage_options: Mapping[str, Any] | None = None
    keep_av_open: bool = False
    allow_images: bool = True
    allow_multi_video: bool = True
    allow_gap: bool = True
    gap_threshold: float = 2.0

    @classmethod
    def of(cls, given: dict[str, Any]) -> _Options:
        known = cls.__dataclass_fields__
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise TypeError(f"expected only the options {', '.join(known)}, found {', '.join(unknown)}")
        return cls(**given)


@dataclass(frozen=True)
class _Backend:
    """Who decodes, with which options, and where the frames go.

    Attributes:
        decoder: One of ``_DECODERS``.
        options: The decoder's own.
        device: The torch device of the frames; None for NumPy arrays.
    """

    decoder: str
    options: Mapping[str, Any]
    device: Any

    @classmethod
    def of(cls, decoder: str | None, device: Any, options: Mapping[str, Any] | None) -> _Backend:
        on_gpu = device is not None and str(device).startswith("cuda")
        decoder = decoder or ("torchcodec" if on_gpu else "pyav")
        if decoder not in _DECODERS:
            raise ValueError(f"Unknown decoder backend {decoder!r}: expected one of {', '.join(_DECODERS)}")
        if on_gpu and decoder != "torchcodec":
            raise ValueError(
                f"expected decoder='torchcodec' for device={str(device)!r}, found {decoder!r}: PyAV decodes "
                "into host memory; leave decoder out, or move its frames yourself"
            )
        chosen = dict(options or {})
        if device is not None and decoder == "torchcodec":
            chosen.setdefault("device", device)
        return cls(decoder, chosen, device)

    def moved(self, frames: Iterable[Any]) -> Iterable[Any]:
        """Return the frames where they are wanted."""
        if self.device is None:
            return frames
        from mediaref_ursa._torchcodec import to_device

        return [None if frame is None else to_device(frame, self.device) for frame in frames]


@dataclass
class _Batch:
    """One call: its references, what became of them, and the videos they name."""

    refs: Any
    tolerance_ns: int
    base_dir: str | os.PathLike[str] | None
    frame_index: Any
    options: _Options
    eager: bool
    outputs: dict[int, Any] = field(default_factory=dict)
    errors: dict[int, MediaRefError] = field(default_factory=dict)
    sources_of_segments: list[VideoSource] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tolerance_ns = operator.index(self.tolerance_ns)
        if not 0 <= self.tolerance_ns < _LARGEST_TOLERANCE_NS:
            raise ValueError(f"expected tolerance_ns from 0 to 2**62, found {self.tolerance_ns}")
        self.columns: ReferenceColumns = reference_columns(self.refs)
        _check_allowed(self.columns, self.options)

    def plan(self, strategy: BatchDecodingStrategy) -> DecodePlan:
        """Resolve all references to video frames and plan their decoding."""
        segments: list[SegmentTable] = []
        wanted: list[tuple[Int64Array, Int64Array, Int64Array]] = []
        for uri, slots in self.columns.videos().items():
            try:
                source = self._open(uri)
            except MediaRefError as error:
                self._fail_all(slots, error)
                continue
            found = self._resolve(source, uri, slots, first_segment=len(segments))
            if found is not None:
                segments += source.segments
                self.sources_of_segments += [source] * len(source.segments)
                wanted.append(found)
        segment, frame, slot = (
            np.concatenate([part[i] for part in wanted]) if wanted else np.empty(0, dtype=np.int64)
            for i in range(3)
        )
        return DecodePlan(
            segments=tuple(segments),
            runs=plan_runs(segments, segment, frame, slot, strategy),
            references=len(self.columns),
            images=int(self.columns.is_image.sum()),
            strategy=strategy,
        )

    def load_images(self, spec: PixelSpec) -> None:
        """Load the references to images."""
        for slot in np.flatnonzero(self.columns.is_image).tolist():
            uri = self.columns.uris[slot]
            try:
                self.outputs[slot] = _image(under_base(uri, self.base_dir), spec, self.options)
            except MediaRefError as error:
                self.fail(slot, error)

    def place(self, decoded: DecodedFrame) -> None:
        """Give a frame to all who want it, each an array of its own: changing one changes no other."""
        first, *others = decoded.slots.tolist()
        if decoded.pixels is None:
            assert decoded.error is not None
            for slot in (first, *others):
                self.fail(slot, decoded.error)
            return
        self.outputs[first] = decoded.pixels
        for slot in others:
            self.outputs[slot] = (
                decoded.pixels.copy() if isinstance(decoded.pixels, np.ndarray) else decoded.pixels.clone()
            )

    def raise_first(self) -> None:
        """Raise the error of the first reference that failed, if any did."""
        if self.errors:
            raise self.errors[min(self.errors)]

    def _fail_all(self, slots: Int64Array, error: MediaRefError) -> None:
        for slot in slots.tolist():
            self.fail(slot, error)

    def _open(self, uri: str) -> VideoSource:
        from mediaref_ursa._sources import open_source

        place = under_base(uri, self.base_dir)
        return open_source(
            place,
            self._index_for(uri, place),
            store=self.options.store,
            storage_options=self.options.storage_options,
            base_dir=None if place == uri else self.base_dir,
        )

    def _index_for(self, uri: str, place: str) -> LanceFrameIndex | None:
        given: Any = self.frame_index
        if isinstance(given, Mapping):
            given = given.get(uri, given.get(place))
        elif given is not None and len(self.columns.videos()) > 1:
            raise ValueError(
                "expected frame_index to be a mapping from URIs to indexes for references to several videos, "
                f"found one index for {len(self.columns.videos())} videos"
            )
        if isinstance(given, (str, os.PathLike)):
            from mediaref_ursa._frame_index import LanceFrameIndex

            return LanceFrameIndex.open(given, storage_options=self.options.storage_options)
        if given is not None and not hasattr(given, "segment_table"):
            raise TypeError(
                f"expected frame_index to be a LanceFrameIndex or a mapping, found {given!r:.100}"
            )
        index: LanceFrameIndex | None = given
        return index

    def _resolve(
        self, source: VideoSource, uri: str, slots: Int64Array, first_segment: int
    ) -> tuple[Int64Array, Int64Array, Int64Array] | None:
        """Return segment, frame and slot of the references that name a frame; note those that do not."""
        t_ns = self.columns.pts_ns[slots]
        try:
            segment, frame = resolve(source.segments, t_ns, self.tolerance_ns)
        except MediaRefError as error:
            self._fail_all(slots, error)
            return None
        outside = np.flatnonzero(frame < 0)
        for i in outside.tolist():
            self.fail(int(slots[i]), outside_error(source.segments, uri, int(t_ns[i]), int(frame[i])))
        inside = frame >= 0
        return segment[inside] + first_segment, frame[inside], slots[inside]

    def fail(self, slot: int, error: MediaRefError) -> None:
        """Note the error of a reference, with its own URI and time."""
        own = type(error)(error.message, uri=self.columns.uris[slot], pts_ns=self.columns.time_of(slot))
        own.__cause__ = error.__cause__
        self.errors[slot] = own


def _image(uri: str, spec: PixelSpec, options: _Options) -> UInt8Array:
    pixels = load_image(
        uri,
        _IMAGE_FORMATS[spec.colorspace],
        resize=spec.resize,
        max_pixels=spec.max_pixels,
        max_data_uri_bytes=options.max_data_uri_bytes,
        store=options.store,
        storage_options=options.storage_options,
    )
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if spec.channel_format == "NCHW" else pixels


def _strategy(strategy: BatchDecodingStrategy | str | None) -> BatchDecodingStrategy:
    if strategy is None:
        return BatchDecodingStrategy.SEQUENTIAL_PER_KEYFRAME_BLOCK
    return BatchDecodingStrategy(strategy)


def _check_allowed(columns: ReferenceColumns, options: _Options) -> None:
    """Refuse what a caller of MediaRef's options does not expect among the references."""
    images, videos = int(columns.is_image.sum()), columns.videos()
    if images and not options.allow_images:
        raise ValueError(f"expected no images with allow_images=False, found {images}")
    if len(videos) > 1 and not options.allow_multi_video:
        raise ValueError(f"expected one video with allow_multi_video=False, found {len(videos)}")
    if options.allow_gap:
        return
    for uri, slots in videos.items():
        gap_ns = int(np.diff(np.sort(columns.pts_ns[slots])).max(initial=0))
        if gap_ns > options.gap_threshold * 1e9:
            raise ValueError(
                f"expected gaps of at most {options.gap_threshold} s with allow_gap=False, "
                f"found {gap_ns / 1e9:.3f} s between references to {redact(uri)}"
            )
