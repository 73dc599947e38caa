"""The videos that a table of references names: Parquet, Arrow (Feather) and JSON lines on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mediaref_ursa._core.errors import InvalidReferenceError, MediaNotFoundError, StoreError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.uris import is_relative_path
from mediaref_ursa._references.arrow import reference_columns_in
from mediaref_ursa._references.columns import reference_columns
from mediaref_ursa.store._glob import TABLE_SUFFIXES

with needs_extra("video"):
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.json
    import pyarrow.parquet as pq

_ROWS_AT_ONCE = 1 << 16


def videos_of_table(path: str, base_dir: str | None = None) -> list[str]:
    """Return the videos that the references of a table name, each once, in the order of their first rows.

    Args:
        path: The table; every column that holds references counts, or its columns ``uri`` and ``pts_ns``.
        base_dir: Where relative references begin; the working directory without it.

    Raises:
        InvalidReferenceError: It is no such table, or holds no references.
        MediaNotFoundError: There is none.
        StoreError: It cannot be read.
    """
    found: dict[str, None] = {}
    try:
        for table in _blocks(path):
            found |= dict.fromkeys(_videos_of_block(table))
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise InvalidReferenceError(
            f"expected a table of references ({', '.join(TABLE_SUFFIXES)}), found none: {error!s:.300}",
            uri=path,
        ) from error
    except FileNotFoundError as error:
        raise MediaNotFoundError("there is no such table", uri=path) from error
    except OSError as error:
        raise StoreError(f"the table cannot be read: {error.strerror or error}", uri=path) from error
    if base_dir is None:
        return list(found)
    return [os.path.join(base_dir, uri) if is_relative_path(uri) else uri for uri in found]  # noqa: PTH118


def _blocks(path: str) -> Iterator[pa.Table]:
    """Yield the columns of a table that may hold references, of Parquet some thousand rows at a time."""
    kind = Path(path).suffix.lower()
    if kind == ".parquet":
        with pq.ParquetFile(path, memory_map=True) as file:
            names = _names(file.schema_arrow)
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names):
                yield pa.Table.from_batches([batch])
        return
    table = (
        pyarrow.json.read_json(path)
        if kind in (".jsonl", ".ndjson")
        else pyarrow.feather.read_table(path, memory_map=True)
    )
    yield table.select(_names(table.schema))


def _names(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if field.name == "pts_ns" or "string" in str(field.type)]


def _videos_of_block(table: pa.Table) -> Iterator[str]:
    positions = reference_columns_in(table)
    if not positions and table.num_rows:
        yield from reference_columns(table).videos()
    for position in positions:
        yield from reference_columns(table.column(position).drop_null()).videos()
