"""A proxy on loopback that counts the bytes which a server sends, whatever library asks for them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

_CHUNK_BYTES = 1 << 16


class CountingProxy:
    """Forwards connections to a server within a ``with`` block.

    Attributes:
        url: Where it listens.
        bytes_sent: What the server sent through it, headers included.
        requests: Chunks that clients sent which begin with a method of HTTP.
    """

    def __init__(self, server_url: str) -> None:
        parts = urlsplit(server_url)
        self._server = (parts.hostname or "", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.bytes_sent = self.requests = 0
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []

    def __enter__(self) -> CountingProxy:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def reset(self) -> None:
        """Count from 0 on."""
        with self._lock:
            self.bytes_sent = self.requests = 0

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._connections += [client, server]
            for source, target, is_answer in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._forward, args=(source, target, is_answer), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                with self._lock:
                    if is_answer:
                        self.bytes_sent += len(data)
                    else:
                        self.requests += data.startswith((b"GET ", b"HEAD ", b"PUT ", b"POST ", b"DELETE "))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
