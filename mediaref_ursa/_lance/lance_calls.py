"""All calls to Lance, made in this process or, if it was forked, in a worker process.

Lance keeps threads. In a child that was forked after its parent used Lance, reading a table crashes or
hangs now and then (measured: 13 of 300 children, with pylance 14). So a forked process never calls
Lance itself: it starts a fresh Python process, once, and asks that one. Requests and answers are JSON
and Arrow IPC; nothing is unpickled.
"""

from __future__ import annotations

import atexit
import os
import re
import resource
import signal
import sys
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np

from mediaref_ursa._core.extras import needs_extra

with needs_extra("video"):
    import lance
    import pyarrow as pa

from mediaref_ursa._core.process_limits import limit_next_memory, lower_limit
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import LongLock
from mediaref_ursa._lance import lance_collections
from mediaref_ursa._lance.lance_blobs import as_table, read_blobs_here
from mediaref_ursa._lance.lance_files import TableRefusedError, check_manifest
from mediaref_ursa._lance.lance_manifest import parse_manifest
from mediaref_ursa._lance.lance_packing import STEPS
from mediaref_ursa._lance.lance_process import (
    Answer,
    LanceCallError,
    LanceProcessError,
    TableProcess,
    receive_table,
    sandboxed_processes,
    send_table,
)
from mediaref_ursa._model.access import IndexLimits

__all__ = [
    "MAX_SCHEMA_BYTES",
    "LanceCallError",
    "LanceProcessError",
    "Rules",
    "call",
    "describe",
    "read",
    "serve",
    "write",
]

# Lance warns at every fork. A forked process leaves Lance alone, so that there is nothing to warn of.
warnings.filterwarnings("ignore", message="lance is not fork-safe", category=UserWarning)

# pyarrow's first conversion takes a lock of its own: within this import, a fork waits for it.
pa.array([], pa.string())

_OLD_VERSIONS_KEPT = timedelta(hours=1)  # a reader that opened one may still be reading it
_STORAGE_VERSION: Final = "2.2"  # pylance 4 and later read it
_WRITE_ATTEMPTS = 4
_SOURCE_POSITIONS = re.compile(r",? /[^ ,]+\.rs:\d+:\d+")  # paths of Lance's build are left out of messages
MAX_SCHEMA_BYTES = 128 << 20
_home_process = os.getpid()


@dataclass(frozen=True)
class Rules:
    """Limits and rules for reading a table.

    Attributes:
        allow_outside: Its files may lie outside its own folder.
        strict: Nothing may stand in its manifest that an index of this library never has.
        limits: What reading may take, in a process of its own; None for reading it in this one.
        is_collection: It is a table of many videos, of which rows were deleted now and then.
    """

    allow_outside: bool = False
    strict: bool = False
    limits: IndexLimits | None = None
    is_collection: bool = False


def describe(
    uri: str, options: dict[str, str], version: int | None = None, rules: Rules = Rules()
) -> tuple[int, int, pa.Schema]:
    """Return a table's version, its number of rows and its schema.

    Args:
        uri: Where the table is, as Lance reads it.
        options: Those of Lance.
        version: The version to describe, the latest if None.
        rules: What may be read.

    Raises:
        LanceCallError: There is no table, or it cannot be opened.
        TableRefusedError: It is not as the rules have it.
    """
    asked = {"do": "describe", "uri": uri, "options": options, "version": version}
    answer, table = call(asked, rules=rules, max_answer_bytes=MAX_SCHEMA_BYTES)
    assert table is not None
    return int(answer["version"]), int(answer["rows"]), table.schema


def read(
    uri: str,
    options: dict[str, str],
    version: int,
    columns: list[str],
    where: dict[str, int],
    *,
    rules: Rules = Rules(),
    max_answer_bytes: int = MAX_SCHEMA_BYTES,
) -> pa.Table:
    """Return columns of one version of a table; ``where`` may hold ``offset`` and ``limit``.

    Args:
        uri: Where the table is, as Lance reads it.
        options: Those of Lance.
        version: Which version.
        columns: Their names.
        where: Which rows.
        rules: What may be read.
        max_answer_bytes: How much the columns may take, where the rules have limits.

    Raises:
        LanceCallError: The rows cannot be read.
        TableRefusedError: The table is not as the rules have it.
    """
    asked = {
        "do": "read",
        "uri": uri,
        "options": options,
        "version": version,
        "columns": columns,
        "where": where,
    }
    _, table = call(asked, rules=rules, max_answer_bytes=max_answer_bytes)
    assert table is not None
    return table


def write(uri: str, options: dict[str, str], table: pa.Table, *, exists: bool) -> None:
    """Write a table in one commit and clean up what earlier writers left.

    Raises:
        LanceCallError: Lance cannot write there.
    """
    call({"do": "write", "uri": uri, "options": options, "exists": exists}, table)


def call(
    request: dict[str, Any],
    table: pa.Table | None = None,
    rules: Rules = Rules(),
    max_answer_bytes: int = 0,
) -> tuple[dict[str, Any], pa.Table | None]:
    """Perform a request in this process, or, after a fork or under limits, in another one.

    Args:
        request: What ``_PERFORM`` knows by its ``do``, of a table at ``uri`` with ``options``; JSON.
        table: What goes with it.
        rules: What may be read.
        max_answer_bytes: How much the answer may take, where the rules have limits.

    Raises:
        LanceCallError: Lance cannot do it.
        TableRefusedError: The table is not as the rules have it.
    """
    request["rules"] = {
        **{"allow_outside": rules.allow_outside, "strict": rules.strict},
        "is_collection": rules.is_collection,
    }
    if rules.limits is not None:
        return sandboxed_processes.ask(request, rules.limits, max_answer_bytes)
    if os.getpid() == _home_process:
        return _perform(request, table)
    return _own_process.ask(request, table)


