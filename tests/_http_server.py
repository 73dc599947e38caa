"""A real HTTP server on loopback that serves bytes from memory, with ranges, and misbehaves on request."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from typing_extensions import Self

LAST_MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT"
LAST_MODIFIED_SECONDS = 1445412480.0


@dataclass(frozen=True)
class Fault:
    """What one reply does wrong; the fields combine.

    Attributes:
        status: Answer with this status and no object.
        headers: Added to the reply, or in place of its own.
        body_bytes: Send only so many bytes of the body, then close the connection.
        ignore_range: Send the whole object with 200.
        hang_up: Close the connection without a reply.
        delay_seconds: Wait before replying.
        no_length: Leave out Content-Length and close the connection after the body.
        methods: The requests it concerns.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body_bytes: int | None = None
    ignore_range: bool = False
    hang_up: bool = False
    delay_seconds: float = 0.0
    no_length: bool = False
    methods: tuple[str, ...] = ("GET", "HEAD")


@dataclass(frozen=True)
class SeenRequest:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]


class LoopbackServer:
    """A server on loopback, within a ``with`` block."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = _QuietServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])


class ObjectServer(LoopbackServer):
    """Serves ``objects`` by path (without query)."""

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        super().__init__(type("Handler", (_Handler,), {"owner": self}))
        self.objects = dict(objects or {})
        self.seen: list[SeenRequest] = []
        self.always: Fault | None = None
        self._next: list[Fault] = []
        self._lock = threading.Lock()
        self._at_once = 0
        self.most_at_once = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def put(self, path: str, data: bytes) -> str:
        self.objects[path] = data
        return self.url(path)

    def fail_next(self, *faults: Fault) -> None:
        """Give each of the next replies one fault."""
        with self._lock:
            self._next.extend(faults)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a request among those that are being answered."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1

    def take_fault(self, request: SeenRequest) -> Fault:
        with self._lock:
            self.seen.append(request)
            fault = self._next.pop(0) if self._next else self.always
        return fault if fault is not None and request.method in fault.methods else Fault()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up in the middle are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: ObjectServer

    def do_GET(self) -> None:
        with self.owner.counted():
            self._answer(send_body=True)

    def do_HEAD(self) -> None:
        with self.owner.counted():
            self._answer(send_body=False)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, *, send_body: bool) -> None:
        fault = self.owner.take_fault(SeenRequest(self.command, self.path, dict(self.headers)))
        time.sleep(fault.delay_seconds)
        if fault.hang_up:
            self.close_connection = True
            return
        status, headers, body = self._reply(fault)
        headers.update(fault.headers)
        if fault.no_length:
            headers.pop("Content-Length", None)
            headers["Connection"] = "close"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if send_body:
            self.wfile.write(body if fault.body_bytes is None else body[: fault.body_bytes])
        if fault.body_bytes is not None or fault.no_length:
            self.wfile.flush()
            self.close_connection = True

    def _reply(self, fault: Fault) -> tuple[int, dict[str, str], bytes]:
        if fault.status is not None:
            return fault.status, {"Content-Length": "0"}, b""
        data = self.owner.objects.get(self.path.partition("?")[0])
        if data is None:
            return 404, {"Content-Length": "0"}, b""
        headers = {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Last-Modified": LAST_MODIFIED}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None or fault.ignore_range:
            return 200, {**headers, "Content-Length": str(len(data))}, data
        begin, end = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data))
        if begin >= len(data):
            return 416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"}, b""
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
        return 206, {**headers, "Content-Length": str(end - begin)}, data[begin:end]
