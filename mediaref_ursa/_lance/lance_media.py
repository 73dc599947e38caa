"""Lance requests for media: ranges of blobs, and the steps of packing files into a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mediaref_ursa._core.blob_uris import BlobUri
from mediaref_ursa._lance.lance_blobs import BYTES
from mediaref_ursa._lance.lance_calls import MAX_SCHEMA_BYTES, Rules, call

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class BlobRead:
    """Ranges of one blob.

    Attributes:
        blob: The column and the key.
        ranges: ``(offset, length)`` of each; none to ask where the blob is.
        version: Version and size that it must have; None for any.
    """

    blob: BlobUri
    ranges: Sequence[tuple[int, int]] = ()
    version: tuple[str, int] | None = None


BlobAnswer = tuple[dict[str, Any], list[bytes]]
"""``row``, ``size`` and ``version`` of a blob, and the bytes of its ranges; or ``problem``, and no bytes."""


def read_blobs(
    uri: str,
    options: dict[str, str],
    reads: Sequence[BlobRead],
    *,
    others: Sequence[str] = (),
    rules: Rules,
    confine_to: str | None = None,
) -> list[BlobAnswer]:
    """Return where blobs of a table are, and the bytes of their ranges, read in one call of Lance.

    Args:
        uri: Where the table is, as Lance reads it.
        options: Those of Lance.
        reads: The blobs and what is read of each.
        others: Keys in the same columns that will be asked for next, whose rows are looked up together.
        rules: What may be read.
        confine_to: A folder that no link among the files of a local table may lead out of.

    Raises:
        LanceCallError: The table cannot be read.
        TableRefusedError: It is not as the rules have it.
    """
    asked = {
        "do": "read_blobs",
        "uri": uri,
        "options": options,
        "blobs": [
            {
                "column": read.blob.column,
                "key_column": read.blob.key_column,
                "key": read.blob.key,
                "ranges": [list(pair) for pair in read.ranges],
                "version": None if read.version is None else list(read.version),
            }
            for read in reads
        ],
        "others": list(others),
        "confine_to": confine_to,
    }
    max_bytes = len(reads) * MAX_SCHEMA_BYTES + sum(length for read in reads for _, length in read.ranges)
    answer, table = call(asked, rules=rules, max_answer_bytes=max_bytes)
    data = iter(answer.get(BYTES, []) if table is None else table.column(BYTES).to_pylist())
    return [
        (found, [] if "problem" in found else [next(data) for _ in read.ranges])
        for read, found in zip(reads, answer["found"], strict=True)
    ]


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
