"""The three things that are asked of Lance, done here or, in a forked process, by one of its own.

Lance keeps threads. In a child that was forked after its parent used Lance, reading a table crashes or
hangs now and then (measured: 13 of 300 children, with pylance 14). So a forked process never calls
Lance itself: it starts a fresh Python process, once, and asks that one. Requests and answers are JSON
and Arrow IPC; nothing is unpickled.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import warnings
from datetime import timedelta
from typing import Any, BinaryIO, Final

import lance
import numpy as np
import pyarrow as pa

# Lance warns at every fork. A forked process leaves Lance alone, so that there is nothing to warn of.
warnings.filterwarnings("ignore", message="lance is not fork-safe", category=UserWarning)

# pyarrow's first conversion takes a lock of its own: within this import, a fork waits for it (see _forking).
pa.array([], pa.string())

_OLD_VERSIONS_KEPT = timedelta(hours=1)  # a reader that opened one may still be reading it
_STORAGE_VERSION: Final = "2.0"  # the newest that every pylance since 0.30 reads
_WRITE_ATTEMPTS = 4
_SOURCE_PLACES = re.compile(r",? /[^ ,]+\.rs:\d+:\d+")  # where Lance was built is no help to anybody
_LENGTHS = struct.Struct("<QQ")
_STOP_SECONDS = 5.0
_home_process = os.getpid()


class LanceCallError(Exception):
    """Lance's own words on what went wrong, whichever process they come from."""


def describe(uri: str, options: dict[str, str]) -> tuple[int, int, pa.Schema]:
    """Return a table's version, its number of rows and its schema.

    Raises:
        LanceCallError: There is no table, or it cannot be opened.
    """
    answer, table = _call({"do": "describe", "uri": uri, "options": options})
    assert table is not None
    return int(answer["version"]), int(answer["rows"]), table.schema


def read(
    uri: str, options: dict[str, str], version: int, columns: list[str], where: dict[str, int]
) -> pa.Table:
    """Return columns of one version of a table; ``where`` may hold ``offset`` and ``limit``.

    Raises:
        LanceCallError: The rows cannot be read.
    """
    asked = {
        "do": "read",
        "uri": uri,
        "options": options,
        "version": version,
        "columns": columns,
        "where": where,
    }
    _, table = _call(asked)
    assert table is not None
    return table


def write(uri: str, options: dict[str, str], table: pa.Table, *, exists: bool) -> None:
    """Write a table in one commit and clean up what earlier writers left.

    Raises:
        LanceCallError: Lance cannot write there.
    """
    _call({"do": "write", "uri": uri, "options": options, "exists": exists}, table)


def _call(request: dict[str, Any], table: pa.Table | None = None) -> tuple[dict[str, Any], pa.Table | None]:
    if os.getpid() == _home_process:
        return _perform(request, table)
    return _helper.ask(request, table)


def _perform(request: dict[str, Any], table: pa.Table | None) -> tuple[dict[str, Any], pa.Table | None]:
    """Carry out a request in this process; Lance's panics are no ``Exception``."""
    try:
        return _PERFORM[request["do"]](request, request["options"] or None, table)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LanceCallError(_SOURCE_PLACES.sub("", reason)) from error


def _describe_here(
    request: dict[str, Any], options: dict[str, str] | None, table: pa.Table | None
) -> tuple[dict[str, Any], pa.Table]:
    dataset = lance.dataset(request["uri"], storage_options=options)
    return {"version": dataset.version, "rows": dataset.count_rows()}, dataset.schema.empty_table()


def _read_here(
    request: dict[str, Any], options: dict[str, str] | None, table: pa.Table | None
) -> tuple[dict[str, Any], pa.Table]:
    dataset = lance.dataset(request["uri"], version=request["version"], storage_options=options)
    first = request["where"].get("offset", 0)
    count = request["where"].get("limit", dataset.count_rows())
    # Scanning a table whose data are damaged can end the process, in a panic where Rust may not unwind;
    # taking rows raises an error.
    return {}, dataset.take(np.arange(first, first + count), columns=request["columns"])


