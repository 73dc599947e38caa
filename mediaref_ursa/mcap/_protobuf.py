"""Messages of protobuf, read by the schema that was recorded with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mediaref_ursa._core.errors import CorruptMediaError, MediaRefError, UnsupportedMediaError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa.mcap._messages import TopicChannel

with needs_extra("mcap"):
    from google.protobuf.message import DecodeError
    from mcap.exceptions import McapError
    from mcap.records import Schema
    from mcap_protobuf.decoder import DecoderFactory


def protobuf_decoder(channel: TopicChannel) -> Callable[[bytes], Any]:
    """Return a function from the bytes of a message to an object with its fields.

    Raises:
        UnsupportedMediaError: The schema is in another language.
        CorruptMediaError: The schema, or a message, cannot be read.
    """
    schema = Schema(
        id=1, name=channel.schema_name, encoding=channel.schema_encoding, data=channel.schema_data
    )
    with protobuf_errors(f"read the schema of {channel.schema_name}"):
        decode = DecoderFactory().decoder_for(channel.encoding, schema)
    if decode is None:
        raise UnsupportedMediaError(
            f"expected a schema in protobuf, found {channel.schema_encoding!r}, of the topic {channel.topic}"
        )
    decode_message: Callable[[bytes], Any] = decode

    def decoded(data: bytes) -> Any:
        with protobuf_errors(f"read the message as {channel.schema_name}"):
            return decode_message(data)

    return decoded


@contextmanager
def protobuf_errors(doing: str) -> Iterator[None]:
    """Map errors that protobuf raises inside the block into the tree of errors.

    Raises:
        CorruptMediaError: Anything that it objects to.
    """
    try:
        yield
    except MediaRefError:
        raise
    except (DecodeError, McapError, TypeError, ValueError, LookupError, RecursionError) as error:
        raise CorruptMediaError(f"could not {doing}: {error}") from error
