"""The messages of a topic of MCAP files, one after another. The only module that reads MCAP files."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from mcap.reader import SeekingReader
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader

from mediaref_ursa._core.errors import (
    CorruptMediaError,
    InvalidReferenceError,
    LimitExceededError,
    MediaNotFoundError,
    MediaRefError,
    StoreError,
    UnsupportedMediaError,
)
from mediaref_ursa._core.uris import local_path

_MAGIC = b"\x89MCAP0\r\n"
_RECOVER = "mcap recover FILE -o NEW_FILE"
_MAX_INT64 = 2**63 - 1
_MAX_NAMED_TOPICS = 50


@dataclass(frozen=True)
class TopicChannel:
    """How the messages of a channel are encoded.

    Attributes:
        topic: The channel's topic.
        encoding: Of messages: ``json``, ``cdr``, ``ros1`` or ``protobuf``, mostly.
        schema_name: The kind of message; empty without a schema.
        schema_encoding: The language of the schema.
        schema_data: The schema.
    """

    topic: str
    encoding: str
    schema_name: str
    schema_encoding: str
    schema_data: bytes


class TopicMessage(NamedTuple):
    """One message of a topic.

    Attributes:
        number: Which one of the topic's messages it is, from 0.
        log_time_ns: When it was recorded.
        data: Its bytes.
        channel: How they are encoded.
    """

    number: int
    log_time_ns: int
    data: bytes
    channel: TopicChannel


def messages_of(path: str | os.PathLike[str], topic: str) -> Generator[TopicMessage]:
    """Yield the messages of a topic, in the order of their log times where the files have an index.

    Args:
        path: An MCAP file, or a folder of rosbag2 with MCAP files.
        topic: The name of the topic.

    Raises:
        InvalidReferenceError: There is no such topic, or the path is none of this machine.
        MediaNotFoundError: There is no such file.
        UnsupportedMediaError: It is no MCAP file, or no folder of rosbag2 with such.
        CorruptMediaError: It is damaged or cut short.
        StoreError: It cannot be read.
    """
    topics: set[str] = set()
    number = 0
    for file in recording_files(path):
        uri = str(file)
        with mcap_errors(uri), file.open("rb") as stream:
            known: dict[int, TopicChannel] = {}
            for schema, channel, message in _records(stream, topic, topics, uri):
                if channel.id not in known:
                    known[channel.id] = _channel(schema, channel)
                if message.log_time > _MAX_INT64:
                    raise CorruptMediaError(
                        f"expected log times that fit into int64, found {message.log_time}", uri=uri
                    )
                yield TopicMessage(number, message.log_time, message.data, known[channel.id])
                number += 1
    if topic not in topics:
        names = ", ".join(sorted(topics)[:_MAX_NAMED_TOPICS]) or "none"
        raise InvalidReferenceError(
            f"expected a topic of the recording, found {topic!r}; its topics are: {names}",
            uri=os.fspath(path),
        )


def recording_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return the MCAP files of a recording, in their order: the file itself, or those of a folder of rosbag2.

    Raises:
        MediaNotFoundError: There is none.
        UnsupportedMediaError: A folder that is none of rosbag2, or holds no MCAP files.
    """
    location = Path(local_path(os.fspath(path)))
    uri = os.fspath(path)
    if not location.is_dir():
        return [location]
    if not (location / "metadata.yaml").is_file():
        raise UnsupportedMediaError(
            "expected an MCAP file, or a folder of rosbag2 with metadata.yaml, found a folder without; name "
            "one of its files",
            uri=uri,
        )
    files = sorted(location.glob("*.mcap"), key=_natural)
    if not files:
        names = ", ".join(sorted(file.name for file in location.iterdir())[:10])
        raise UnsupportedMediaError(
            f"expected MCAP files in the folder of rosbag2, found {names}; bags in SQLite and files that are "
            "compressed as a whole become such with: ros2 bag convert",
            uri=uri,
        )
    return files


