"""Blobs of Lance tables, found by the key of their row and read by byte ranges, within this process.

Tables that were opened are kept: opening one costs more than reading a few ranges does. Before each request
Lance is asked for the latest version, and the table is opened anew if that is another one.

Answers are JSON but for the bytes, of which :func:`as_table` makes a table where they go to another process.
What a caller can do something about is an answer too, ``{"problem": ...}``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.lru import LruDict
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import LongLock, ShortLock
from mediaref_ursa._core.uris import scheme_of
from mediaref_ursa._lance.lance_files import check_links, check_local_table, check_manifest
from mediaref_ursa._lance.lance_manifest import parse_manifest

with needs_extra("video"):
    import lance
    import pyarrow as pa

_TABLES_KEPT = 16
_ROWS_KEPT = 4096
_CACHE_BYTES = 32 << 20  # each, of a table's indexes and of its metadata
_VERSION = "_row_last_updated_at_version"
_ROW, _ADDRESS = "_rowid", "_rowaddr"
_BLOB_TYPE = "lance.blob.v2"
_FRAGMENT_BITS = 32
_ONE_CALL_SECONDS = 0.5
_ROWS_A_KEY = 4  # a bound on what is read of a table with many rows of one key
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)

BYTES = "bytes"

Problem = dict[str, Any]


class OpenTable:
    """One version of a table, and where some of its blobs are. Threads may share it.

    Args:
        dataset: The table, its files checked.
        folder: Its folder, if it is on this machine.
        confine_to: A folder that no link among its files may lead out of.
        allow_outside: Blobs may lie outside the table's folder.
    """

    def __init__(
        self, dataset: lance.LanceDataset, folder: str, confine_to: str | None, *, allow_outside: bool
    ) -> None:
        self.dataset = dataset
        self._folder, self._confine_to, self._allow_outside = folder, confine_to, allow_outside
        self._lock, self._looking_up = ShortLock(), LongLock()
        self._found: LruDict[tuple[str, str, str], dict[str, Any]] = LruDict(_ROWS_KEPT)
        self._was_latest_at = time.monotonic()

    def is_latest(self, within_seconds: float) -> bool:
        """Return whether the table has no later version, or had none so many seconds ago."""
        if time.monotonic() - self._was_latest_at < within_seconds:
            return True
        if self.dataset.latest_version != self.dataset.version:
            return False
        self._was_latest_at = time.monotonic()
        return True

    def find(self, column: str, key_column: str, key: str, others: Sequence[str] = ()) -> dict[str, Any]:
        """Return ``row``, ``size`` and ``version`` of the blob in a row, or a problem.

        Args:
            column: That of the blob.
            key_column: That of the key.
            key: The row's.
            others: Keys that will be asked for next; they are looked up together with the first.
        """
        if (found := self._kept(column, key_column, key)) is not None:
            return found
        with self._looking_up.held():  # what another thread looks up meanwhile may have this row, too
            if (found := self._kept(column, key_column, key)) is not None:
                return found
            if (problem := self._problem_of_columns(column, key_column)) is not None:
                return problem
            with self._lock:
                keys = {key, *(other for other in others if (column, key_column, other) not in self._found)}
            rows = self._look_up(column, key_column, keys) or self._look_up(column, key_column, {key})
            with self._lock:
                for name, row in rows.items():
                    self._found[column, key_column, name] = row
            return rows[key]

    def _kept(self, column: str, key_column: str, key: str) -> dict[str, Any] | None:
        with self._lock:
            return self._found.use((column, key_column, key))

    def _problem_of_columns(self, column: str, key_column: str) -> Problem | None:
        schema = self.dataset.schema
        blobs = [field.name for field in schema if is_blob_field(field)]
        if column not in schema.names:
            return {"problem": "no column", "columns": blobs}
        if column not in blobs:
            return {"problem": "no blobs", "type": str(schema.field(column).type)[:80], "columns": blobs}
        if key_column not in schema.names:
            return {"problem": "no keys", "columns": schema.names[:20]}
        kind = schema.field(key_column).type
        if not (_is_text(kind) or pa.types.is_integer(kind)):
            return {"problem": "no keys", "columns": schema.names[:20], "type": str(kind)[:80]}
        return None

    def _look_up(self, column: str, key_column: str, keys: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return where the blobs of some keys are, or the problem of each, read in one scan.

        Nothing is returned if several keys have so many rows that some were left out.
        """
        kind = self.dataset.schema.field(key_column).type
        found: dict[str, dict[str, Any]] = {key: {"problem": "no row"} for key in keys}
        condition = _condition(key_column, keys, kind)
        if condition is None:
            return found
        limit = _ROWS_A_KEY * len(keys)
        rows = self.dataset.scanner(
            columns=[key_column, column, _VERSION],
            filter=condition,
            limit=limit,
            with_row_id=True,
            with_row_address=True,
        ).to_table()
        if len(keys) > 1 and rows.num_rows == limit:
            return {}
        for row in rows.to_pylist():
            key = str(row[key_column])
            is_first = found[key].get("problem") == "no row"
            found[key] = self._located(column, row) if is_first else {"problem": "several rows"}
        return found

    def _located(self, column: str, row: dict[str, Any]) -> dict[str, Any]:
        """Return where the blob of a row is, or its problem."""
        if row[column] is None:
            return {"problem": "null"}
        if row[column].get("blob_uri"):
            if not self._allow_outside:
                return {"problem": "outside"}
            (file,) = self.dataset.take_blobs(column, ids=[row[_ROW]])
            size = 0 if file is None else file.size()
        else:
            size = row[column]["size"]
        if self._confine_to is not None:
            self._check_links(row[_ADDRESS], self._confine_to)
        return {"row": row[_ROW], "size": int(size), "version": self._version_of(row)}

    def _version_of(self, row: dict[str, Any]) -> str:
        """Return what changes with a row's content, and with nothing else where row ids are stable."""
        if self.dataset.has_stable_row_ids:
            return f"{row[_ROW]}.{row[_VERSION]}"
        return f"{self.dataset.version}"

    def _check_links(self, address: int, confine_to: str) -> None:
        """Refuse links that lead out of a folder, among the files of a row's fragment."""
        fragment = self.dataset.get_fragment(address >> _FRAGMENT_BITS)
        for file in [] if fragment is None else fragment.data_files():
            check_links(f"{self._folder}/data/{Path(file.path).stem}", confine_to)