def _write_here(
    request: dict[str, Any], options: dict[str, str] | None, table: pa.Table | None
) -> tuple[dict[str, Any], None]:
    exists = request["exists"]
    for attempt in range(_WRITE_ATTEMPTS):
        mode = "overwrite" if exists else "create"  # overwriting nothing makes Lance print a warning
        try:
            dataset = lance.write_dataset(
                table,
                request["uri"],
                mode=mode,
                storage_options=options,
                data_storage_version=_STORAGE_VERSION,
            )
        except (OSError, ValueError, RuntimeError):
            if attempt + 1 == _WRITE_ATTEMPTS:
                raise
            exists = True  # another writer was first, or is committing right now
        else:
            dataset.cleanup_old_versions(older_than=_OLD_VERSIONS_KEPT)
            break
    return {}, None


_PERFORM = {"describe": _describe_here, "read": _read_here, "write": _write_here}


class _Helper:
    """The process that a forked process asks, started on first use. Safe for many threads."""

    def __init__(self) -> None:
        self.asking = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any], table: pa.Table | None) -> tuple[dict[str, Any], pa.Table | None]:
        """Send a request and wait for its answer."""
        with self.asking:
            if self._process is None or self._process.poll() is not None:
                self._start()
            assert self._process is not None
            try:
                assert self._process.stdin is not None
                assert self._process.stdout is not None
                _send(self._process.stdin, request, table)
                answer, found = _receive(self._process.stdout)
            except (OSError, EOFError) as error:
                self._process.kill()
                raise LanceCallError(f"the process that reads tables ended: {error!r}") from error
            except BaseException:  # an answer that nobody took would be taken for the next one
                self._process.kill()
                raise
        if "error" in answer:
            raise LanceCallError(answer["error"])
        return answer, found

    def _start(self) -> None:
        own = [path or os.getcwd() for path in sys.path]  # noqa: PTH109 - as this process finds modules
        program = f"import sys; sys.path[:] = {own!r}; from {__name__} import serve; serve()"
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and this module
            [sys.executable, "-I", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None or process.stdin is None or process.stdout is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()  # it ends by itself when nobody can ask it any more
        process.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)

    def forget(self) -> None:
        """Leave the parent's process to the parent; called in a forked child."""
        process, self._process = self._process, None
        self.asking = threading.Lock()
        if process is not None:
            process.returncode = 0  # not ours to wait for
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


def stop_helper() -> None:
    """End the process that a forked process asks, if there is one; the next question starts another."""
    with _helper.asking:
        _helper.stop()


def serve() -> None:
    """Answer requests from standard input on standard output until nobody can ask any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    while True:
        try:
            request, table = _receive(sys.stdin.buffer)
        except (OSError, EOFError):
            return
        try:
            answer, found = _perform(request, table)
        except LanceCallError as error:
            answer, found = {"error": str(error)}, None
        _send(answers, answer, found)


def _send(pipe: BinaryIO | Any, header: dict[str, Any], table: pa.Table | None) -> None:
    text = json.dumps(header).encode()
    payload = b""
    if table is not None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        payload = sink.getvalue().to_pybytes()
    pipe.write(_LENGTHS.pack(len(text), len(payload)) + text + payload)
    pipe.flush()


def _receive(pipe: BinaryIO | Any) -> tuple[dict[str, Any], pa.Table | None]:
    text_bytes, payload_bytes = _LENGTHS.unpack(_exactly(pipe, _LENGTHS.size))
    header: dict[str, Any] = json.loads(_exactly(pipe, text_bytes))
    payload = _exactly(pipe, payload_bytes)
    return header, pa.ipc.open_stream(payload).read_all() if payload else None


def _exactly(pipe: BinaryIO | Any, count: int) -> bytes:
    data: bytes = pipe.read(count)
    if len(data) < count:
        raise EOFError("the pipe was closed")
    return data


_helper = _Helper()
os.register_at_fork(after_in_child=_helper.forget)
