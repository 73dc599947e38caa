"""``write_refs`` and ``read_refs``: references as JSON messages of an MCAP topic."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from mediaref_ursa._core.errors import InvalidReferenceError, MediaRefError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.uris import is_relative_path, local_path, scheme_of, split_blob
from mediaref_ursa._references.columns import ReferenceColumns, References, reference_columns
from mediaref_ursa._references.json_rows import json_references, path_parts
from mediaref_ursa.mcap._decode_message import MessageDecoder
from mediaref_ursa.mcap._messages import messages_of
from mediaref_ursa.mcap._new_file import new_file
from mediaref_ursa.mcap._writer import write_json_messages

with needs_extra("video"):
    import pyarrow as pa

    from mediaref_ursa._references.arrow import refs_to_struct_array

_MAX_INT64 = 2**63 - 1
_TIME_FIELD = "utc_ns"
_REFERENCE_SCHEMA = {
    "type": "object",
    "properties": {
        "uri": {"type": "string"},
        "pts_ns": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    },
    "required": ["uri"],
}


@set_module("mediaref_ursa.mcap")
def write_refs(
    path: str | os.PathLike[str],
    refs: References,
    *,
    topic: str = "screen",
    log_times_ns: Iterable[int] | None = None,
    field: str = "media_ref",
    overwrite: bool = False,
) -> None:
    """Write references to a new MCAP file, as the JSON messages of one topic.

    The layout is that of Open World Agents: the profile is ``owa``, the schema ``desktop/ScreenCaptured``,
    and a message ``{"utc_ns": ..., "media_ref": {"uri": ..., "pts_ns": ...}}``.

    Local paths are written relative to the folder of the MCAP file, so that both can be moved together. URIs
    with a scheme, such as ``s3://``, ``file://`` and data URIs, are written as they are.

    Args:
        path: The file, on this machine. It is written under another name and renamed: a failure leaves
            nothing.
        refs: References, as ``batch_decode`` takes them.
        topic: The name of the topic.
        log_times_ns: The time of each message in nanoseconds, not negative; by default ``pts_ns`` of its
            reference.
        field: The field of the message with the reference; with dots, a field of fields.
        overwrite: Replace a file that is there.

    Raises:
        ValueError: Times of another number than the references, negative ones, or none given for references
            to images; an unusable ``field``.
        TypeError: Something else than references, or times that are no whole numbers.
        InvalidReferenceError: A row that is no reference, or a list of them.
        StoreError: There is a file already, or it cannot be written.

    Example:
        >>> from mediaref_ursa import MediaRef
        >>> write_refs("refs.mcap", [MediaRef("clip.mp4", 0), MediaRef("clip.mp4", 500_000_000)])
        >>> read_refs("refs.mcap", "screen").column("log_time_ns").to_pylist()
        [0, 500000000]
    """
    location = Path(local_path(os.fspath(path)))
    parts = path_parts(field)
    if not parts or parts[0] == _TIME_FIELD:
        raise ValueError(f"expected field='media_ref' or another than {_TIME_FIELD!r}, found {field!r}")
    if not topic:
        raise ValueError("expected the name of a topic, found an empty one")
    columns = reference_columns(refs)
    if columns.lengths is not None:
        raise InvalidReferenceError("expected one reference for each message, found rows that are lists")
    times = _checked_times(columns, log_times_ns)
    stored = _cached(lambda uri: _stored_uri(uri, location))
    messages = (
        (time_ns, _message(time_ns, parts, stored(columns.uris[slot]), columns.time_of(slot)))
        for slot, time_ns in enumerate(times)
    )
    with new_file(location, overwrite=overwrite) as temporary:
        write_json_messages(temporary, topic, _schema(parts), messages)


def _checked_times(columns: ReferenceColumns, given: Iterable[int] | None) -> list[int]:
    """Return the time of each message."""
    if given is None:
        if columns.is_image.any():
            raise ValueError(
                f"expected references to frames of videos, found one to an image at position "
                f"{int(columns.is_image.argmax())}, which has no time; pass log_times_ns="
            )
        given = columns.pts_ns.tolist()
    times = [_whole(time_ns, position) for position, time_ns in enumerate(given)]
    if len(times) != len(columns):
        raise ValueError(
            f"expected as many log_times_ns as references, found {len(times)} and {len(columns)}"
        )
    for position, time_ns in enumerate(times):
        if not 0 <= time_ns <= _MAX_INT64:
            raise ValueError(
                f"expected times of messages from 0 to 2**63 - 1, found {time_ns} at position {position}; "
                "pass others as log_times_ns="
            )
    return times


def _whole(value: Any, position: int) -> int:
    value = value.as_py() if hasattr(value, "as_py") else value
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"expected log_times_ns to be whole numbers, found {value!r} at position {position}"
        ) from None


def _message(time_ns: int, parts: tuple[str, ...], uri: str, pts_ns: int | None) -> bytes:
    value: dict[str, Any] = {"uri": uri, "pts_ns": pts_ns}
    for name in reversed(parts):
        value = {name: value}
    return json.dumps({_TIME_FIELD: time_ns, **value}, ensure_ascii=False).encode()


def _schema(parts: tuple[str, ...]) -> bytes:
    """Return the JSON schema of the messages."""
    value: dict[str, Any] = _REFERENCE_SCHEMA
    for name in reversed(parts[1:]):
        value = {"type": "object", "properties": {name: value}, "required": [name]}
    schema = {
        "title": "ScreenCaptured",
        "type": "object",
        "properties": {_TIME_FIELD: {"type": "integer"}, parts[0]: value},
        "required": [_TIME_FIELD, parts[0]],
    }
    return json.dumps(schema).encode()


def _stored_uri(uri: str, file: Path) -> str:
    """Return a URI as it is written to an MCAP file: a path relative to the folder of the file."""
    if scheme_of(uri):
        return uri
    table, rest = split_blob(uri) or (uri, "")
    folder, media = file.parent.absolute(), Path(table).absolute()
    relative = os.path.relpath(media, folder)
    if relative.startswith(os.pardir):  # links on the way up lead to other folders
        relative = os.path.relpath(media.parent.resolve() / media.name, folder.resolve())
    relative = Path(relative).as_posix()
    return ("./" if scheme_of(relative) else "") + relative + rest


def _resolved_uri(uri: str, folder: Path) -> str:
    """Return a URI of an MCAP file as one that a reader opens: a relative path after the folder."""
    if not is_relative_path(uri) or folder == Path():
        return uri
    return f"{str(folder).rstrip('/')}/{uri}"


def _cached(change: Callable[[str], str]) -> Callable[[str], str]:
    """Return a function that remembers what it returned: few URIs are those of many references."""
    known: dict[str, str] = {}

    def changed(uri: str) -> str:
        if uri not in known:
            known[uri] = change(uri)
        return known[uri]

    return changed


@set_module("mediaref_ursa.mcap")
def read_refs(
    path: str | os.PathLike[str], topic: str, *, field: str = "media_ref", resolve: bool = True
) -> pa.Table:
    """Read the references of a topic of JSON messages, or of ``std_msgs/msg/String`` messages with JSON.

    Args:
        path: An MCAP file, or a folder of rosbag2 with MCAP files.
        topic: The name of the topic.
        field: The field of the messages with the reference; with dots, a field of fields.
        resolve: Put relative paths after the folder of the file; False leaves them.

    Returns:
        A table for ``batch_decode``, in the order of log times: ``ref``, ``struct<uri: string, pts_ns:
            int64>``, and ``log_time_ns``, int64.

    Raises:
        InvalidReferenceError: There is no such topic, or a message that is no JSON, or has no reference in
            that field.
        MediaNotFoundError: There is no such file.
        UnsupportedMediaError: It is no MCAP file, or the messages are encoded in another way.
        CorruptMediaError: The file is damaged or cut short.
        StoreError: It cannot be read.
        ValueError: An unusable ``field``.

    Example:
        >>> from mediaref_ursa import MediaRef, batch_decode
        >>> write_refs("refs.mcap", [MediaRef("clip.mp4", 0), MediaRef("clip.mp4", 500_000_000)])
        >>> table = read_refs("refs.mcap", "screen")
        >>> table.column_names
        ['ref', 'log_time_ns']
        >>> len(batch_decode(table))
        2
    """
    parts = path_parts(field)
    location = Path(local_path(os.fspath(path)))
    folder = location if location.is_dir() else location.parent
    times: list[int] = []
    try:
        with closing(_texts(path, topic, times)) as texts:
            uris, pts_ns = json_references(texts, parts)
    except MediaRefError as error:
        if error.uri is not None:
            raise
        raise error.of_reference(os.fspath(path), None) from error
    if resolve:
        resolved = _cached(lambda uri: _resolved_uri(uri, folder))
        uris = [resolved(uri) for uri in uris]
    table = pa.table({"ref": refs_to_struct_array(uris, pts_ns), "log_time_ns": pa.array(times, pa.int64())})
    order = np.argsort(np.array(times, dtype=np.int64), kind="stable")
    return table if (np.diff(order) == 1).all() else table.take(pa.array(order))


def _texts(path: str | os.PathLike[str], topic: str, times: list[int]) -> Generator[str]:
    """Yield the text of each message, and add its time to ``times``."""
    decoder = MessageDecoder()
    with closing(messages_of(path, topic)) as messages:
        for message in messages:
            times.append(message.log_time_ns)
            yield decoder.text(message)
