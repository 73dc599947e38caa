"""MCAP files and bags of compressed images and video, written by the libraries of their formats."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from _encoding import make_picture
from PIL import Image

os.environ.setdefault("SVT_LOG", "1")

WIDTH, HEIGHT = 64, 48
START_NS = 1_700_000_000_000_000_000
_STEPS_NS = (0, 33_333_333, 66_000_001, 66_000_002, 133_000_000, 170_000_999, 200_000_000, 233_000_000)

ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"g": "3", "bf": "0", "preset": "ultrafast", "x264-params": "annexb=1"}),
    "h265": (
        "libx265",
        {"preset": "ultrafast", "x265-params": "bframes=0:keyint=3:log-level=none:repeat-headers=1"},
    ),
    "vp9": ("libvpx-vp9", {"g": "3", "lag-in-frames": "0", "deadline": "realtime", "cpu-used": "8"}),
    "av1": ("libsvtav1", {"g": "3", "preset": "12", "svtav1-params": "pred-struct=1"}),
}
"""By Foxglove's name of the format; without B-frames, with several key frames."""


def log_times(count: int) -> list[int]:
    """Return times of messages, two of which are less than a microsecond apart."""
    return [START_NS + step for step in _STEPS_NS[:count]]


def pictures(count: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[Any]:
    return [make_picture(number, *size) for number in range(count)]


def encoded(
    format: str, count: int = 8, *, size: tuple[int, int] = (WIDTH, HEIGHT), **options: str
) -> list[bytes]:
    """Return packets of a video, one a picture."""
    name, defaults = ENCODERS[format]
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height = size
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, 30)
    context.options = {**defaults, **options}
    packets = []
    for number, picture in enumerate(pictures(count, size)):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = number
        packets += context.encode(frame)
    packets += context.encode(None)
    return [bytes(packet) for packet in packets]


def images(
    format: str, count: int = 8, *, size: tuple[int, int] = (WIDTH, HEIGHT), **options: Any
) -> list[bytes]:
    """Return image files as Pillow writes them."""
    files = []
    for picture in pictures(count, size):
        target = io.BytesIO()
        Image.fromarray(picture).save(target, format=format, **options)
        files.append(target.getvalue())
    return files


def linear_decode(format: str, packets: Iterable[bytes]) -> list[Any]:
    """Return the frames of packets, fed to a decoder one after another, as RGB."""
    from _oracle import to_rgb

    names = {"h265": "hevc", "av1": "libdav1d", "jpeg": "mjpeg"}
    context: Any = av.CodecContext.create(names.get(format, format), "r")
    context.thread_type = "NONE"
    frames = [frame for packet in packets for frame in context.decode(av.Packet(packet))]
    return [to_rgb(frame) for frame in frames + context.decode(None)]


def file_packets(path: Path) -> list[bytes]:
    """Return the packets of a video file, as FFmpeg reads them."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


# --- recordings ---------------------------------------------------------------------------------


def write_channel(
    path: Path,
    messages: Sequence[bytes],
    *,
    topic: str = "/camera",
    encoding: str,
    schema: tuple[str, str, bytes],
    times: Sequence[int] | None = None,
    **options: Any,
) -> Path:
    """Write an MCAP file with one topic of messages, next to another of JSON.

    Args:
        path: The file.
        messages: Their bytes.
        topic: Its name.
        encoding: That of the messages.
        schema: Name, encoding and text.
        times: Log times.
        **options: Of the writer.
    """
    from mcap.writer import Writer

    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start()
        other = writer.register_channel("/other", "json", writer.register_schema("o", "jsonschema", b"{}"))
        name, language, text = schema
        channel = writer.register_channel(topic, encoding, writer.register_schema(name, language, text))
        for number, (time_ns, data) in enumerate(
            zip(times or log_times(len(messages)), messages, strict=True)
        ):
            writer.add_message(other, time_ns, b"{}", time_ns, number)
            writer.add_message(channel, time_ns, data, time_ns, number)
        writer.finish()
    return path


def json_messages(format: str, data: Sequence[bytes], *, with_stamp: bool = True) -> list[bytes]:
    """Return messages of Foxglove in JSON."""
    messages = []
    for number, packet in enumerate(data):
        fields: dict[str, Any] = {"frame_id": "", "data": base64.b64encode(packet).decode(), "format": format}
        if with_stamp:
            fields["timestamp"] = {"sec": 10, "nsec": number}
        messages.append(json.dumps(fields).encode())
    return messages


def write_json(path: Path, kind: str, format: str, data: Sequence[bytes], **options: Any) -> Path:
    return write_channel(
        path,
        json_messages(format, data),
        encoding="json",
        schema=(f"foxglove.{kind}", "jsonschema", b"{}"),
        **options,
    )


def protobuf_class(kind: str) -> Any:
    """Return the class of a message of Foxglove, made of the fields of its published definition."""
    from google.protobuf import timestamp_pb2
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    file = FileDescriptorProto(name=f"foxglove/{kind}.proto", package="foxglove", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    message = file.message_type.add(name=kind)
    time_kind = {"type": Field.TYPE_MESSAGE, "type_name": ".google.protobuf.Timestamp"}
    message.field.add(name="timestamp", number=1, label=Field.LABEL_OPTIONAL, **time_kind)
    for name, number, field_type in (
        ("frame_id", 2, Field.TYPE_STRING),
        ("data", 3, Field.TYPE_BYTES),
        ("format", 4, Field.TYPE_STRING),
    ):
        message.field.add(name=name, number=number, label=Field.LABEL_OPTIONAL, type=field_type)
    pool = DescriptorPool()
    timestamp_file = FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(timestamp_file)
    pool.Add(timestamp_file)
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"foxglove.{kind}"))


def write_protobuf(
    path: Path, kind: str, format: str, data: Sequence[bytes], *, with_stamp: bool = True
) -> Path:
    from mcap_protobuf.writer import Writer

    message_class = protobuf_class(kind)
    with path.open("wb") as file, Writer(file) as writer:
        for number, (time_ns, packet) in enumerate(zip(log_times(len(data)), data, strict=True)):
            message = message_class(data=packet, format=format, frame_id="camera")
            if with_stamp:
                message.timestamp.seconds, message.timestamp.nanos = 10, number
            writer.write_message("/camera", message, log_time=time_ns, publish_time=time_ns)
    return path


VIDEO_MSG = """\
builtin_interfaces/Time timestamp
string frame_id
uint8[] data
string format
"""


def write_bag(
    path: Path,
    kind: str,
    messages: Sequence[tuple[str, bytes]],
    *,
    max_bagfile_size: int = 0,
) -> Path:
    """Write a folder of rosbag2 with an MCAP file: ``kind`` is a message of ROS 2 or of ``foxglove_msgs``."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store: Any = get_typestore(Stores.ROS2_HUMBLE)
    if kind.startswith("foxglove_msgs"):
        store.register(get_types_from_msg(VIDEO_MSG, kind))
    make, time_of = store.types[kind], store.types["builtin_interfaces/msg/Time"]
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/camera", kind, typestore=store)
        for number, (time_ns, (format, data)) in enumerate(
            zip(log_times(len(messages)), messages, strict=True)
        ):
            stamp = time_of(sec=10, nanosec=number)
            fields: dict[str, Any] = {"format": format, "data": np.frombuffer(data, np.uint8)}
            if kind.startswith("sensor_msgs"):
                header = store.types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
                message = make(header=header, **fields)
            else:
                message = make(timestamp=stamp, frame_id="camera", **fields)
            writer.write(connection, time_ns, store.serialize_cdr(message, kind))
    return path
