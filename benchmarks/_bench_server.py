"""A server of files by byte ranges, as far away as one says; it counts. Runs as a process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from pathlib import Path

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CHUNK = 1 << 16


class Server:
    """Serves one folder. ``GET /-/counts`` tells requests and bytes since it was asked last.

    Args:
        folder: What is served.
        round_trip_seconds: Each answer, and each new connection, takes this much longer.
    """

    def __init__(self, folder: Path, round_trip_seconds: float) -> None:
        self._folder = folder
        self._round_trip = round_trip_seconds
        self.requests = 0
        self.bytes = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        await asyncio.sleep(self._round_trip)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.decode("latin-1"), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        method, target, _ = head.split(" ", 2)
        if target == "/-/counts":
            text = f"{self.requests} {self.bytes}".encode()
            self.requests = self.bytes = 0
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
            await writer.drain()
            return
        await asyncio.sleep(self._round_trip)
        self.requests += 1
        path = self._folder / Path(target).name
        if not path.is_file():
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        size = path.stat().st_size
        first, last, status = 0, size - 1, "200 OK"
        fields = [
            f'ETag: "{hashlib.sha256(f"{path.name}{size}".encode()).hexdigest()[:16]}"',
            "Accept-Ranges: bytes",
        ]
        match = re.search(r"(?im)^range:\s*(.*?)\r$", head)
        if match and (wanted := _RANGE.fullmatch(match[1])):
            first, last = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
            status = "206 Partial Content"
            fields.append(f"Content-Range: bytes {first}-{last}/{size}")
        fields.append(f"Content-Length: {last - first + 1}")
        writer.write("\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode())
        if method != "HEAD":
            await self._send(path, first, last, writer)
        await writer.drain()

    async def _send(self, path: Path, first: int, last: int, writer: asyncio.StreamWriter) -> None:
        with path.open("rb") as file:
            file.seek(first)
            missing = last - first + 1
            while missing:
                part = file.read(min(_CHUNK, missing))
                writer.write(part)
                missing -= len(part)
                await writer.drain()  # what a client does not take is not counted
                self.bytes += len(part)


async def _main(folder: Path, round_trip_seconds: float) -> None:
    server = await asyncio.start_server(
        Server(folder, round_trip_seconds).serve, "127.0.0.1", 0, limit=1 << 16
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), float(sys.argv[2])))
