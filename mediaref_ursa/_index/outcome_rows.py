"""Outcomes of scans as rows of an Arrow table: how workers pass them to the process that commits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mediaref_ursa._core import errors
from mediaref_ursa._core.errors import InvalidReferenceError, MediaRefError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._index.collection_build import AddedVideo, Outcome
from mediaref_ursa._index.collection_table import CollectionTable

with needs_extra("video"):
    import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("key", pa.string()),
        ("state", pa.string()),
        ("frames", pa.int64()),
        ("segments", pa.int64()),
        ("problems", pa.list_(pa.string())),
        ("error_class", pa.string()),
        ("error_text", pa.string()),
        ("left_from", pa.int64()),
        ("rows", pa.large_binary()),
    ]
)


@dataclass(frozen=True)
class OutcomeRow:
    """An outcome as it arrives.

    Attributes:
        key: The video as rows of the collection name it; its URI where no row can name it.
        values: The columns of the row.
    """

    key: str
    values: dict[str, Any]

    def to_outcome(self) -> Outcome:
        """Return the outcome, to be committed."""
        values = self.values
        error = None
        if values["error_class"] is not None:
            kind = getattr(errors, values["error_class"], MediaRefError)
            error = kind(values["error_text"], uri=values["uri"])
        video = AddedVideo(
            values["uri"],
            values["state"],
            values["frames"],
            values["segments"],
            tuple(values["problems"]),
            error,
        )
        rows = None if values["rows"] is None else pa.ipc.open_stream(values["rows"]).read_all()
        return Outcome(video, rows, values["left_from"], self.key)


def to_table(table: CollectionTable, outcomes: Sequence[Outcome]) -> pa.Table:
    """Return outcomes as rows of ``SCHEMA``.

    Args:
        table: The collection, which knows the keys of its rows.
        outcomes: Those of some videos.
    """
    return pa.Table.from_pylist([_row(table, outcome) for outcome in outcomes], schema=SCHEMA)


def from_table(rows: pa.Table) -> Iterator[OutcomeRow]:
    """Yield the rows of a table of ``SCHEMA``, one at a time."""
    for number in range(rows.num_rows):
        values = rows.slice(number, 1).to_pylist()[0]
        yield OutcomeRow(values["key"], values)


def _row(table: CollectionTable, outcome: Outcome) -> dict[str, Any]:
    video = outcome.video
    return {
        "uri": video.uri,
        "key": outcome.key or _key(table, video.uri),
        "state": video.state,
        "frames": video.frames,
        "segments": video.segments,
        "problems": list(video.problems),
        "error_class": None if video.error is None else type(video.error).__name__,
        "error_text": None if video.error is None else video.error.message,
        "left_from": outcome.left_from,
        "rows": None if outcome.rows is None else _packed(outcome.rows),
    }


def _key(table: CollectionTable, uri: str) -> str:
    try:
        return table.key_of(uri)
    except InvalidReferenceError:
        return uri


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue())