class _OpenTables(ProcessState):
    """The tables that this process reads blobs of, the last used ones. Threads share it.

    All are closed before a fork: a child must not even free what belongs to Lance.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock, self._opening = ShortLock(), LongLock()
        self._kept: LruDict[str, OpenTable] = LruDict(_TABLES_KEPT)

    def close(self) -> None:
        with self._lock:
            self._kept.clear()

    def before_fork(self) -> None:
        self._lock.acquire()
        self._kept.clear()

    def after_fork(self) -> None:
        self._lock.release()

    def get(
        self, request: dict[str, Any], options: dict[str, str] | None, *, is_latest: bool = False
    ) -> OpenTable | None:
        """Return the latest version of a table; None where there is no table.

        Args:
            request: Of blobs. Look-ups of one call may be answered by a version of half a second ago.
            options: Those of Lance.
            is_latest: They may not.
        """
        name = json.dumps([request["uri"], options, request["rules"]], sort_keys=True)
        # The blobs that one call asks for are looked up together, in one version.
        is_look_up = not any(blob["ranges"] for blob in request["blobs"])
        within_seconds = _ONE_CALL_SECONDS if request["others"] and is_look_up and not is_latest else 0.0
        if (kept := self._latest(name, within_seconds)) is not None:
            return kept
        began = time.monotonic()
        with self._opening.held():  # once, however many threads ask for it
            if (kept := self._latest(name, time.monotonic() - began)) is not None:
                return kept
            opened = _open(request, options)
            with self._lock:
                if opened is None:
                    self._kept.pop(name, None)
                else:
                    self._kept[name] = opened
            return opened

    def _latest(self, name: str, within_seconds: float) -> OpenTable | None:
        """Return a table that is open, if it has no later version."""
        with self._lock:
            kept = self._kept.use(name)
        try:
            return kept if kept is not None and kept.is_latest(within_seconds) else None
        except Exception:  # it is gone: opening it says so
            return None

    def drop(self) -> None:
        """Forget what is kept: the files of a table that was replaced are gone."""
        self.close()


_tables = register(_OpenTables())


def read_blobs_here(
    request: dict[str, Any], options: dict[str, str] | None, _: pa.Table | None
) -> tuple[dict[str, Any], None]:
    """Answer where blobs are, and the bytes of their ranges, all read in one call of Lance; or problems."""
    try:
        return _read_blobs(request, options)
    except Exception:  # the files of a table that another one took the place of
        _tables.drop()
        return _read_blobs(request, options)


def _read_blobs(request: dict[str, Any], options: dict[str, str] | None) -> tuple[dict[str, Any], None]:
    blobs: list[dict[str, Any]] = request["blobs"]
    table = _tables.get(request, options)
    found = _located(table, request)
    if any(where.get("problem") == "no row" for where in found):  # it may have been put in a moment ago
        table = _tables.get(request, options, is_latest=True)
        found = _located(table, request)
    if table is None:
        return {"found": found, BYTES: []}, None
    wanted: dict[str, list[tuple[int, int, int]]] = {}
    for blob, where in zip(blobs, found, strict=True):
        if "problem" not in where:
            ranges = [(where["row"], offset, length) for offset, length in blob["ranges"]]
            wanted.setdefault(blob["column"], []).extend(ranges)
    read = {
        column: iter(table.dataset.read_blob_ranges(column, ranges, selector="ids", preserve_order=True))
        for column, ranges in wanted.items()
        if ranges
    }
    data = []
    for blob, where in zip(blobs, found, strict=True):
        if "problem" not in where:
            data += [next(read[blob["column"]])[2] for _ in blob["ranges"]]
    return {"found": found, BYTES: data}, None


def _located(table: OpenTable | None, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return where each blob of a request is, or its problem."""
    if table is None:
        return [{"problem": "no table"} for _ in request["blobs"]]
    return [_checked_blob(table, blob, request["others"]) for blob in request["blobs"]]


