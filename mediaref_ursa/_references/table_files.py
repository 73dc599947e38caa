"""The videos that a table of references names: Parquet, Arrow (Feather), JSON lines, and blocks of others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mediaref_ursa._core.errors import InvalidReferenceError, MediaNotFoundError, StoreError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.uris import is_relative_path
from mediaref_ursa._references.arrow import reference_columns_in
from mediaref_ursa._references.columns import reference_columns
from mediaref_ursa.store._glob import TABLE_SUFFIXES

with needs_extra("video"):
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.feather
    import pyarrow.json
    import pyarrow.parquet as pq

_ROWS_AT_ONCE = 1 << 16


def videos_of_table(
    path: str, base_dir: str | None = None, blocks: Iterable[pa.Table] | None = None
) -> list[str]:
    """Return the videos that the references of a table name, each once, in the order of their first rows.

    Args:
        path: The table; every column that holds references counts, or its columns ``uri`` and ``pts_ns``.
        base_dir: Where relative references begin; the working directory without it.
        blocks: Its columns that may hold references, some rows at a time; read from ``path`` without it.

    Raises:
        InvalidReferenceError: It is no such table, or holds no references.
        MediaNotFoundError: There is none.
        StoreError: It cannot be read.
    """
    found: dict[str, None] = {}
    try:
        for table in _blocks(path) if blocks is None else blocks:
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


def open_dataset(source: str | pa.Buffer, name: str) -> ds.Dataset:
    """Open a table of Parquet, Arrow (Feather) or JSON lines, by the suffix of its name; Parquet without one.

    URIs within structs of Parquet come as dictionaries, since they repeat. JSON lines, and bytes in memory,
    are read now.

    Args:
        source: The path of a file, or of a folder of Parquet files, or the bytes of a file.
        name: Its path or URI.

    Raises:
        pyarrow.ArrowException: It is no such table; ValueError and OSError too.
    """
    suffix = Path(name).suffix.lower()
    is_path = isinstance(source, str)
    if suffix in (".jsonl", ".ndjson"):
        return ds.dataset(pyarrow.json.read_json(source if is_path else pa.BufferReader(source)))
    if suffix in (".arrow", ".feather"):
        return ds.dataset(source, format="ipc") if is_path else ds.dataset(pyarrow.feather.read_table(source))
    if not is_path:
        return ds.dataset(pq.read_table(pa.BufferReader(source)))
    first = next(iter(sorted(Path(source).rglob("*.parquet"))), None) if Path(source).is_dir() else source
    fields = () if first is None else pq.read_schema(first)
    repeated = [f"{field.name}.uri" for field in fields if pa.types.is_struct(field.type)]
    reading = ds.ParquetReadOptions(dictionary_columns=repeated)
    return ds.dataset(source, format=ds.ParquetFileFormat(read_options=reading))


def _blocks(path: str) -> Iterator[pa.Table]:
    """Yield the columns of a table that may hold references, some thousand rows at a time."""
    dataset = open_dataset(path, path)
    for batch in dataset.to_batches(columns=names_of_references(dataset.schema), batch_size=_ROWS_AT_ONCE):
        yield pa.Table.from_batches([batch])


def names_of_references(schema: pa.Schema) -> list[str]:
    """Return the names of the columns that may hold references, or parts of them."""
    return [field.name for field in schema if field.name == "pts_ns" or "string" in str(field.type)]


def _videos_of_block(table: pa.Table) -> Iterator[str]:
    positions = reference_columns_in(table)
    if not positions and table.num_rows:
        yield from reference_columns(table).videos()
    for position in positions:
        yield from reference_columns(table.column(position).drop_null()).videos()
