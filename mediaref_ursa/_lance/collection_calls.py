"""The calls to Lance of a collection: rows found, counted, merged in and deleted, by ``lance_calls``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._lance.lance_calls import MAX_SCHEMA_BYTES, Rules, call

with needs_extra("video"):
    import pyarrow as pa

_COLLECTION = Rules(is_collection=True)


def find(
    uri: str,
    options: dict[str, str],
    uris: Sequence[str],
    columns: list[str],
    *,
    rules: Rules,
    max_answer_bytes: int,
) -> pa.Table:
    """Return columns of the rows of some URIs in the latest version of a collection, in any order.

    Args:
        uri: Where the table is, as Lance reads it.
        options: Those of Lance.
        uris: As the rows have them.
        columns: Their names.
        rules: What may be read.
        max_answer_bytes: How much the columns may take, where the rules have limits.

    Raises:
        LanceCallError: There is no table, or its rows cannot be read.
        TableRefusedError: The table is not as the rules have it.
    """
    asked = {**_request("find", uri, options), "uris": list(uris), "columns": columns}
    _, table = call(asked, rules=rules, max_answer_bytes=max_answer_bytes)
    assert table is not None
    return table


def count_videos(uri: str, options: dict[str, str], version: int, rules: Rules) -> int:
    """Return how many videos one version of a collection has.

    Raises:
        LanceCallError: Its rows cannot be read.
        TableRefusedError: The table is not as the rules have it.
    """
    asked = {**_request("count_videos", uri, options), "version": version}
    answer, _ = call(asked, rules=rules, max_answer_bytes=MAX_SCHEMA_BYTES)
    return int(answer["videos"])


def create(uri: str, options: dict[str, str], empty: pa.Table) -> None:
    """Make a collection without rows, unless there is one.

    Raises:
        LanceCallError: Lance cannot write there.
    """
    call(_request("create", uri, options), empty)


def merge(uri: str, options: dict[str, str], rows: pa.Table) -> None:
    """Put rows into a collection in one commit; those of the same URI and segment are replaced.

    Raises:
        LanceCallError: Lance cannot write there.
    """
    call(_request("merge", uri, options), rows, _COLLECTION)


def delete(uri: str, options: dict[str, str], uris: Sequence[str], first_segment: int = 0) -> None:
    """Delete a collection's rows of some URIs, from a segment on, in one commit.

    Raises:
        LanceCallError: Lance cannot write there.
    """
    asked = {**_request("delete", uri, options), "uris": list(uris), "first_segment": first_segment}
    call(asked, rules=_COLLECTION)


def tidy(uri: str, options: dict[str, str], *, compact: bool) -> None:
    """Put a collection's new rows into its scalar index; with ``compact`` also join files and clean up.

    Raises:
        LanceCallError: Lance cannot write there.
    """
    call({**_request("tidy", uri, options), "compact": compact}, rules=_COLLECTION)


def _request(do: str, uri: str, options: dict[str, str]) -> dict[str, Any]:
    return {"do": do, "uri": uri, "options": options}
