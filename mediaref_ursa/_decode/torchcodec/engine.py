"""The TorchCodec engine: each run is decoded as a small movie of its own.

TorchCodec opens files, and believes what they say of keyframes and times. Here it is given a file that
holds one run: it begins at a random access point, its times are ranks in presentation order, and its
bytes were read and checked by us. So which frame comes out is decided by the index, as for every engine, and
TorchCodec neither opens a path nor a URL.
"""

from __future__ import annotations

import operator
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, cast

import numpy as np

from mediaref_ursa._core.array_types import UINT8, Int64Array
from mediaref_ursa._core.errors import (
    CorruptMediaError,
    LimitExceededError,
    MediaRefError,
    StoreError,
    UnsupportedMediaError,
)
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._decode.packet_feed import PacketFeed
from mediaref_ursa._decode.torchcodec.library import load_torchcodec
from mediaref_ursa._decode.torchcodec.run_movie import TICKS_PER_SECOND, RunMovie, presentation_ranks
from mediaref_ursa._decode.torchcodec.transforms import TransformDraws, whole_frame
from mediaref_ursa._model.pixels import PixelSpec, crop_slices
from mediaref_ursa._model.segment import EncodedPacket, SegmentInfo, SegmentTable
from mediaref_ursa._plan.runs import Run
from mediaref_ursa._plan.tasks import DecodeSchedule, DecodeTask
from mediaref_ursa._pyav.sample_formats import sample_format

_IN_MEMORY_BYTES = 64 << 20
_FRAMES_AT_ONCE = 32
_BYTES_AT_ONCE = 256 << 20
_NO_MORE_FRAMES = "no more frames left to decode"  # as TorchCodec says it
_OPTIONS = ("device", "num_ffmpeg_threads", "transforms", "seek_mode")
_SEEK_MODES = ("exact", "approximate")
_ALPHA_FORMATS = ("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya8", "ya16", "pal8")
_TAGGED_FORMATS = ("yuv4", "yuva", "nv", "p0")  # yuvj says by its name that it is of full range
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_SOURCE_POSITION = re.compile(r"^\w+, \S+:\d+, ")
_GOOD = object()
_LUMA = (19595, 38470, 7471)  # BT.601 in 65536ths, as Pillow's L


class RunCheck(Protocol):
    """Damage check of one run: finds its damaged pictures; see ``_scan/decode_check``."""

    def watched(self, packets: Iterable[EncodedPacket]) -> Iterator[EncodedPacket]:
        """Yield the packets unchanged, and see each of them."""
        ...

    def outcome(self, packet: int, picture: Any) -> Any:
        """Return the picture of a packet, its error, or None if another decoder must give the picture."""
        ...