def _checked_blob(table: OpenTable, blob: dict[str, Any], others: Sequence[str]) -> dict[str, Any]:
    """Return where a blob is, if it has the version and the ranges that are asked for; or a problem."""
    found = table.find(blob["column"], blob["key_column"], blob["key"], others)
    if "problem" in found:
        return found
    if blob["version"] not in (None, [found["version"], found["size"]]):
        return {**found, "problem": "changed"}
    for offset, length in blob["ranges"]:
        if offset + length > found["size"]:
            return {"problem": "past the end", "range": [offset, length], "size": found["size"]}
    return found


def as_table(answer: dict[str, Any]) -> pa.Table | None:
    """Take the bytes of ranges out of an answer, as a table; None where there are none."""
    data = answer.pop(BYTES, None)
    return pa.table({BYTES: pa.array(data, pa.large_binary())}) if data else None


def _open(request: dict[str, Any], options: dict[str, str] | None) -> OpenTable | None:
    """Open the latest version of a table, its files checked first; None where there is none."""
    rules, version = request["rules"], None
    outside, strict = rules["allow_outside"], rules["strict"]
    if scheme_of(request["uri"]) == "":
        if not Path(request["uri"]).is_dir():
            return None
        checked = check_local_table(
            request["uri"],
            allow_outside=outside,
            strict=strict,
            confine_to=request["confine_to"],
            is_collection=True,
        )
        if checked is None:
            return None
        version = checked.version
    dataset = lance.dataset(
        request["uri"],
        version,
        storage_options=options,
        index_cache_size_bytes=_CACHE_BYTES,
        metadata_cache_size_bytes=_CACHE_BYTES,
    )
    manifest = parse_manifest(dataset._ds.serialized_manifest())
    check_manifest(manifest, allow_outside=outside, strict=strict, is_collection=True)
    return OpenTable(dataset, request["uri"], request["confine_to"], allow_outside=outside)


def is_blob_field(field: pa.Field) -> bool:
    """Return whether a field is one of blobs, in either of Lance's encodings."""
    metadata = field.metadata or {}
    extension = getattr(field.type, "extension_name", metadata.get(b"ARROW:extension:name", b"").decode())
    return extension == _BLOB_TYPE or metadata.get(b"lance-encoding:blob") == b"true"


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _condition(column: str, keys: Collection[str], kind: pa.DataType) -> str | None:
    """Return the filter for some keys; None if no row of that type can have one."""
    literals = [_literal(key, kind) for key in sorted(keys)]
    known = [literal for literal in literals if literal is not None]
    if "`" in column or not known:
        return None
    return f"`{column}` IN ({', '.join(known)})"


def _literal(key: str, kind: pa.DataType) -> str | None:
    if _is_text(kind):
        return quoted_text(key)
    return key if _WHOLE_NUMBER.fullmatch(key) else None


def quoted_text(text: str) -> str:
    """Return a text as a literal of Lance's filters.

    >>> print(quoted_text("it's"))
    'it''s'
    """
    return "'" + text.replace("'", "''") + "'"
