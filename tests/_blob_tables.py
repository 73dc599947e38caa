"""Lance tables of blobs, as any program writes them, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
from lance import blob_array, blob_field

from mediaref_ursa import blob_uri


class BlobTable:
    """A table with the columns ``key`` and ``video``.

    Args:
        uri: Where it goes.
        options: Those of Lance, for a table in a cloud store.
        stable: Whether its rows have stable ids.
    """

    def __init__(
        self, uri: str | Path, options: Mapping[str, str] | None = None, *, stable: bool = True
    ) -> None:
        self.uri = str(uri)
        self._options: dict[str, Any] = dict(options or {})
        self.schema = pa.schema([pa.field("key", pa.string()), blob_field("video")])
        lance.write_dataset(
            self.rows({}),
            self.uri,
            storage_options=self._options,
            data_storage_version="2.2",
            enable_stable_row_ids=stable,
        )

    def rows(self, media: Mapping[str, Any]) -> pa.Table:
        values: Sequence[Any] = list(media.values())
        return pa.table([pa.array(list(media), pa.string()), blob_array(list(values))], schema=self.schema)

    def open(self) -> lance.LanceDataset:
        return lance.dataset(self.uri, storage_options=self._options)

    def put(self, key: str, data: bytes) -> str:
        """Write a row, in place of the one with that key if there is one; return the blob's URI."""
        upsert = self.open().merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
        upsert.execute(self.rows({key: data}))
        return blob_uri(self.uri, "video", key)

    def add(self, media: Mapping[str, Any], **options: Any) -> None:
        """Append rows in one commit."""
        lance.write_dataset(
            self.rows(media), self.uri, mode="append", storage_options=self._options, **options
        )
