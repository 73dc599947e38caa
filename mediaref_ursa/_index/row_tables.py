"""Rows of tables in files: of Lance, Parquet, Arrow and JSON lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mediaref_ursa._core.errors import CorruptMediaError, MediaNotFoundError, MediaRefError, StoreError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.uris import is_local, local_path, without_query
from mediaref_ursa._lance.lance_calls import LanceCallError, LanceProcessError, Rules, describe, read
from mediaref_ursa._lance.lance_files import TableRefusedError
from mediaref_ursa._lance.lance_location import lance_location
from mediaref_ursa.layout import COLLECTION_KEY, INDEX_SUFFIX
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    import pyarrow as pa

    from mediaref_ursa._index.lance_table import BASE_COLUMNS
    from mediaref_ursa._references.table_files import open_dataset

_MAX_BYTES = 1 << 30
_ROWS_AT_ONCE = 1 << 16
_IS_MISSING = re.compile(r"was not found|404 Not Found|NoSuchBucket")


def read_rows(table: Location, columns: Sequence[str] | None = None) -> pa.Table:
    """Read columns of all rows of a table; columns that it lacks are left out.

    Args:
        table: A Lance table, whose name ends in ``.lance``, JSON lines (``.jsonl``, ``.ndjson``), Arrow
            (``.arrow``, ``.feather``), a Parquet file, or a local folder of these.
        columns: Names of columns; all without it.

    Raises:
        MediaNotFoundError: No table is there.
        CorruptMediaError: It cannot be read as a table, or is not as the access allows.
        StoreError: The store refuses, or the process that reads the table ended.
    """
    name = without_query(table.uri).rstrip("/")
    if name.endswith(INDEX_SUFFIX):
        return _read_lance(table, columns)
    try:
        if table.store is None and is_local(table.uri):
            path = local_path(table.uri)
            if not Path(path).exists():
                raise MediaNotFoundError("expected a table, found nothing there", uri=table.uri)
            found = open_dataset(path, name)
        else:
            found = open_dataset(pa.py_buffer(table.open_store().get(table.uri)), name)
        names = [name for name in found.schema.names if columns is None or name in columns]
        return found.to_table(columns=names)
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, MediaRefError):
            raise
        raise CorruptMediaError(
            f"expected a table of Parquet, Arrow or JSON lines, found {error}", uri=table.uri
        ) from error


def is_lance_table_of_rows(path: str) -> bool:
    """Return whether a local Lance table is one of rows: neither a frame index nor a collection of them.

    What cannot be opened is none.
    """
    if not (Path(path) / "_versions").is_dir():
        return False
    try:
        schema = describe(path, {}, rules=Rules())[2]
    except LanceCallError:
        return False
    is_index = set(BASE_COLUMNS) <= set(schema.names)
    return not is_index and COLLECTION_KEY.encode() not in (schema.metadata or {})


def lance_blocks(path: str, choose: Callable[[pa.Schema], list[str]]) -> Iterator[pa.Table]:
    """Yield columns of all rows of a local Lance table, some thousand rows at a time.

    Args:
        path: The table.
        choose: Returns the names of the columns, given the schema.

    Raises:
        CorruptMediaError: It cannot be read.
    """
    try:
        version, rows, schema = describe(path, {}, rules=Rules())
        for first in range(0, rows, _ROWS_AT_ONCE):
            where = {"offset": first, "limit": min(_ROWS_AT_ONCE, rows - first)}
            yield read(path, {}, version, choose(schema), where, rules=Rules())
    except LanceCallError as error:
        raise CorruptMediaError(f"the Lance table cannot be read: {error}", uri=path) from error


def _read_lance(table: Location, columns: Sequence[str] | None) -> pa.Table:
    access, uri = table.access, table.uri
    where, options = lance_location(uri, table.storage_options)
    rules = Rules(access.allow_outside_index, strict=False, limits=access.scan_limits)
    try:
        version, _, schema = describe(where, options, rules=rules)
        names = [name for name in schema.names if columns is None or name in columns]
        if not names:
            return schema.empty_table()
        return read(where, options, version, names, {}, rules=rules, max_answer_bytes=_MAX_BYTES)
    except LanceProcessError as error:
        raise StoreError(f"Lance could not read the table: {error}", uri=uri) from error
    except TableRefusedError as error:
        raise CorruptMediaError(str(error), uri=uri) from error
    except LanceCallError as error:
        if _IS_MISSING.search(str(error)):
            raise MediaNotFoundError("expected a Lance table, found none", uri=uri) from error
        raise CorruptMediaError(
            f"expected a Lance table, found that Lance cannot read it: {error}", uri=uri
        ) from error
