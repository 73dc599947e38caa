"""An HTTP server on loopback that does one thing wrong, at the request it is told to; and counts.

It serves bytes from memory, as a good server would: ranges, entity tags, ``If-Match``. Or it stands before
another server, moto's S3 for instance, and spoils what that one answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import http.client
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import TracebackType
from urllib.parse import urlsplit

LAST_MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT"
DRIP_SECONDS = 0.05
_REASONS = {200: "OK", 206: "Partial Content", 302: "Found", 404: "Not Found"}
_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "server", "date")


@dataclass(frozen=True)
class Asked:
    """A request as it came in; names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def without(self, *names: str) -> Asked:
        return replace(self, headers={key: value for key, value in self.headers.items() if key not in names})


@dataclass(frozen=True)
class Answer:
    """An answer, and how it goes over the wire.

    Attributes:
        status: The HTTP status.
        headers: Without Content-Length, unless that is to be a lie.
        body: Also of a HEAD, of which it is not sent.
        delivery: ``whole``, ``cut``, ``reset``, ``drip``, ``stall``, ``close`` (right after it, unannounced)
            or ``silence`` (the connection ends without an answer).
        has_length: Whether Content-Length is sent; the connection is closed after the body if not.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delivery: str = "whole"
    has_length: bool = True

    def with_headers(self, **headers: str) -> Answer:
        return replace(self, headers={**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}})

    def without(self, name: str) -> Answer:
        kept = {key: value for key, value in self.headers.items() if key.lower() != name.lower()}
        return replace(self, headers=kept)

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")


Serve = Callable[[Asked], Answer]
Fault = Callable[[Asked, Serve], Answer]


def _status(status: int, **headers: str) -> Fault:
    def answer(asked: Asked, serve: Serve) -> Answer:
        return Answer(status).with_headers(**headers)

    return answer


def _delivered(how: str) -> Fault:
    return lambda asked, serve: replace(serve(asked), delivery=how)


def _open_ended(asked: Asked, serve: Serve) -> Answer:
    """A body without a length that ends too early."""
    return replace(serve(asked), delivery="cut", has_length=False)


def _replaced(asked: Asked, serve: Serve) -> Answer:
    """Another object of the same length stands there, and the server minds If-Match."""
    answer = _replaced_unconditionally(asked, serve)
    wanted = asked.headers.get("if-match")
    return Answer(412) if wanted not in (None, "*", answer.header("ETag")) else answer


def _replaced_unconditionally(asked: Asked, serve: Serve) -> Answer:
    """Another object of the same length stands there, whatever If-Match says."""
    answer = serve(asked.without("if-match"))
    if answer.status not in (200, 206):
        return answer
    body = bytes(byte ^ 0x55 for byte in answer.body)
    return replace(answer.without("ETag"), body=body).with_headers(ETag='"another"')


def _ignores_range(asked: Asked, serve: Serve) -> Answer:
    return serve(asked.without("range"))


def _other_range(asked: Asked, serve: Serve) -> Answer:
    """The bytes beside those that were asked for, and it says so."""
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("range", ""))
    if match is None:
        return serve(asked)
    first, last = int(match[1]), int(match[2])
    shift = -1 if first else 1
    return serve(replace(asked, headers={**asked.headers, "range": f"bytes={first + shift}-{last + shift}"}))


def _wrong_content_range(asked: Asked, serve: Serve) -> Answer:
    """The right bytes, said to be others."""
    answer = serve(asked)
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.header("Content-Range"))
    if match is None:
        return answer
    text = f"bytes {int(match[1]) + 1}-{int(match[2]) + 1}/{match[3]}"
    return answer.without("Content-Range").with_headers(Content_Range=text)


def _wrong_total(asked: Asked, serve: Serve) -> Answer:
    answer = serve(asked)
    text = re.sub(r"\d+$", lambda total: str(int(total[0]) + 7), answer.header("Content-Range"))
    return answer.without("Content-Range").with_headers(Content_Range=text) if text else answer


def _multipart(asked: Asked, serve: Serve) -> Answer:
    answer = serve(asked)
    if answer.status != 206:
        return answer
    head = f"--b\r\nContent-Range: {answer.header('Content-Range')}\r\n\r\n".encode()
    spoilt = replace(answer.without("Content-Range"), body=head + answer.body + b"\r\n--b--\r\n")
    return spoilt.with_headers(Content_Type="multipart/byteranges; boundary=b")


def _redirect(asked: Asked, serve: Serve) -> Answer:
    return Answer(302, {"Location": asked.target})


def _gzipped(asked: Asked, serve: Serve) -> Answer:
    answer = serve(asked)
    if answer.status not in (200, 206):
        return answer
    return replace(answer, body=gzip.compress(answer.body)).with_headers(Content_Encoding="gzip")


def _announces(share: float) -> Fault:
    """Content-Length is a lie."""

    def answer(asked: Asked, serve: Serve) -> Answer:
        found = serve(asked)
        if asked.method == "HEAD" or not found.body:
            return found
        return found.with_headers(Content_Length=str(int(len(found.body) * share)))

    return answer


def _flipped(asked: Asked, serve: Serve) -> Answer:
    """One byte of the body is another; only a checksum finds that."""
    answer = serve(asked)
    if not answer.body or answer.status not in (200, 206):
        return answer
    body = bytearray(answer.body)
    body[len(body) // 2] ^= 1
    return replace(answer, body=bytes(body))


FAULTS: dict[str, Fault] = {
    "500": _status(500),
    "503": _status(503),
    "429 retry-after": _status(429, Retry_After="0"),
    "503 retry-after": _status(503, Retry_After="0"),
    "reset": _delivered("reset"),
    "cut short": _delivered("cut"),
    "no answer": _delivered("silence"),
    "slow drip": _delivered("drip"),
    "stall": _delivered("stall"),
    "unannounced close": _delivered("close"),
    "no length, cut short": _open_ended,
    "replaced": _replaced,
    "replaced, no if-match": _replaced_unconditionally,
    "200 for a range": _ignores_range,
    "other range": _other_range,
    "wrong content-range": _wrong_content_range,
    "wrong total": _wrong_total,
    "multipart": _multipart,
    "redirect loop": _redirect,
    "gzip": _gzipped,
    "length too large": _announces(1.5),
    "length too small": _announces(0.5),
    "no etag": lambda asked, serve: serve(asked).without("ETag"),
}
"""What a server can do wrong, and a store notices."""

FLIPPED_BYTE = _flipped
"""What no store can notice, and a frame index does."""


@dataclass
class _Script:
    fault: Fault
    first: int
    last: float
    seen: int = 0

    def strikes(self) -> bool:
        self.seen += 1
        return self.first <= self.seen <= self.last


class FaultServer:
    """Serves ``objects`` by path, or what ``upstream`` answers; a context manager.

    Args:
        objects: Bytes by path.
        upstream: The URL of a server to stand before.
        delay_seconds: Before each answer, for the round trip of a longer way.
    """

    def __init__(
        self,
        objects: Mapping[str, bytes] | None = None,
        *,
        upstream: str | None = None,
        delay_seconds: float = 0.0,
    ) -> None:
        self.objects = dict(objects or {})
        self.seen: list[Asked] = []
        self.bytes_sent = 0
        self.delay_seconds = delay_seconds
        self._upstream = urlsplit(upstream).netloc if upstream else None
        self._script: _Script | None = None
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> FaultServer:
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(self._start(), self._loop)
        self.port = starting.result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def put(self, path: str, data: bytes) -> str:
        self.objects[path] = data
        return self.url(path)

    def fail(self, fault: Fault | str, *, nth: int = 1, always: bool = False) -> None:
        """Strike at the Nth request from now on, once; or at that and all that follow."""
        found = FAULTS[fault] if isinstance(fault, str) else fault
        with self._lock:
            self.seen.clear()
            self.bytes_sent = 0
            self._script = _Script(found, nth, float("inf") if always else nth)

    def behave(self) -> None:
        """Do nothing wrong from now on, and count anew."""
        with self._lock:
            self.seen.clear()
            self.bytes_sent = 0
            self._script = None

    async def _start(self) -> int:
        self._server = await asyncio.start_server(self._serve_connection, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._serve_request(reader, writer):
                    pass
        except asyncio.CancelledError:
            pass  # the server stops; asyncio would log it otherwise
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection goes on."""
        asked = _parsed(await reader.readuntil(b"\r\n\r\n"))
        length = int(asked.headers.get("content-length", 0))
        await reader.readexactly(length)
        with self._lock:
            self.seen.append(asked)
            fault = self._script.fault if self._script is not None and self._script.strikes() else None
        await asyncio.sleep(self.delay_seconds)
        serve = self._from_memory if self._upstream is None else self._from_upstream
        answer = await self._loop.run_in_executor(
            None, lambda: serve(asked) if fault is None else fault(asked, serve)
        )
        return await self._send(asked, answer, reader, writer)

    async def _send(
        self, asked: Asked, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head, body = _head_of(answer), b"" if asked.method == "HEAD" else answer.body
        shown = {"silence": 0, "cut": 0.5, "reset": 0.5, "stall": 0.5, "drip": 0}.get(answer.delivery, 1)
        # what has no body is spoilt in its head
        now = head + body[: int(len(body) * shown)] if body else head[: int(len(head) * shown)]
        await self._write(writer, now)
        if answer.delivery == "drip":
            for byte in (head + body)[len(now) :]:
                await asyncio.sleep(DRIP_SECONDS)
                await self._write(writer, bytes([byte]))
        elif answer.delivery == "stall":
            await reader.read()  # until the client has had enough
        elif answer.delivery in ("cut", "reset"):
            await asyncio.sleep(0.01)  # so that what was sent is read before the connection breaks
        if answer.delivery == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        return answer.delivery in ("whole", "drip") and answer.has_length and _has_true_length(answer)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        with self._lock:
            self.bytes_sent += len(data)

    def _from_memory(self, asked: Asked) -> Answer:
        data = self.objects.get(asked.path)
        if data is None:
            return Answer(404)
        etag = _etag(data)
        marks = {"ETag": etag, "Last-Modified": LAST_MODIFIED, "Accept-Ranges": "bytes"}
        if asked.headers.get("if-match", etag) not in ("*", etag):
            return Answer(412)
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
        if match is None:
            return Answer(200, marks, data)
        first, end = int(match[1]), min(int(match[2] or len(data)) + 1, len(data))
        if first >= len(data):
            return Answer(416, {"Content-Range": f"bytes */{len(data)}"})
        return Answer(
            206, {**marks, "Content-Range": f"bytes {first}-{end - 1}/{len(data)}"}, data[first:end]
        )

    def _from_upstream(self, asked: Asked) -> Answer:
        assert self._upstream is not None
        connection = http.client.HTTPConnection(self._upstream, timeout=30)
        try:
            headers = {**asked.headers, "connection": "close"}
            connection.request(asked.method, asked.target, headers=headers)
            reply = connection.getresponse()
            body = reply.read()
            kept = {key: value for key, value in reply.getheaders() if key.lower() not in _HOP_BY_HOP}
            if asked.method != "HEAD":
                kept = {key: value for key, value in kept.items() if key.lower() != "content-length"}
            return Answer(reply.status, kept, body)
        finally:
            connection.close()


@lru_cache(64)
def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _parsed(head: bytes) -> Asked:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    return Asked(method, target, {name.strip().lower(): value.strip() for name, _, value in pairs})


def _head_of(answer: Answer) -> bytes:
    headers = dict(answer.headers)
    if answer.has_length and not answer.header("Content-Length"):
        headers["Content-Length"] = str(len(answer.body))
    if not answer.has_length:
        headers.pop("Content-Length", None)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Other')}\r\n{lines}\r\n".encode("latin-1")


def _has_true_length(answer: Answer) -> bool:
    announced = answer.header("Content-Length")
    return not announced or not answer.body or int(announced) == len(answer.body)