def _perform(request: dict[str, Any], table: pa.Table | None) -> tuple[dict[str, Any], pa.Table | None]:
    """Perform a request in this process; Lance's panics are not subclasses of ``Exception``."""
    try:
        return _PERFORM[request["do"]](request, request["options"] or None, table)
    except TableRefusedError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LanceCallError(_SOURCE_POSITIONS.sub("", reason)) from error


def _open_table(request: dict[str, Any], options: dict[str, str] | None) -> lance.LanceDataset:
    """Open a table, which reads its manifest only, and refuse it before anything else is read."""
    version = request.get("version")
    given = {} if version is None else {"version": version}
    dataset = lance.dataset(request["uri"], storage_options=options, **given)
    check_manifest(parse_manifest(dataset._ds.serialized_manifest()), **request["rules"])
    return dataset


def _describe_here(
    request: dict[str, Any], options: dict[str, str] | None, table: pa.Table | None
) -> tuple[dict[str, Any], pa.Table]:
    dataset = _open_table(request, options)
    return {"version": dataset.version, "rows": dataset.count_rows()}, dataset.schema.empty_table()


def _read_here(
    request: dict[str, Any], options: dict[str, str] | None, table: pa.Table | None
) -> tuple[dict[str, Any], pa.Table]:
    dataset = _open_table(request, options)
    first = request["where"].get("offset", 0)
    count = request["where"].get("limit", dataset.count_rows())
    # Scanning a table whose data are damaged can end the process, in a panic where Rust may not unwind;
    # taking rows raises an error.
    if request["rules"]["is_collection"]:  # rows after deleted ones are found by their ids, quickly
        found = dataset.scanner(columns=[], with_row_id=True, offset=first, limit=count).to_table()
        return {}, dataset._take_rows(found.column("_rowid").to_pylist(), columns=request["columns"])
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


def _find_here(
    request: dict[str, Any], options: dict[str, str] | None, table: pa.Table | None
) -> tuple[dict[str, Any], pa.Table]:
    dataset = _open_table(request, options)
    return {}, lance_collections.find_rows(dataset, request["uris"], request["columns"])


def _count_videos_here(
    request: dict[str, Any], options: dict[str, str] | None, table: pa.Table | None
) -> tuple[dict[str, Any], None]:
    return {"videos": lance_collections.count_videos(_open_table(request, options))}, None


def _create_here(
    request: dict[str, Any], options: dict[str, str] | None, table: pa.Table | None
) -> tuple[dict[str, Any], None]:
    lance_collections.create_table(request["uri"], options, table)
    return {}, None


def _merge_here(
    request: dict[str, Any], options: dict[str, str] | None, table: pa.Table | None
) -> tuple[dict[str, Any], None]:
    lance_collections.merge_rows(_open_table(request, options), table)
    return {}, None


def _delete_here(
    request: dict[str, Any], options: dict[str, str] | None, table: pa.Table | None
) -> tuple[dict[str, Any], None]:
    dataset = _open_table(request, options)
    lance_collections.delete_rows(dataset, request["uris"], request["first_segment"])
    return {}, None


def _tidy_here(
    request: dict[str, Any], options: dict[str, str] | None, table: pa.Table | None
) -> tuple[dict[str, Any], None]:
    lance_collections.tidy(_open_table(request, options), _OLD_VERSIONS_KEPT, compact=request["compact"])
    return {}, None


_PERFORM = {
    "describe": _describe_here,
    "read": _read_here,
    "write": _write_here,
    "find": _find_here,
    "count_videos": _count_videos_here,
    "create": _create_here,
    "merge": _merge_here,
    "delete": _delete_here,
    "tidy": _tidy_here,
    "read_blobs": read_blobs_here,
    **STEPS,
}


class _OwnProcess(TableProcess, ProcessState):
    """The worker process of a forked process, started on first use. Safe for many threads."""

    def __init__(self) -> None:
        super().__init__()
        self.asking = LongLock()

    def ask(self, request: dict[str, Any], table: pa.Table | None) -> Answer:
        """Send a request and wait for its answer; if the worker process has ended, start another."""
        with self.asking.held():
            try:
                return self.ask_once(request, table, None)
            except LanceProcessError:  # it was killed, perhaps by a system that was short of memory
                return self.ask_once(request, table, None)

    def forget(self) -> None:
        """Forget the parent's worker process; called in a forked child."""
        self.asking = LongLock()
        super().forget()

    def close(self) -> None:
        """End the worker process after its current answer; the next request starts another."""
        with self.asking.held():
            self.stop()


def serve(*, sandboxed: bool = False) -> None:
    """Answer requests from standard input on standard output until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # output of libraries must not mix with the answer
    if sandboxed:
        lower_limit(resource.RLIMIT_CORE, 0)
        lower_limit(resource.RLIMIT_FSIZE, 0)
    while True:
        try:
            request, table = receive_table(sys.stdin.buffer)
        except (OSError, EOFError):
            return
        if sandboxed:
            limit_next_memory(int(request["memory"]))
        try:
            answer, found = _perform(request, table)
            found = as_table(answer) if found is None else found
        except TableRefusedError as error:
            answer, found = {"refused": str(error)}, None
        except LanceCallError as error:
            answer, found = {"error": str(error)}, None
        send_table(answers, answer, found)


_own_process = register(_OwnProcess())
atexit.register(_own_process.stop)
