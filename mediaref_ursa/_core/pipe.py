"""Messages through a pipe to a worker process and back: a JSON object, then bytes. Nothing is unpickled.

``multiprocessing.Connection`` pickles, and a process that reads untrusted bytes must not answer with pickles.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

_LENGTHS = struct.Struct("<QQ")
_MAX_TEXT_BYTES = 64 << 20


def send(pipe: BinaryIO | Any, header: dict[str, Any], *payload: bytes | memoryview) -> None:
    """Send one message."""
    text = json.dumps(header).encode()
    pipe.write(_LENGTHS.pack(len(text), sum(len(part) for part in payload)) + text)
    for part in payload:
        pipe.write(part)
    pipe.flush()


def receive(pipe: BinaryIO | Any, max_bytes: int | None) -> tuple[dict[str, Any], bytes]:
    """Receive one message.

    Args:
        pipe: Where it comes from.
        max_bytes: How long its payload may be, checked before memory is taken; None trusts the sender.

    Raises:
        EOFError: The other process is gone.
        ValueError: No message of :func:`send`, or too long a one.

    >>> import io
    >>> pipe = io.BytesIO()
    >>> send(pipe, {"a": 1}, b"xyz")
    >>> receive(io.BytesIO(pipe.getvalue()), 3)
    ({'a': 1}, b'xyz')
    """
    text_bytes, payload_bytes = _LENGTHS.unpack(_exactly(pipe, _LENGTHS.size))
    if max_bytes is not None and (text_bytes > _MAX_TEXT_BYTES or payload_bytes > max_bytes):
        raise ValueError(f"a message of {text_bytes} and {payload_bytes} bytes")
    header = json.loads(_exactly(pipe, text_bytes))
    if not isinstance(header, dict):
        raise ValueError("a message that is no JSON object")
    return header, _exactly(pipe, payload_bytes)


def _exactly(pipe: BinaryIO | Any, count: int) -> bytes:
    data: bytes = pipe.read(count)
    if len(data) < count:
        raise EOFError("the pipe was closed")
    return data