class TorchCodecEngine:
    """Decodes runs with TorchCodec. Threads may share one: a decoder lives inside one call.

    Args:
        spec: The pixel format of output frames.
        options: ``device`` (``"cpu"``), ``num_ffmpeg_threads`` (1), ``transforms`` and ``seek_mode`` of
            TorchCodec's ``VideoDecoder``. The last changes nothing: every frame is exact.
        tensors: Output torch tensors on the decoder's device instead of NumPy arrays.
        run_check: Makes what finds damage in a run, which TorchCodec conceals and does not report.

    Raises:
        MissingExtraError: TorchCodec is not installed, or cannot load FFmpeg.
        TypeError: An option that is not among these.
        ValueError: A device that is not there.
    """

    joins_runs = False  # each is a movie of its own, which begins where decoding can
    reads_alpha = False
    keeps_bits = False

    def __init__(
        self,
        spec: PixelSpec,
        options: Mapping[str, Any] | None = None,
        *,
        tensors: bool,
        run_check: Callable[[SegmentTable, Collection[int]], RunCheck],
    ) -> None:
        given = dict(options or {})
        if unknown := sorted(set(given) - set(_OPTIONS)):
            raise TypeError(
                f"expected decoder_options among {', '.join(_OPTIONS)}, found {', '.join(unknown)}"
            )
        checked_seek_mode(given.pop("seek_mode", "exact"))
        if given.get("num_ffmpeg_threads", 1) is None:
            raise ValueError("expected num_ffmpeg_threads of 0 or more, found None")
        if operator.index(given.get("num_ffmpeg_threads", 1)) < 0:
            raise ValueError(f"expected num_ffmpeg_threads of 0 or more, found {given['num_ffmpeg_threads']}")
        self._spec = spec
        self._modules = load_torchcodec()
        self._tensors = tensors
        self._run_check = run_check
        transforms = given.pop("transforms", None)
        self.transforms = transforms if isinstance(transforms, TransformDraws) else TransformDraws(transforms)
        self._options = {"num_ffmpeg_threads": 1, **given}
        self._options["device"] = checked_device(given.get("device") or "cpu")

    def may_need_earlier_start(self, info: SegmentInfo) -> bool:
        """Whether frames that did not come out may come out from an earlier random access point.

        FFmpeg before 7 drops frames of H.264 that are decoded after a recovery point and displayed before it.
        """
        return info.codec == "h264"

    def begin(
        self, tables: Sequence[SegmentTable], stores: Sequence[object], runs: Sequence[Run]
    ) -> DecodeSchedule:
        """Return a task for each run: no frame is decoded already."""
        return DecodeSchedule(tasks=[DecodeTask(run) for run in runs])

    def pixels(self, picture: Any, new: Callable[[tuple[int, ...], np.dtype[Any]], Any]) -> Any:
        """Return the pixels of a frame: tensors as they are, arrays where they are wanted."""
        if self._tensors:
            return picture
        pixels = new(picture.shape, UINT8)
        np.copyto(pixels, picture)
        return pixels

    def decode(self, table: SegmentTable, task: DecodeTask, feed: PacketFeed) -> Iterator[tuple[int, Any]]:
        """Yield the packet and the pixels of each frame wanted, in presentation order.

        Raises:
            CorruptMediaError: TorchCodec refuses the run, or a packet of it; other frames were yielded.
            UnsupportedMediaError: A codec that it cannot be given.
            LimitExceededError: A frame has more pixels than are allowed.
            StoreError: There is no room for the run among temporary files.
        """
        info = table.info
        self._check_size(info, info.height, info.width)
        if info.palettes:
            raise UnsupportedMediaError(
                "a video whose container has a palette cannot be handed to TorchCodec; use decoder='pyav'",
                uri=info.uri,
            )
        if info.rotation_by_frame and info.rotation:
            raise UnsupportedMediaError(
                "a video whose frames say how they are turned, and not its container, cannot be handed to "
                "TorchCodec; use decoder='pyav'",
                uri=info.uri,
            )
        if info.lookahead_packets:
            raise UnsupportedMediaError(
                "frames whose two fields lie in packets of their own cannot be handed to TorchCodec; "
                "use decoder='pyav'",
                uri=info.uri,
            )
        # With transforms, which come after it, turning is TorchCodec's.
        rotation = info.rotation if self._spec.apply_rotation and self.transforms else 0
        check = self._run_check(table, task.run.targets.tolist())
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
            with _temporary_file_errors(info):
                movie = _Movie.write(cast("BinaryIO", file), table, check.watched(feed), rotation)
            fed = [packet for packet in task.run.targets.tolist() if packet <= feed.last]
            outcomes = {packet: check.outcome(packet, _GOOD) for packet in fed}
            yield from (item for item in outcomes.items() if item[1] is not _GOOD)
            for packet, picture in self._pictures(movie, [p for p in fed if outcomes[p] is _GOOD]):
                yield packet, self._handed_out(picture, info, turned=bool(rotation))

    def _pictures(self, movie: _Movie, packets: list[int]) -> Iterator[tuple[int, Any]]:
        """Yield a tensor ``(H, W, 3)`` for each packet whose frame the decoder gives."""
        if not packets:
            return
        packets = sorted(packets, key=movie.rank_of)
        decoder = self._open(movie)
        at_once = self._frames_at_once(movie.table.info)
        alone: list[int] = []
        refused: CorruptMediaError | None = None
        for first in range(0, len(packets), at_once):
            wanted = packets[first : first + at_once]
            try:
                found = self._frames_at(decoder, movie, wanted)
            except CorruptMediaError:
                found, why = self._frames_in_parts(movie, wanted)
                refused = refused or why
                decoder = self._open(movie)  # one that has failed may go on past what it could not read
            for packet in wanted:
                picture = found.get(packet)
                if picture is not None:
                    yield packet, picture
                elif packet in found:
                    alone.append(packet)
        for packet in alone:
            yield from self._picture_alone(movie, packet)
        if refused is not None:
            raise refused

    def _frames_in_parts(
        self, movie: _Movie, packets: list[int]
    ) -> tuple[dict[int, Any], CorruptMediaError | None]:
        """Return frames by packet, requested in halves if TorchCodec fails, and the error of the others.

        Each part is asked of a decoder of its own. Frames that merely never come out are no error.
        """
        try:
            return self._frames_at(self._open(movie), movie, packets), None
        except CorruptMediaError as error:
            if len(packets) == 1:
                return {}, None if _NO_MORE_FRAMES in error.message else error
        half = len(packets) // 2
        found, why = self._frames_in_parts(movie, packets[:half])
        more, later = self._frames_in_parts(movie, packets[half:])
        return {**found, **more}, why or later

    def _picture_alone(self, movie: _Movie, packet: int) -> Iterator[tuple[int, Any]]:
        """Decode one frame of a run whose frames come out in another order than they are displayed in.

        Its time is made the last of all, so that TorchCodec passes by all others on the way to it.
        """
        movie.put_last(packet)
        found, error = self._frames_in_parts(movie, [packet])
        if error is not None:
            raise error
        if found.get(packet) is not None:
            yield packet, found[packet]

    def _open(self, movie: _Movie) -> Any:
        info = movie.table.info
        movie.file.seek(0)
        transforms = self._transforms_of(info)
        with self._errors(info):
            decoder = self._modules.video_decoder(
                movie.file, dimension_order="NHWC", transforms=transforms, **self._options
            )
        self._check_bits(info)
        self._check_size(info, decoder.metadata.height, decoder.metadata.width)
        return decoder

    def _transforms_of(self, info: SegmentInfo) -> list[Any] | None:
        """Return the transforms of a segment's frames.

        TorchCodec's shorter way on the CPU, which it takes at widths of whole 32 pixels, believes only the
        name of a pixel format that it is of full range. A crop that cuts nothing off leads round it.
        """
        size = info.display_size if self._spec.apply_rotation else (info.height, info.width)
        drawn = self.transforms.of_size(*size) if self.transforms else None
        misread = info.color_range == _FULL_RANGE and info.pixel_format.startswith(_TAGGED_FORMATS)
        if misread and self._options["device"] == "cpu":
            drawn = whole_frame(*(size if drawn else (info.height, info.width)), drawn)
        return None if drawn is None else [drawn]

    def _frames_at(self, decoder: Any, movie: _Movie, packets: Sequence[int]) -> dict[int, Any]:
        """Return the tensors of the packets, None for those in whose place another's frame came out.

        Raises:
            CorruptMediaError: TorchCodec failed. The decoder is not to be used again.
        """
        ranks = [movie.rank_of(packet) for packet in packets]
        with self._errors(movie.table.info):
            batch = decoder.get_frames_at(ranks)
        times = np.rint(batch.pts_seconds.numpy() * TICKS_PER_SECOND).astype(np.int64)
        expected = [movie.movie.time_of(rank) for rank in ranks]
        return {
            packet: picture if time == own else None
            for packet, picture, time, own in zip(packets, batch.data, times.tolist(), expected, strict=True)
        }

    def _frames_at_once(self, info: SegmentInfo) -> int:
        return max(1, min(_FRAMES_AT_ONCE, _BYTES_AT_ONCE // max(1, info.width * info.height * 3)))

    @contextmanager
    def _errors(self, info: SegmentInfo) -> Iterator[None]:
        """Map what TorchCodec raises of a file; what it raises of options or memory is the caller's."""
        try:
            yield
        except (RuntimeError, IndexError) as error:
            if isinstance(error, (MediaRefError, self._modules.torch.OutOfMemoryError)):
                raise
            raise CorruptMediaError(
                f"TorchCodec cannot decode the run: {_reason(error)}", uri=info.uri
            ) from None

    def _handed_out(self, picture: Any, info: SegmentInfo, *, turned: bool) -> Any:
        """Return a tensor ``(H, W, 3)`` rotated, resized and converted by the spec, in memory of its own."""
        spec, torch = self._spec, self._modules.torch
        if spec.apply_rotation and info.rotation and not turned:
            picture = torch.rot90(picture, info.rotation // 90, (0, 1))
        if spec.crop is not None:
            picture = picture[crop_slices(spec.crop, picture.shape[0], picture.shape[1], info.uri)]
        if spec.resize is not None and tuple(picture.shape[:2]) != spec.resize:
            picture = self._resized(picture, spec.resize)
        picture = self._recoloured(picture, info)
        if spec.channel_format == "NCHW":
            picture = picture.permute(2, 0, 1)
        if self._tensors:
            return picture.clone(memory_format=torch.contiguous_format)
        return picture.cpu().numpy()

    def _resized(self, picture: Any, size: tuple[int, int]) -> Any:
        resized = self._modules.torch.nn.functional.interpolate(
            picture.permute(2, 0, 1)[None].float(), size=size, mode="bilinear", antialias=True
        )
        return resized.round_().clamp_(0, 255).to(self._modules.torch.uint8)[0].permute(1, 2, 0)

    def _recoloured(self, picture: Any, info: SegmentInfo) -> Any:
        """Return the channels of the output format, from a tensor of R, G and B."""
        colours, torch = self._spec.colorspace, self._modules.torch
        if colours == "G":
            red, green, blue = (picture[..., i].to(torch.int32) * _LUMA[i] for i in range(3))
            return ((red + green + blue + 0x8000) >> 16).to(torch.uint8)[..., None]
        if colours.startswith("BGR"):
            picture = picture.flip(-1)
        if not colours.endswith("A"):
            return picture
        if info.pixel_format.startswith(_ALPHA_FORMATS) or info.may_have_separate_alpha:
            raise UnsupportedMediaError(
                f"TorchCodec gives no alpha, the video has some, or its index does not say "
                f"({info.codec}, {info.pixel_format}); use decoder='pyav'",
                uri=info.uri,
            )
        return torch.cat([picture, torch.full_like(picture[..., :1], 255)], dim=-1)

    def _check_bits(self, info: SegmentInfo) -> None:
        if self._spec.is_native and sample_format(info.pixel_format).is_deep:
            raise UnsupportedMediaError(
                f"TorchCodec gives 8 bits a sample, the video has {sample_format(info.pixel_format).bits} "
                f"({info.pixel_format}); use decoder='pyav' with dtype='native'",
                uri=info.uri,
            )

    def _check_size(self, info: SegmentInfo, height: int, width: int) -> None:
        asked_height, asked_width = self._spec.resize or (height, width)
        if max(height * width, asked_height * asked_width) > self._spec.max_pixels:
            raise LimitExceededError(
                f"expected at most {self._spec.max_pixels} pixels, found {width}x{height} "
                f"to be given as {asked_width}x{asked_height}; allow more with max_pixels=",
                uri=info.uri,
            )


@dataclass
class _Movie:
    """A run's movie, and the rank of each packet's frame in it."""

    file: BinaryIO
    movie: RunMovie
    table: SegmentTable
    packets: Int64Array
    _ranks: Int64Array = field(init=False)

    @classmethod
    def write(
        cls, file: BinaryIO, table: SegmentTable, feed: Iterable[EncodedPacket], rotation: int
    ) -> _Movie:
        """Write the packets of a feed, to be turned by so many degrees counter-clockwise."""
        movie = RunMovie(file, table.info, rotation)
        numbers: list[int] = []
        for packet in feed:
            movie.add(packet.data if numbers else packet.as_first_of(table.info).data)
            numbers.append(packet.number)
        written = cls(file, movie, table, np.array(numbers, dtype=np.int64))
        written._arrange(presentation_ranks(table, written.packets))
        return written

    def rank_of(self, packet: int) -> int:
        """Return the rank of a packet's frame in presentation order."""
        return int(self._ranks[np.searchsorted(self.packets, packet)])

    def put_last(self, packet: int) -> None:
        """Move the frame of a packet to the end of the presentation order."""
        ranks = presentation_ranks(self.table, self.packets)
        own = np.searchsorted(self.packets, packet)
        ranks[ranks > ranks[own]] -= 1
        ranks[own] = len(ranks) - 1
        self._arrange(ranks)

    def _arrange(self, ranks: Int64Array) -> None:
        self._ranks = ranks
        self.movie.finish(ranks)


def checked_seek_mode(seek_mode: Any) -> None:
    """Check TorchCodec's ``seek_mode``, which makes no difference here.

    Raises:
        ValueError: It is none of TorchCodec's.
    """
    if seek_mode not in _SEEK_MODES:
        raise ValueError(f"expected seek_mode to be one of {', '.join(_SEEK_MODES)}, found {seek_mode!r}")


def checked_device(device: Any) -> str:
    """Return the name of a torch device, checked to be available.

    Raises:
        MissingExtraError: torch is not installed.
        ValueError: It is none, or not there.
    """
    with needs_extra("torchcodec"):
        import torch
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"expected a device of torch, found {device!r}") from error
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"expected a cpu or cuda device, found {device!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"expected a CUDA device for {str(device)!r}, found none that torch can use")
    return str(device)


def empty_on(device: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return a tensor on a device, of no particular values.

    Raises:
        MissingExtraError: torch is not installed.
    """
    with needs_extra("torchcodec"):
        import torch
    return torch.empty(shape, dtype=getattr(torch, dtype.name), device=device)


def to_device(frame: Any, device: Any) -> Any:
    """Return an array or a tensor as a tensor on a device.

    Raises:
        MissingExtraError: torch is not installed.
    """
    with needs_extra("torchcodec"):
        import torch
    return (torch.from_numpy(frame) if isinstance(frame, np.ndarray) else frame).to(device)


@contextmanager
def _temporary_file_errors(info: SegmentInfo) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, MediaRefError):
            raise
        raise StoreError(
            f"a run cannot be written to a temporary file ({error.strerror or error}); is there room in "
            f"{tempfile.gettempdir()}?",
            uri=info.uri,
        ) from error


def _reason(error: BaseException) -> str:
    """Return the message of a TorchCodec error, without its heading and its source location."""
    lines = [line.strip() for line in str(error).splitlines()]
    reasons = [line for line in lines if line and not line.endswith(":")]
    return _SOURCE_POSITION.sub("", reasons[0])[:200] if reasons else type(error).__name__
