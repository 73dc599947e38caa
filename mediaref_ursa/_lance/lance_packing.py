"""Media put into a Lance table, one row a file, within this process: the steps that ``pack_videos`` makes.

Files are written first and committed afterwards, so that what is committed can be compared with what the
table has by then. Lance copies a file into the table piece by piece: its size takes no memory.
"""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from typing import Any, Final

from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._lance.lance_blobs import quoted_text
from mediaref_ursa._lance.lance_commits import VERSIONS_KEPT, latest, repeated

with needs_extra("video"):
    import lance
    import pyarrow as pa
    from lance.fragment import FragmentMetadata, write_fragments

_STORAGE_VERSION: Final = "2.2"  # the first with blobs that are files of their own
_OLD_VERSIONS_KEPT = timedelta(hours=1)
_KEY, SOURCE = "key", "mediaref_ursa_source"
_EXISTS = "already exists"

Request = dict[str, Any]
Options = dict[str, str] | None


def create_here(request: Request, options: Options, table: pa.Table | None) -> tuple[Request, None]:
    """Make the table, unless another writer was first.

    ``request`` has ``column``, the name of the column of media; ``table`` the other columns, without rows.
    """
    assert table is not None
    schema = table.schema.append(lance.blob_field(request["column"]))
    empty = pa.Table.from_batches([], schema)
    try:
        lance.write_dataset(
            empty,
            request["uri"],
            mode="create",
            storage_options=options,
            data_storage_version=_STORAGE_VERSION,
            enable_stable_row_ids=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        if _EXISTS not in str(error).lower():
            raise
    return {}, None


def sizes_here(request: Request, options: Options, _: pa.Table | None) -> tuple[Request, None]:
    """Answer ``sizes``: the bytes of the media of those of some keys that the table has, None for null."""
    dataset = lance.dataset(request["uri"], storage_options=options)
    column = request["column"]
    texts = ", ".join(quoted_text(key) for key in request["keys"])
    rows = dataset.scanner(columns=[_KEY, column], filter=f"`{_KEY}` IN ({texts})").to_table()
    blobs = (row[column] for row in rows.select([column]).to_pylist())
    sizes = [None if blob is None else blob["size"] for blob in blobs]
    return {"sizes": dict(zip(rows.column(_KEY).to_pylist(), sizes, strict=True))}, None


def write_here(request: Request, options: Options, table: pa.Table | None) -> tuple[Request, None]:
    """Copy files into the table's folder, and answer ``fragments``, which is what a commit takes.

    ``table`` has the rows; of its column ``SOURCE``, ``file://`` URIs, ``request["column"]`` is made.
    """
    assert table is not None
    dataset = lance.dataset(request["uri"], storage_options=options)
    sources = table.column(SOURCE).to_pylist()
    rows = table.drop_columns([SOURCE]).append_column(
        lance.blob_field(request["column"]),
        lance.blob_array([lance.Blob.from_uri(source) for source in sources]),
    )
    rows = rows.select(dataset.schema.names).cast(dataset.schema)
    fragments = write_fragments(
        rows, dataset, mode="append", storage_options=options, external_blob_mode="ingest"
    )
    return {"fragments": [json.dumps(fragment.to_json()) for fragment in fragments]}, None


def commit_here(request: Request, options: Options, _: pa.Table | None) -> tuple[Request, None]:
    """Append what was written to the table, in one commit."""
    fragments = [FragmentMetadata.from_json(text) for text in request["fragments"]]
    dataset = lance.dataset(request["uri"], storage_options=options)
    append = lance.LanceOperation.Append(fragments)
    lance.LanceDataset.commit(dataset, append, read_version=dataset.version, storage_options=options)
    return {}, None


def finish_here(request: Request, options: Options, _: pa.Table | None) -> tuple[Request, None]:
    """Put new rows into the scalar indexes of some columns, ``indexed``, and drop versions of an hour ago."""
    dataset = lance.dataset(request["uri"], storage_options=options)
    repeated(lambda: latest(dataset).optimize.optimize_indices())  # noqa: PLW0108 - the latest each time
    for name in request["indexed"]:
        repeated(partial(_make_index, dataset, name))
    latest(dataset).cleanup_old_versions(older_than=_OLD_VERSIONS_KEPT, retain_versions=VERSIONS_KEPT)
    return {}, None


def _make_index(dataset: lance.LanceDataset, name: str) -> None:
    dataset = latest(dataset)
    if not any(name in index.field_names for index in dataset.describe_indices()):
        dataset.create_scalar_index(name, "BTREE")


STEPS = {
    "pack_create": create_here,
    "pack_sizes": sizes_here,
    "pack_write": write_here,
    "pack_commit": commit_here,
    "pack_finish": finish_here,
}
"""The functions of these requests by name, for :mod:`mediaref_ursa._lance.lance_calls`."""
