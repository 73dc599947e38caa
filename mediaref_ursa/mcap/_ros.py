"""Messages of ROS, read by the schema that was recorded with them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mediaref_ursa._core.errors import CorruptMediaError, MediaRefError, UnsupportedMediaError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa.mcap._messages import TopicChannel

with needs_extra("mcap"):
    from rosbags.serde import SerdeError
    from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore


def ros_decoder(channel: TopicChannel) -> Callable[[bytes], Any]:
    """Return a function from the bytes of a message to an object with its fields.

    Raises:
        UnsupportedMediaError: The schema is in a language that is not read.
        CorruptMediaError: The schema, or a message, cannot be read.
    """
    with ros_errors(f"read the schema of {channel.schema_name}"):
        text = channel.schema_data.decode("utf-8")
        if channel.schema_encoding in ("ros1msg", "ros2msg"):
            types = get_types_from_msg(text, channel.schema_name)
        elif channel.schema_encoding == "ros2idl":
            types = get_types_from_idl(text)
        else:
            raise UnsupportedMediaError(
                "expected a schema in ros1msg, ros2msg or ros2idl, found "
                f"{channel.schema_encoding or 'none'!r}, of the topic {channel.topic}"
            )
        store = get_typestore(Stores.EMPTY)
        store.register(types)
        name = _full_name(channel.schema_name)
        decode = store.deserialize_ros1 if channel.encoding == "ros1" else store.deserialize_cdr

    def decoded(data: bytes) -> Any:
        with ros_errors(f"read the message as {channel.schema_name}"):
            return decode(data, name)

    return decoded


def _full_name(name: str) -> str:
    """Return ``std_msgs/msg/String`` for ``std_msgs/String``."""
    package, _, rest = name.partition("/")
    return name if rest.startswith("msg/") else f"{package}/msg/{rest}"


@contextmanager
def ros_errors(doing: str) -> Iterator[None]:
    """Map errors that rosbags raises inside the block into the tree of errors.

    Raises:
        CorruptMediaError: Anything that it objects to.
    """
    try:
        yield
    except MediaRefError:
        raise
    except (
        SerdeError,
        TypesysError,
        struct.error,
        ValueError,
        LookupError,
        TypeError,
        AssertionError,
        RecursionError,  # of a schema that contains itself
    ) as error:
        raise CorruptMediaError(f"could not {doing}: {error}") from error
