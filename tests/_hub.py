"""A stand-in for the wire of the Hugging Face Hub on loopback: one data set, with revisions."""

from __future__ import annotations

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from _http_server import LoopbackServer

_REPO = re.compile(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|paths-info|tree)/([^/]+)(?:/(.*))?)?")
_FILE = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.*)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Hub(LoopbackServer):
    """Serves the files of one data set by revision, as the Hub does.

    Attributes:
        revisions: The files of each revision, by path.
        requests: Methods and paths, as they came in.
    """

    def __init__(self, name: str, revisions: dict[str, dict[str, bytes]]) -> None:
        super().__init__(type("Handler", (_Handler,), {"hub": self}))
        self.name = name
        self.revisions = revisions
        self.requests: list[tuple[str, str]] = []

    @property
    def endpoint(self) -> str:
        """The address, for ``storage_options={"endpoint": ...}``."""
        return f"http://127.0.0.1:{self.port}"

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return the commit and the files of a revision, by its name or its commit."""
        for name, files in self.revisions.items():
            if unquote(revision) in (name, _commit(name)):
                return _commit(name), files
        return None


def _commit(revision: str) -> str:
    return hashlib.sha1(revision.encode()).hexdigest()


def entry(path: str, data: bytes) -> dict[str, Any]:
    """Return a file as the Hub lists it."""
    return {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._reply(body)

    def do_GET(self) -> None:
        self._reply(b"")

    do_HEAD = do_GET

    def _reply(self, body: bytes) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path))
        if (file := _FILE.fullmatch(path)) is not None and file[1] == self.hub.name:
            self._file(file[2], unquote(file[3]))
            return
        if (repo := _REPO.fullmatch(path)) is None or repo[1] != self.hub.name:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        found = self.hub.files(repo[3] or "main")
        if found is None:
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        commit, files = found
        if repo[2] in (None, "revision"):
            siblings = [{"rfilename": name} for name in files]
            self._json({"id": self.hub.name, "sha": commit, "siblings": siblings})
            return
        if repo[2] == "paths-info":
            text = body.decode()
            paths = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text)["paths"]
            self._json([one for path in paths for one in self._entries(files, path)])
            return
        self._json(self._tree(files, unquote(repo[4] or "")))

    def _entries(self, files: dict[str, bytes], path: str) -> list[dict[str, Any]]:
        if path in files:
            return [entry(path, files[path])]
        if any(name.startswith(f"{path}/") for name in files):
            return [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40}]
        return []

    def _tree(self, files: dict[str, bytes], folder: str) -> list[dict[str, Any]]:
        prefix = f"{folder}/" if folder else ""
        names = {name[len(prefix) :].split("/")[0] for name in files if name.startswith(prefix)}
        return [one for name in sorted(names) for one in self._entries(files, f"{prefix}{name}")]

    def _file(self, revision: str, path: str) -> None:
        commit, files = self.hub.files(revision) or ("", {})
        data = files.get(path)
        if data is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound" if commit else "RevisionNotFound"})
            return
        headers = {"ETag": f'"{entry(path, data)["oid"]}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked is None:
            self._send(200, data, headers)
            return
        first, last = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        self._send(206, data[first : last + 1], headers)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
