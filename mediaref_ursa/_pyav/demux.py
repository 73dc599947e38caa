"""Demuxing over a file object of this package: FFmpeg sees bytes and a pinned format, never a URI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NoReturn

import av
import av.container
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from mediaref_ursa._containers.claimed_counts import CheckedReader
from mediaref_ursa._containers.encryption import encryption_error, refuse_encrypted
from mediaref_ursa._containers.image_kinds import is_image_file, refuse_still_image, still_image_error
from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._containers.sniff import find_container
from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._model.pixels import MAX_PIXELS
from mediaref_ursa._model.segment import SegmentInfo
from mediaref_ursa._pyav.errors import foreign_errors

_BUFFER_BYTES = 1 << 18
_LENIENT_METADATA: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}  # PyAV 19 always is
)

_SHOWS_SIDE_DATA = hasattr(Packet, "has_sidedata")  # PyAV 16 and later
_DECODER_SIDE_DATA: tuple[Literal["new_extradata", "param_change"], ...] = ("new_extradata", "param_change")


@contextmanager
def open_video(
    reader: RangeReader,
    *,
    uri: str,
    stream_index: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[tuple[av.container.InputContainer, VideoStream]]:
    """Open a container and yield it with a video stream, never an attached picture.

    Args:
        reader: The file.
        uri: Named in errors.
        stream_index: Which stream, counted across all kinds of streams as FFmpeg does; None is FFmpeg's
            best video stream.
        max_pixels: The largest picture that FFmpeg may decode to learn what the streams are.

    Raises:
        UnsupportedMediaError: Not a video container, or one without such a video stream.
        CorruptMediaError: A container that FFmpeg cannot read.
        LimitExceededError: It announces more samples than the file can hold.
    """
    name = find_container(reader.length, reader.read_at, uri=uri)
    if name == "mov":
        refuse_still_image(reader.length, reader.read_at, uri=uri)
    else:
        refuse_encrypted(name, 0, reader.length, reader.read_at, uri=uri)
    reader.seek(0)
    with foreign_errors(f"open the {name} container", uri=uri):
        container = av.open(
            CheckedReader(reader, name, uri),
            "r",
            format=name,
            options={"max_pixels": str(max_pixels)},
            container_options={"format_whitelist": _whitelist(name)},
            **_LENIENT_METADATA,
            buffer_size=_BUFFER_BYTES,
            io_open=_refuse_other_files,
        )
    try:
        stream = _video_stream(container, stream_index, uri)
        if _is_image_item(stream) and is_image_file(reader.length, reader.read_at):
            raise still_image_error("AVIF or HEIC", uri=uri)
        if name == "mov":  # whose tracks are streams in the same order
            refuse_encrypted(name, stream.index, reader.length, reader.read_at, uri=uri)
        yield container, stream
    finally:
        container.close()


def packets(
    container: av.container.InputContainer, stream: VideoStream, *, uri: str
) -> Iterator[Packet[VideoStream]]:
    """Yield the stream's packets in decode order, without the empty one that marks the end."""
    demuxer = container.demux(stream)
    while True:
        with foreign_errors("read packets", uri=uri):
            packet = next(demuxer, None)
        if packet is None:
            return
        if packet.size:
            yield packet


def refuse_changes(packet: Packet[VideoStream], info: SegmentInfo) -> None:
    """Refuse a packet that changes the codec's configuration, which a decoder made from the index would miss.

    Raises:
        UnsupportedMediaError: The packet changes the codec's configuration.
    """
    if _SHOWS_SIDE_DATA and packet.has_sidedata("encryption_info"):
        raise encryption_error("its packets say so", info.uri)
    for kind in _DECODER_SIDE_DATA if _SHOWS_SIDE_DATA else ():
        if not packet.has_sidedata(kind):
            continue
        if kind == "new_extradata" and bytes(packet.get_sidedata(kind)) == info.extradata:
            continue
        raise UnsupportedMediaError(
            f"expected one codec configuration for the whole file, found a change of it ({kind}); "
            "split the file where it changes, or encode it anew",
            uri=info.uri,
        )


def _whitelist(name: str) -> str:
    """Return the demuxer's whole name, which FFmpeg compares with its ``format_whitelist``."""
    return str(av.ContainerFormat(name, "r").name)


def _refuse_other_files(url: str, flags: int, options: dict[str, Any]) -> NoReturn:
    """Refuse other files that a container points at."""
    raise UnsupportedMediaError("the container asks for another file; references in media are not followed")


def _video_stream(container: av.container.InputContainer, stream_index: int | None, uri: str) -> VideoStream:
    if stream_index is not None:
        return _chosen_stream(container, stream_index, uri)
    with foreign_errors("find a video stream", uri=uri):
        stream = container.streams.best("video")
    if stream is None or stream.disposition & Disposition.attached_pic:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "none"
        raise UnsupportedMediaError(f"expected a video stream, found streams of kinds: {kinds}", uri=uri)
    assert isinstance(stream, VideoStream)
    return stream


def _is_image_item(stream: VideoStream) -> bool:
    """Return whether a stream is an item of a HEIF file, as FFmpeg gives them, and no track."""
    return stream.duration is None and stream.time_base == 1


def _chosen_stream(container: av.container.InputContainer, stream_index: int, uri: str) -> VideoStream:
    videos = {
        stream.index: stream
        for stream in container.streams
        if isinstance(stream, VideoStream) and not stream.disposition & Disposition.attached_pic
    }
    if stream_index not in videos:
        raise UnsupportedMediaError(
            f"expected the index of a video stream, one of {sorted(videos)}, found {stream_index}", uri=uri
        )
    return videos[stream_index]
