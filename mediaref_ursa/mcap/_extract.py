"""``extract_video``: a topic of images or video as a video file, and a reference for each message."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from mediaref_ursa._bitstream import Inspector, inspector_for
from mediaref_ursa._bitstream.h264 import has_b_slices
from mediaref_ursa._core.errors import (
    CorruptMediaError,
    DamagedMediaWarning,
    MediaRefError,
    MediaRefWarning,
    UnsupportedMediaError,
)
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.media_warnings import warn_once
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.ticks import NS_PER_SECOND
from mediaref_ursa._core.uris import local_path
from mediaref_ursa._core.wording import counted
from mediaref_ursa.mcap._decode_message import MessageDecoder
from mediaref_ursa.mcap._frame_codec import IMAGE_CODECS, CodecFrame, codec_frame
from mediaref_ursa.mcap._frame_header import frame_header
from mediaref_ursa.mcap._messages import messages_of
from mediaref_ursa.mcap._new_file import new_file

with needs_extra("video"):
    import pyarrow as pa

    from mediaref_ursa._index.build import scan_frame_index
    from mediaref_ursa._pyav.mux import (
        OUTPUT_FORMATS,
        FirstFrame,
        FrameMuxer,
        OutputFormat,
        first_out_of_order,
        read_first_frame,
    )
    from mediaref_ursa._references.arrow import STRUCT_TYPE

_LEFT_OUT = -1


@set_module("mediaref_ursa.mcap")
def extract_video(
    path: str | os.PathLike[str], topic: str, out: str | os.PathLike[str], *, overwrite: bool = False
) -> pa.Table:
    """Put the frames of a topic into a video file, without encoding them again, and refer to each.

    Topics of ``sensor_msgs/CompressedImage`` of ROS 1 and 2, and of ``CompressedImage`` and
    ``CompressedVideo`` of Foxglove in protobuf, JSON and ROS 2. JPEG, PNG, H.264, HEVC, VP9 and AV1 are put
    into the file as they are; WebP, BMP, TIFF and other images become PNG, which keeps their pixels.

    A frame's time is its log time less that of the first frame, in whole microseconds (milliseconds in
    ``.mkv``); frames are at least two microseconds apart (in ``.mkv`` one
    millisecond), so that the default ``tolerance_ns`` of ``batch_decode`` distinguishes them.

    Args:
        path: An MCAP file, or a folder of rosbag2 with MCAP files.
        topic: The name of the topic.
        out: The video to write: ``.mp4``, ``.mov`` or ``.mkv``. It is written under another name and renamed:
            a failure leaves nothing.
        overwrite: Replace a file that is there.

    Returns:
        A row for each message, in the order of the file: ``ref``, ``struct<uri: string, pts_ns: int64>``, a
            reference to ``out`` with the exact time of the frame; ``log_time_ns``, int64; ``stamp_ns``,
            int64, the message's own time stamp, null where it has none.

    Warns:
        DamagedMediaWarning: Messages in front of the first key frame cannot be decoded. They are left out,
            and their ``ref`` is null.
        MediaRefWarning: Images became PNG.

    Raises:
        InvalidReferenceError: There is no such topic.
        MediaNotFoundError: There is no such file.
        UnsupportedMediaError: Another kind of topic, or of file to write; frames of several sizes or codecs,
            or in another order than they are displayed in.
        CorruptMediaError: The file or a message is damaged, there is no key frame, or frames are lost.
        StoreError: The file cannot be read, or the video not be written.
        ValueError: ``out`` ends otherwise.
    """
    uri = os.fspath(out)
    location = Path(local_path(uri))
    output = OUTPUT_FORMATS.get(location.suffix.lower())
    if output is None:
        raise ValueError(f"expected out= to end with one of {', '.join(OUTPUT_FORMATS)}, found {uri!r}")
    video = _TopicVideo(os.fspath(path), topic, uri, output)
    with new_file(location, overwrite=overwrite) as temporary:
        with temporary.open("xb") as file:
            video.write(file)
        video.check(temporary)
    video.warn()
    return video.table()


class _TopicVideo:
    """The video of a topic: its frames, the time of each, and whether they are in order.

    Args:
        recording: The recording.
        topic: The topic.
        uri: The video to write.
        output: What kind of file it is.
    """

    def __init__(self, recording: str, topic: str, uri: str, output: OutputFormat) -> None:
        self._recording = recording
        self._topic = topic
        self._uri = uri
        self._output = output
        self._ticks: list[int] = []
        self._log_times: list[int] = []
        self._stamps: list[int | None] = []
        self._encoded_anew = 0
        self._codec = ""
        self._first: FirstFrame | None = None
        self._header: bytes | None = None
        self._first_time = 0
        self._next_ticks = 0
        self._inspector: Inspector | None = None
        self._muxer: FrameMuxer | None = None
        self._may_reorder = False

    def write(self, file: IO[bytes]) -> None:
        """Write the frames of the topic, one message after another."""
        decoder = MessageDecoder()
        try:
            with closing(messages_of(self._recording, self._topic)) as messages:
                for message in messages:
                    with self._naming(message.number):
                        frame = decoder.frame(message)
                        self._check_time(message.log_time_ns)
                        self._log_times.append(message.log_time_ns)
                        self._stamps.append(frame.stamp_ns)
                        self._add(codec_frame(frame), message.log_time_ns, file)
            if self._muxer is None:
                what = "key frame" if self._log_times else "message"
                raise CorruptMediaError(
                    f"expected a {what} in the topic {self._topic}, found none in "
                    f"{counted(len(self._log_times), 'message')}",
                    uri=self._recording,
                )
            self._muxer.finish()
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        """Free the muxer; what it wrote is of no use."""
        if self._muxer is not None:
            muxer, self._muxer = self._muxer, None
            muxer.abandon()

    @contextmanager
    def _naming(self, number: int) -> Iterator[None]:
        """Let errors of a frame name the recording and the message."""
        try:
            yield
        except MediaRefError as error:
            if error.uri is not None:
                raise
            prefix = "" if error.message.startswith("message ") else f"message {number} of {self._topic}: "
            raise type(error)(f"{prefix}{error.message}", uri=self._recording) from error

    def _check_time(self, log_time_ns: int) -> None:
        if self._log_times and log_time_ns < self._log_times[-1]:
            raise UnsupportedMediaError(
                f"expected messages in the order of their log times, found {log_time_ns} after "
                f"{self._log_times[-1]}; write the file in order with: mcap sort FILE -o NEW_FILE"
            )

    def _add(self, frame: CodecFrame, log_time_ns: int, file: IO[bytes]) -> None:
        self._encoded_anew += frame.is_encoded_anew
        if frame.codec != self._codec:
            if self._codec:
                raise UnsupportedMediaError(
                    f"expected frames of one codec, found {frame.codec} after {self._codec}; "
                    "a video file holds one"
                )
            self._codec = frame.codec
            self._inspector = None if frame.codec in IMAGE_CODECS else inspector_for(frame.codec, b"")
        is_keyframe = self._inspector is None or self._inspector.inspect(memoryview(frame.data)).random_access
        if frame.codec == "h264":
            self._may_reorder |= has_b_slices(memoryview(frame.data))
        if is_keyframe:
            self._check_shape(frame)
        if self._muxer is None and not is_keyframe:
            self._ticks.append(_LEFT_OUT)
            return
        if self._muxer is None:
            self._muxer = FrameMuxer(file, self._output, frame.codec, frame.data, uri=self._uri)
            self._first_time = log_time_ns
        ticks = self._ticks_of(log_time_ns)
        self._muxer.write(frame.data, ticks, is_keyframe=is_keyframe)
        self._ticks.append(ticks)
        self._next_ticks = ticks + self._output.min_duration

    def _ticks_of(self, log_time_ns: int) -> int:
        """Return the time of the next frame: later than the frame before it."""
        elapsed = (log_time_ns - self._first_time) * self._output.ticks_per_second // NS_PER_SECOND
        return max(elapsed, self._next_ticks)

    def _check_shape(self, frame: CodecFrame) -> None:
        """Refuse a frame of another size or pixel format than the first."""
        header = frame_header(frame.codec, frame.data)
        if header is not None and header == self._header:
            return
        found = read_first_frame(frame.data, frame.codec)
        self._header = header
        self._may_reorder |= found.may_reorder and self._codec == "hevc"
        if self._first is None:
            self._first = found
        elif found.shape != self._first.shape:
            raise UnsupportedMediaError(
                f"expected frames of one size and pixel format, {self._first.shape} like the first, found "
                f"{found.shape}; a video file holds one"
            )

    def check(self, file: Path) -> None:
        """Check that a scan of the video finds each frame at its time, and that the frames are in order.

        Raises:
            CorruptMediaError: Another number of frames, or other times.
            UnsupportedMediaError: Frames are displayed in another order.
        """
        expected = [ticks for ticks in self._ticks if ticks != _LEFT_OUT]
        try:
            index = scan_frame_index(file)
        except MediaRefError as error:
            raise CorruptMediaError(
                f"expected frames that make a video, found damage in {self._topic}: {error.message}",
                uri=self._recording,
            ) from error
        found = index.pts_table(0).tolist()
        is_as_written = index.segments[0].time_base == Fraction(1, self._output.ticks_per_second)
        if not is_as_written or found != expected:
            raise CorruptMediaError(
                f"expected one frame for each of {counted(len(expected), 'message')} of {self._topic}, at "
                f"its time, found {counted(len(found), 'frame')} in the video, or other times; a message "
                "holds no frame",
                uri=self._recording,
            )
        if not self._may_reorder:
            return
        with file.open("rb") as stream:
            ticks = first_out_of_order(stream, self._output, uri=self._recording)
        if ticks is not None:
            raise UnsupportedMediaError(
                f"message {self._ticks.index(ticks)} of {self._topic}: expected frames in the order in which "
                "they are displayed, found one that is displayed before another that comes first; messages "
                "of a stream with B-frames have no times of display; encode it without",
                uri=self._recording,
            )

    def warn(self) -> None:
        """Warn of messages that were left out, and of images that were encoded anew."""
        left_out = self._ticks.count(_LEFT_OUT)
        if left_out:
            warn_once(
                DamagedMediaWarning,
                f"{counted(left_out, 'message')} of {self._topic} in front of the first key frame cannot be "
                "decoded, and are left out of the video; their references are null",
                uri=self._uri,
            )
        if self._encoded_anew:
            warn_once(
                MediaRefWarning,
                f"{counted(self._encoded_anew, 'image')} of {self._topic} are of a kind that video files do "
                "not hold, and were encoded as PNG, which keeps their pixels",
                uri=self._uri,
            )

    def table(self) -> pa.Table:
        """Return a row for each message."""
        ticks = np.array(self._ticks, dtype=np.int64)
        is_left_out = ticks == _LEFT_OUT
        pts_ns = ticks * (NS_PER_SECOND // self._output.ticks_per_second)
        uris = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(ticks), np.int32)), [self._uri]).cast(
            pa.string()
        )
        ref = pa.StructArray.from_arrays(
            [uris, pa.array(pts_ns)], fields=list(STRUCT_TYPE), mask=pa.array(is_left_out)
        )
        return pa.table(
            {
                "ref": ref,
                "log_time_ns": pa.array(self._log_times, pa.int64()),
                "stamp_ns": pa.array(self._stamps, pa.int64()),
            }
        )
