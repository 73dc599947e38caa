"""One call of ``batch_decode``: its options, its references, and what became of them."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._batch.options import BatchOptions
from mediaref_ursa._core.counters import in_this_context
from mediaref_ursa._core.daemon_threads import HelperThreads
from mediaref_ursa._core.errors import MediaChangedError, MediaRefError, memory_limits
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.ticks import Int64Array
from mediaref_ursa._core.uris import is_local
from mediaref_ursa._decode.output import DecodedFrame, FrameRows, new_array
from mediaref_ursa._images.load import load_image
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._plan.decode_plan import DecodePlan
from mediaref_ursa._plan.runs import BatchDecodingStrategy, plan_runs
from mediaref_ursa._references.columns import ReferenceColumns, reference_columns
from mediaref_ursa.store._download.retry import stopped_by
from mediaref_ursa.store._local import place_of

if TYPE_CHECKING:
    from mediaref_ursa._decode.execute import Engine
    from mediaref_ursa._images.pillow import PixelFormat
    from mediaref_ursa._index.frame_index import LanceFrameIndex
    from mediaref_ursa._model.segment import SegmentTable
    from mediaref_ursa._video.source import VideoSource

UInt8Array = npt.NDArray[np.uint8]

_LARGEST_TOLERANCE_NS = 2**62
_OPENED_AT_ONCE = 16
_IMAGE_FORMATS: dict[str, PixelFormat] = {
    "RGB": "rgb",
    "BGR": "bgr",
    "RGBA": "rgba",
    "BGRA": "bgra",
    "G": "gray",
}


@dataclass
class Batch:
    """One call: its references, what became of them, and the videos they name."""

    refs: Any
    tolerance_ns: int
    frame_index: Any
    options: BatchOptions
    outputs: dict[int, Any] = field(default_factory=dict)
    errors: dict[int, MediaRefError] = field(default_factory=dict)
    sources_of_segments: list[VideoSource] = field(default_factory=list)
    rows: FrameRows | None = None
    wanted: Int64Array | None = None
    reads_alpha: bool = False

    def __post_init__(self) -> None:
        self.tolerance_ns = operator.index(self.tolerance_ns)
        if not 0 <= self.tolerance_ns < _LARGEST_TOLERANCE_NS:
            raise ValueError(f"expected tolerance_ns from 0 to 2**62, found {self.tolerance_ns}")
        self.columns: ReferenceColumns = reference_columns(self.refs)
        _check_allowed(self.columns, self.options)

    @property
    def has_videos(self) -> bool:
        """Whether any reference is to a video."""
        return not self.columns.is_image.all()

    def decode(self, strategy: BatchDecodingStrategy, engine: Engine, max_workers: int) -> None:
        """Decode all references to video frames, and once more those whose videos were replaced meanwhile."""
        from mediaref_ursa._decode.execute import execute

        self.reads_alpha = engine.reads_alpha
        new_frame = new_array if self.rows is None else self.rows.new_frame
        for again in (False, True):
            plan = self.plan(strategy, ask_store=again)
            for decoded in execute(
                plan, self.sources_of_segments, engine, max_workers=max_workers, new_frame=new_frame
            ):
                self.place(decoded)
            changed = [slot for slot, error in self.errors.items() if isinstance(error, MediaChangedError)]
            if again or not changed:
                return
            self._want_again({self.columns.uris[slot] for slot in changed})

    def plan(self, strategy: BatchDecodingStrategy, *, ask_store: bool = False) -> DecodePlan:
        """Resolve the references to video frames and plan their decoding.

        Args:
            strategy: How runs are cut.
            ask_store: Ask each store whether its video is still the one that an index describes.
        """
        segments, segment, frame, slot = self.resolve(ask_store=ask_store)
        return DecodePlan(
            segments=tuple(segments),
            runs=plan_runs(segments, segment, frame, slot, strategy),
            references=len(self.columns),
            images=int(self.columns.is_image.sum()),
            strategy=strategy,
            fetch=self.options.fetch,
        )

    def resolve(
        self, *, ask_store: bool = False
    ) -> tuple[list[SegmentTable], Int64Array, Int64Array, Int64Array]:
        """Open the videos and find the frames that references name; note the errors of those that name none.

        Returns:
            The segments of all videos, and of each frame, int64 ``(n,)``: its segment among these, its number
            in presentation order, and the place of its reference.
        """
        segments: list[SegmentTable] = []
        wanted: list[tuple[Int64Array, Int64Array, Int64Array]] = []
        self.sources_of_segments = []
        videos = self._wanted_videos()
        for uri, source in self._open_all(list(videos), ask_store).items():
            if isinstance(source, MediaRefError):
                self._fail_all(videos[uri], source)
                continue
            found = self._resolve(source, uri, videos[uri], first_segment=len(segments))
            if found is not None:
                segments += source.segments
                self.sources_of_segments += [source] * len(source.segments)
                wanted.append(found)
        segment, frame, slot = (
            np.concatenate([part[i] for part in wanted]) if wanted else np.empty(0, dtype=np.int64)
            for i in range(3)
        )
        return segments, segment, frame, slot

    def _want_again(self, uris: set[str]) -> None:
        """Forget all that came of some videos: frames of two versions do not mix."""
        videos = self.columns.videos()
        self.wanted = np.concatenate([videos[uri] for uri in uris])
        for slot in self.wanted.tolist():
            self.outputs.pop(slot, None)
            self.errors.pop(slot, None)

    def _wanted_videos(self) -> dict[str, Int64Array]:
        videos = self.columns.videos()
        if self.wanted is None:
            return videos
        left = {uri: slots[np.isin(slots, self.wanted)] for uri, slots in videos.items()}
        return {uri: slots for uri, slots in left.items() if len(slots)}

    def _open_all(self, uris: list[str], ask_store: bool) -> dict[str, VideoSource | MediaRefError]:
        """Open the videos, several at once where they are far away: each takes some round trips."""
        self._check_indexes()
        far = [uri for uri in uris if not is_local(uri)]
        workers = min(len(far), _OPENED_AT_ONCE)
        if workers < 2:
            return {uri: self._open_or_error(uri, ask_store) for uri in uris}
        stop = threading.Event()
        with HelperThreads(workers, "mediaref-open") as threads, stopped_by(stop):
            try:
                opened = {
                    uri: threads.submit(in_this_context(self._open_or_error), uri, ask_store) for uri in far
                }
                near = {uri: self._open_or_error(uri, ask_store) for uri in uris if is_local(uri)}
                return {uri: opened[uri].result() if uri in opened else near[uri] for uri in uris}
            except BaseException:
                stop.set()
                raise

    def _open_or_error(self, uri: str, ask_store: bool) -> VideoSource | MediaRefError:
        try:
            with memory_limits(uri):
                return self._open(uri, ask_store)
        except MediaRefError as error:
            return error

    def load_images(self, spec: PixelSpec) -> None:
        """Load the references to images."""
        for slot in np.flatnonzero(self.columns.is_image).tolist():
            uri = self.columns.uris[slot]
            try:
                with memory_limits(uri):
                    self.outputs[slot] = self._in_row(slot, _image(uri, spec, self.options))
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
        if self.rows is not None:
            self.rows.place(decoded)
            for slot in (first, *others):
                self.outputs[slot] = self.rows.array[slot]
            return
        self.outputs[first] = decoded.pixels
        for slot in others:
            try:
                with memory_limits():
                    self.outputs[slot] = (
                        decoded.pixels.copy()
                        if isinstance(decoded.pixels, np.ndarray)
                        else decoded.pixels.clone()
                    )
            except MediaRefError as error:
                self.fail(slot, error)

    def _in_row(self, slot: int, pixels: UInt8Array) -> Any:
        """Return pixels, written into their row where there are rows."""
        if self.rows is None:
            return pixels
        row: Any = self.rows.new_frame(slot, pixels.shape)
        if isinstance(row, np.ndarray):
            row[...] = pixels
        else:
            from mediaref_ursa._decode.torchcodec.engine import to_device

            row[...] = to_device(pixels, row.device)
        return row

    def raise_first(self) -> None:
        """Raise the error of the first reference that failed, if any did."""
        if self.errors:
            raise self.errors[min(self.errors)]

    def _fail_all(self, slots: Int64Array, error: MediaRefError) -> None:
        for slot in slots.tolist():
            self.fail(slot, error)

    def _open(self, uri: str, ask_store: bool) -> VideoSource:
        from mediaref_ursa._video.source import open_source, source_with_alpha

        access, store = self.options.access, self.options.store
        access.check_video_uri(uri)
        place = place_of(uri, access, has_own_store=store is not None)
        source = open_source(
            place,
            self._index_for(uri, place),
            store=store,
            storage_options=self.options.storage_options,
            access=access,
            ask_store=ask_store,
        )
        for table in source.segments:
            access.check_pixels(table.info.width, table.info.height, uri)
        return source_with_alpha(source, access) if self.reads_alpha else source

    def _check_indexes(self) -> None:
        one = self.frame_index is not None and not isinstance(self.frame_index, Mapping)
        if one and (videos := len(self.columns.videos())) > 1:
            raise ValueError(
                "expected frame_index to be a mapping from URIs to indexes for references to several videos, "
                f"found one index for {videos} videos"
            )

    def _index_for(self, uri: str, place: str) -> LanceFrameIndex | None:
        given: Any = self.frame_index
        if isinstance(given, Mapping):
            given = given.get(uri, given.get(place))
        if isinstance(given, (str, os.PathLike)):
            from mediaref_ursa._index.frame_index import LanceFrameIndex

            return LanceFrameIndex.open(
                given, storage_options=self.options.storage_options, access=self.options.access
            )
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
            segment, frame = source.sequence.resolve(t_ns, self.tolerance_ns)
        except MediaRefError as error:
            self._fail_all(slots, error)
            return None
        outside = np.flatnonzero(frame < 0)
        for i in outside.tolist():
            self.fail(int(slots[i]), source.sequence.outside_error(uri, int(t_ns[i]), int(frame[i])))
        inside = frame >= 0
        return segment[inside] + first_segment, frame[inside], slots[inside]

    def fail(self, slot: int, error: MediaRefError) -> None:
        """Note the error of a reference, with its own URI and time."""
        own = type(error)(error.message, uri=self.columns.uris[slot], pts_ns=self.columns.time_of(slot))
        own.__cause__ = error.__cause__
        self.errors[slot] = own


def _image(uri: str, spec: PixelSpec, options: BatchOptions) -> UInt8Array:
    pixels = load_image(
        uri,
        _IMAGE_FORMATS[spec.colorspace],
        resize=spec.resize,
        access=options.access,
        store=options.store,
        storage_options=options.storage_options,
    )
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if spec.channel_format == "NCHW" else pixels


def _check_allowed(columns: ReferenceColumns, options: BatchOptions) -> None:
    """Refuse what a caller of MediaRef's options does not expect among the references."""
    images, videos = int(columns.is_image.sum()), columns.videos()
    if images and not options.allow_images:
        raise ValueError(f"expected no images with allow_images=False, found {images}")
    if len(videos) > 1 and not options.allow_multi_video:
        raise ValueError(f"expected one video with allow_multi_video=False, found {len(videos)}")
    if options.allow_gap:
        return
    for uri, slots in videos.items():
        times = np.sort(columns.pts_ns[slots]).view(np.uint64)  # of ascending times no difference overflows
        gap_ns = int(np.diff(times).max(initial=0))
        if gap_ns > options.gap_threshold * 1e9:
            raise ValueError(
                f"expected gaps of at most {options.gap_threshold} s with allow_gap=False, "
                f"found {gap_ns / 1e9:.3f} s between references to {redact(uri)}"
            )