def _natural(file: Path) -> list[tuple[bool, int, str]]:
    """Return a key that sorts ``bag_2`` before ``bag_10``."""
    parts = re.split(r"(\d+)", file.name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _channel(schema: Schema | None, channel: Channel) -> TopicChannel:
    name, encoding, data = ("", "", b"") if schema is None else (schema.name, schema.encoding, schema.data)
    return TopicChannel(channel.topic, channel.message_encoding, name, encoding, bytes(data))


_Record = tuple[Schema | None, Channel, Message]


def _records(stream: IO[bytes], topic: str, topics: set[str], uri: str) -> Iterator[_Record]:
    """Yield the messages of a topic in one file, and add the file's topics to ``topics``."""
    size = _checked_size(stream, uri)
    reader = SeekingReader(stream, validate_crcs=True, record_size_limit=size)
    summary = reader.get_summary()
    if _is_whole(summary):
        assert summary is not None
        topics.update(channel.topic for channel in summary.channels.values())
        yield from reader.iter_messages(topics=[topic])
        return
    stream.seek(0)
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    for record in StreamReader(stream, validate_crcs=True, record_size_limit=size).records:
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel):
            channels[record.id] = record
            topics.add(record.topic)
        elif isinstance(record, Message) and channels[record.channel_id].topic == topic:
            channel = channels[record.channel_id]
            yield schemas[channel.schema_id] if channel.schema_id else None, channel, record


def _is_whole(summary: Any) -> bool:
    """Whether a file's summary lists all of its chunks, channels and schemas."""
    if summary is None or summary.statistics is None or not summary.chunk_indexes:
        return False
    counts = summary.statistics
    return (counts.chunk_count, counts.channel_count, counts.schema_count) == (
        len(summary.chunk_indexes),
        len(summary.channels),
        len(summary.schemas),
    )


def _checked_size(stream: IO[bytes], uri: str) -> int:
    """Return the bytes of a file that begins and ends as MCAP files do."""
    head = stream.read(len(_MAGIC))
    size = stream.seek(0, os.SEEK_END)
    if not head:
        raise CorruptMediaError(
            "expected an MCAP file, found an empty one; the recorder did not finish", uri=uri
        )
    if head != _MAGIC:
        raise UnsupportedMediaError(f"expected an MCAP file, found bytes that begin with {head!r}", uri=uri)
    stream.seek(max(size - len(_MAGIC), 0))
    if size < 2 * len(_MAGIC) or stream.read() != _MAGIC:
        raise _damage("its end is missing, as where the recorder was stopped or the copy is incomplete", uri)
    stream.seek(0)
    return size


def _damage(what: str, uri: str | None) -> CorruptMediaError:
    return CorruptMediaError(
        f"expected a whole MCAP file, found a damaged one: {what}; save what is in it with: {_RECOVER}",
        uri=uri,
    )


@contextmanager
def mcap_errors(uri: str) -> Iterator[None]:
    """Map errors of reading an MCAP file inside the block into the tree of errors.

    Raises:
        MediaNotFoundError: There is no such file.
        StoreError: It cannot be read or written.
        LimitExceededError: There is not enough memory.
        CorruptMediaError: Anything else that the reader objects to.
    """
    try:
        yield
    except MediaRefError:
        raise
    except FileNotFoundError as error:
        raise MediaNotFoundError("expected an MCAP file, found nothing", uri=uri) from error
    except OSError as error:
        raise StoreError(f"the MCAP file cannot be read: {error.strerror or error}", uri=uri) from error
    except MemoryError as error:
        raise LimitExceededError(
            "expected a chunk that fits into memory, found a larger one, or one whose size is damaged; save "
            f"what is in the file with: {_RECOVER}",
            uri=uri,
        ) from error
    except Exception as error:  # damaged records raise struct.error, KeyError, zstd's errors...
        raise _damage(f"{type(error).__name__}: {error}".rstrip(": "), uri) from error
