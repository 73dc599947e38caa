"""Lance requests for media: ranges of blobs, and the steps of packing files into a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mediaref_ursa._core.blob_uris import BlobUri
from mediaref_ursa._lance.lance_blobs import BYTES
from mediaref_ursa._lance.lance_calls import MAX_SCHEMA_BYTES, Rules, call

if TYPE_CHECKING:
    import pyarrow as pa


def read_blob(
    uri: str,
    options: dict[str, str],
    blob: BlobUri,
    ranges: Sequence[tuple[int, int]] = (),
    version: tuple[str, int] | None = None,
    *,
    others: Sequence[str] = (),
    rules: Rules,
    confine_to: str | None = None,
) -> tuple[dict[str, Any], list[bytes]]:
    """Return where a blob is, and the bytes of each ``(offset, length)``, read in one call of Lance.

    Args:
        uri: Where the table is, as Lance reads it.
        options: Those of Lance.
        blob: The column and the key.
        ranges: What is read of it.
        version: Version and size that it must have; None for any.
        others: Keys in the same columns that will be asked for next, whose rows are looked up together.
        rules: What may be read.
        confine_to: A folder that no link among the files of a local table may lead out of.

    Returns:
        ``row``, ``size`` and ``version``; or ``problem``, and then no bytes.

    Raises:
        LanceCallError: The table cannot be read.
        TableRefusedError: It is not as the rules have it.
    """
    asked = {
        "do": "read_blob",
        "uri": uri,
        "options": options,
        "column": blob.column,
        "key_column": blob.key_column,
        "key": blob.key,
        "others": list(others),
        "ranges": [list(pair) for pair in ranges],
        "version": None if version is None else list(version),
        "confine_to": confine_to,
    }
    max_bytes = MAX_SCHEMA_BYTES + sum(length for _, length in ranges)
    found, table = call(asked, rules=rules, max_answer_bytes=max_bytes)
    if table is not None:  # from another process
        return found, table.column(BYTES).to_pylist()
    return found, found.pop(BYTES, [])


def pack(
    step: Literal["create", "sizes", "write", "commit", "finish"],
    uri: str,
    options: dict[str, str],
    table: pa.Table | None = None,
    **asked: Any,
) -> dict[str, Any]:
    """Perform one step of packing media into a table: see :mod:`mediaref_ursa._lance.lance_packing`.

    Raises:
        LanceCallError: Lance cannot do it.
    """
    return call({"do": f"pack_{step}", "uri": uri, "options": options, **asked}, table)[0]
