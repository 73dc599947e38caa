"""The fields of messages that hold images, frames of videos or text, whatever they are encoded in."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from mediaref_ursa._core.errors import CorruptMediaError, MediaRefError, UnsupportedMediaError
from mediaref_ursa._core.ticks import NS_PER_SECOND
from mediaref_ursa.mcap._messages import TopicChannel, TopicMessage

_KINDS = {
    "sensor_msgs/CompressedImage": False,
    "foxglove_msgs/CompressedImage": False,
    "foxglove.CompressedImage": False,
    "foxglove_msgs/CompressedVideo": True,
    "foxglove.CompressedVideo": True,
}
"""Kinds of messages that hold frames, and whether they are packets of a video."""

_TEXT_KIND = "std_msgs/String"


@dataclass(frozen=True)
class EncodedFrame:
    """A frame as a message holds it.

    Attributes:
        data: Its bytes.
        format: What the message says of them.
        is_video: Whether it is a packet of a video, and no image.
        stamp_ns: The message's own time stamp; None where it has none.
    """

    data: bytes
    format: str
    is_video: bool
    stamp_ns: int | None


Decoded = Callable[[bytes], Any]


class MessageDecoder:
    """Reads the messages of a topic, of whose channels each has its own encoding.

    Belongs to one thread.
    """

    def __init__(self) -> None:
        self._decoders: dict[TopicChannel, Decoded] = {}

    def frame(self, message: TopicMessage) -> EncodedFrame:
        """Return the frame that a message holds.

        Raises:
            UnsupportedMediaError: The topic is none of compressed images or videos.
            CorruptMediaError: The message is damaged.
        """
        kind = _plain_name(message.channel.schema_name)
        if kind not in _KINDS:
            raise UnsupportedMediaError(
                f"expected a topic of compressed images or video ({', '.join(_KINDS)}), found "
                f"{_described(message.channel)}"
            )
        fields = self._fields(message, kind)
        try:
            stamp_ns = _stamp_ns(_stamp_of(fields))
            return EncodedFrame(bytes(fields.data), str(fields.format), _KINDS[kind], stamp_ns)
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise CorruptMediaError(f"message {message.number} is no {kind}: {error}") from error

    def text(self, message: TopicMessage) -> str:
        """Return the text of a message: JSON, or that of ``std_msgs/msg/String``.

        Raises:
            UnsupportedMediaError: The topic is of another kind.
            CorruptMediaError: The message is damaged, or no text.
        """
        channel = message.channel
        if channel.encoding == "json":
            try:
                return str(message.data, "utf-8")
            except UnicodeDecodeError as error:
                raise CorruptMediaError(f"message {message.number} is no JSON: {error}") from error
        if _plain_name(channel.schema_name) != _TEXT_KIND:
            raise UnsupportedMediaError(
                "expected a topic of JSON messages, or of std_msgs/msg/String with JSON, found "
                f"{_described(channel)}"
            )
        return str(self._fields(message, _TEXT_KIND).data)

    def _fields(self, message: TopicMessage, kind: str) -> Any:
        """Return an object with the fields of a message."""
        decode = self._decoders.get(message.channel)
        if decode is None:
            decode = self._decoders[message.channel] = _decoder_of(message.channel)
        try:
            return decode(message.data)
        except MediaRefError as error:
            raise CorruptMediaError(f"message {message.number} is no {kind}: {error.message}") from error


def _decoder_of(channel: TopicChannel) -> Decoded:
    if channel.encoding == "json":
        return _json_frame
    if channel.encoding in ("cdr", "ros1"):
        from mediaref_ursa.mcap._ros import ros_decoder

        return ros_decoder(channel)
    if channel.encoding == "protobuf":
        from mediaref_ursa.mcap._protobuf import protobuf_decoder

        return protobuf_decoder(channel)
    raise UnsupportedMediaError(
        f"expected messages encoded as json, cdr, ros1 or protobuf, found {_described(channel)}"
    )


@dataclass(frozen=True)
class _JsonFrame:
    """A frame in JSON, with the fields of the other encodings."""

    data: bytes
    format: str
    timestamp: Any


def _json_frame(data: bytes) -> _JsonFrame:
    try:
        fields = from_json(data)
        return _JsonFrame(
            base64.b64decode(fields["data"], validate=True), fields["format"], fields.get("timestamp")
        )
    except KeyError as error:
        raise CorruptMediaError(f"it has no field {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise CorruptMediaError(f"it cannot be read: {error}") from error


def _stamp_of(fields: Any) -> Any:
    """Return the time stamp of a message; None where it has none."""
    if hasattr(fields, "header"):
        return fields.header.stamp
    if hasattr(fields, "HasField") and not fields.HasField("timestamp"):
        return None
    return fields.timestamp


def _stamp_ns(stamp: Any) -> int | None:
    """Return a time stamp of ROS, protobuf or JSON in nanoseconds."""
    if stamp is None:
        return None
    if isinstance(stamp, Mapping):
        seconds, nanoseconds = stamp["sec"], stamp.get("nsec", 0)
    elif hasattr(stamp, "nanosec"):
        seconds, nanoseconds = stamp.sec, stamp.nanosec
    else:
        seconds, nanoseconds = stamp.seconds, stamp.nanos
    stamp_ns = int(seconds) * NS_PER_SECOND + int(nanoseconds)
    if not -(2**63) <= stamp_ns < 2**63:
        raise ValueError(f"a time stamp that does not fit into int64: {stamp_ns} ns")
    return stamp_ns


def _plain_name(name: str) -> str:
    """Return ``std_msgs/String`` for ``std_msgs/msg/String``."""
    return name.replace("/msg/", "/")


def _described(channel: TopicChannel) -> str:
    return (
        f"{channel.schema_name or 'messages without a schema'}, encoded as {channel.encoding or 'nothing'!r}"
    )
