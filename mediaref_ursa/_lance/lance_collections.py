"""Lance requests for a collection: rows found by URI, merged in, deleted, and the table kept tidy.

Called by :mod:`mediaref_ursa._lance.lance_calls` alone, in a process that may call Lance.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._lance.lance_blobs import quoted_text
from mediaref_ursa._lance.lance_commits import VERSIONS_KEPT, latest, repeated

with needs_extra("video"):
    import lance
    import pyarrow as pa

_KEYS = ("uri", "segment_idx")
_CONFLICT_RETRIES = 20


def find_rows(dataset: lance.LanceDataset, uris: Sequence[str], columns: list[str]) -> pa.Table:
    """Return columns of the rows of some URIs, in any order: the scalar index finds them, or a scan."""
    found = dataset.scanner(columns=[], filter=_is_one_of(uris), with_row_id=True).to_table()
    ids = found.column("_rowid").to_pylist()
    # Taking rows whose data are damaged is an error, where scanning them can end the process.
    return dataset._take_rows(ids, columns=columns)


def count_videos(dataset: lance.LanceDataset) -> int:
    """Return how many rows are the first segment of a video."""
    return int(dataset.count_rows("segment_idx = 0"))


def create_table(uri: str, options: dict[str, str] | None, empty: pa.Table) -> None:
    """Make a table without rows and its scalar index, unless another writer was first.

    ``write_dataset`` is not safe here: of two writers that make one table at once the second overwrites the
    first one's, and what was merged into it by then. A commit that is not tried again fails instead. The
    table has the file format that Lance writes by default: 2.2, or 2.1 with older releases of it.

    Args:
        uri: Where it goes.
        options: Lance's.
        empty: The columns. Those of the key are declared as Lance's primary key, so that of two writers
            that insert one key at once the second merges anew.
    """
    fields = [
        field.with_metadata(_primary_key(_KEYS.index(field.name))).with_nullable(False)
        if field.name in _KEYS
        else field
        for field in empty.schema
    ]
    schema = pa.schema(fields, metadata=empty.schema.metadata)
    try:
        dataset = lance.LanceDataset.commit(
            uri,
            lance.LanceOperation.Overwrite(schema, []),
            storage_options=options,
            enable_v2_manifest_paths=True,
            max_retries=0,
        )
    except (OSError, ValueError, RuntimeError) as error:
        if _opens(uri, options):  # another writer made it
            return
        raise error from None
    repeated(lambda: _make_index(latest(dataset)))


def _opens(uri: str, options: dict[str, str] | None) -> bool:
    try:
        lance.dataset(uri, storage_options=options)
    except (OSError, ValueError, RuntimeError):
        return False
    return True


def _make_index(dataset: lance.LanceDataset) -> None:
    if not dataset.describe_indices():
        dataset.create_scalar_index("uri", "BTREE")


def merge_rows(dataset: lance.LanceDataset, rows: pa.Table) -> None:
    """Put rows in, in one commit; those of the same URI and segment are replaced."""
    schema = pa.schema([dataset.schema.field(name) for name in rows.schema.names])
    merge = dataset.merge_insert(list(_KEYS)).when_matched_update_all().when_not_matched_insert_all()
    merge.conflict_retries(_CONFLICT_RETRIES).execute(rows.cast(schema))


def delete_rows(dataset: lance.LanceDataset, uris: Sequence[str], first_segment: int) -> None:
    """Delete the rows of some URIs from a segment on, in one commit."""
    condition = f"segment_idx >= {int(first_segment)} AND {_is_one_of(uris)}"

    repeated(lambda: latest(dataset).delete(condition))


def tidy(dataset: lance.LanceDataset, kept: timedelta, *, compact: bool) -> None:
    """Put new rows into the scalar index; with ``compact`` also join small files and drop old versions."""
    if compact:
        repeated(lambda: latest(dataset).optimize.compact_files())  # noqa: PLW0108 - the latest each time
    if not dataset.describe_indices():  # who made the table was killed before it had one
        repeated(lambda: _make_index(latest(dataset)))
    repeated(lambda: latest(dataset).optimize.optimize_indices())  # noqa: PLW0108
    if compact:
        latest(dataset).cleanup_old_versions(older_than=kept, retain_versions=VERSIONS_KEPT)


def _is_one_of(uris: Sequence[str]) -> str:
    """Return the condition that a row is of one of some URIs."""
    return f"uri IN ({', '.join(map(quoted_text, uris))})"


def _primary_key(position: int) -> dict[str, str]:
    return {
        "lance-schema:unenforced-primary-key": "true",
        "lance-schema:unenforced-primary-key:position": str(position + 1),
    }
