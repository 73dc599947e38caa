"""``pack_videos``: media files and their frame indexes put into one Lance table."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mediaref_ursa._core.blob_uris import KEY_COLUMN, blob_uri
from mediaref_ursa._core.errors import InvalidReferenceError, MediaRefError, MissingExtraError, StoreError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.uris import (
    absolute_location,
    is_cloud,
    is_local,
    local_path,
    scheme_of,
    several,
)
from mediaref_ursa._index.folder_lock import FolderLock
from mediaref_ursa._index.packed_file import (
    PackedFile,
    ReadyFile,
    checked_keys,
    keys_below,
    temporary_folder,
)
from mediaref_ursa._lance.lance_location import lance_location, without_request_details
from mediaref_ursa._model.access import TRUSTED
from mediaref_ursa.layout import COLLECTION_KEY
from mediaref_ursa.store import ObjectStore
from mediaref_ursa.store._asked_together import asked_together
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    import pyarrow as pa

    from mediaref_ursa._index.collection_schema import SCHEMA, VERSION, checked_text
    from mediaref_ursa._index.collection_table import CollectionTable, rows_of
    from mediaref_ursa._index.lance_table import check_writable
    from mediaref_ursa._lance.lance_calls import describe
    from mediaref_ursa._lance.lance_files import TableRefusedError
    from mediaref_ursa._lance.lance_media import pack
    from mediaref_ursa._lance.lance_packing import SOURCE
    from mediaref_ursa._lance.lance_process import LanceCallError

Failed = Callable[[int, MediaRefError], None]
"""Called with the position of a file that is left out, and its error."""

METADATA_KEY = "mediaref_ursa_packed"
_VERSION = "1.0"
_COMMIT_BYTES, _COMMIT_FILES = 512 << 20, 512
_ASKED_AT_ONCE = 256


@set_module("mediaref_ursa")
def pack_videos(
    uris: Iterable[str | os.PathLike[str]],
    table: str | os.PathLike[str],
    *,
    columns: Any = None,
    keys: Sequence[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    column: str = "video",
    index: bool = True,
    jobs: int = 1,
    store: ObjectStore | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
    on_error: Callable[[MediaRefError], None] | None = None,
) -> list[str]:
    """Copy videos or images into one Lance table, one row a file, and return their URIs in it.

    The table holds the bytes of the files, untouched, and the frame index of each video, and is a data set by
    itself: copied to a bucket, frames are decoded out of it by byte ranges, as out of files. It is a
    collection, too: ``CollectionIndex.open(table)`` yields the URIs of its videos.

    Files are copied piece by piece, and committed some hundred of them, or some hundred megabytes, at a time.
    What is in the table already is left alone, so that a call that was killed goes on where it was when it is
    made again; no file is ever there twice or in part. Of several writers of a table on this machine none
    puts in what another has; a table in a cloud store takes one writer at a time.

    Args:
        uris: The files: paths or URIs.
        table: The table, such as ``set.lance`` or ``s3://bucket/set.lance``; made unless it is there.
        columns: Further columns of the rows, in the order of ``uris``: a mapping from names to sequences, or
            a table of Arrow, pandas or Polars. A table that is there has these columns already.
        keys: The key of each row, by which references find it; if not given, the path of the file below
            ``root``.
        root: The folder or bucket that keys begin below; if not given, the folder that holds all of the
            files, which may be another one for files that are added later.
        column: The column that holds the media.
        index: Whether the files are videos, which are scanned unless there is a fresh index of them: their
            indexes go into the table. False for images.
        jobs: Videos that are scanned at once, on threads.
        store: Where the files are read from; by their scheme if not given.
        storage_options: For cloud stores, those of the files and that of the table.
        progress: Called with the URI of each file, as it was given, once it is in the table.
        on_error: Called with the error of each file that cannot be read or is no video, and then left out;
            without it the first such error is raised.

    Returns:
        The URI of each file's media in the table, in the order of ``uris``, as :func:`blob_uri` writes it;
        those that were left out, with ``on_error``, are not among them.

    Raises:
        TypeError: One path in place of several, or keys that are no texts.
        ValueError: Two files of one key, another number of keys or rows than files, a file outside ``root``,
            columns that differ from those of the table, no such ``column``, fewer jobs than one, or a table
            whose name does not end in ``.lance``.
        InvalidReferenceError: A file whose name is no UTF-8.
        MediaChangedError: The table has another file under the same key, by its length or, of files and a
            table on this machine, by its first and last 64 KiB; or a file changed while it was copied.
        StoreError: A file cannot be read, the table cannot be written, or it was not made by this function.
        UnsupportedMediaError: A file is no video, with ``index``. Those that were committed before stay.

    Example:
        >>> from mediaref_ursa import batch_decode, pack_videos
        >>> uris = pack_videos(["clip.mp4"], "set.lance", columns={"split": ["train"]})
        >>> uris
        ['set.lance/@video/clip.mp4']
        >>> batch_decode([{"uri": uris[0], "pts_ns": 0}])[0].shape
        (96, 128, 3)
    """
    given = [os.fspath(uri) for uri in several(uris)]
    _check_arguments(column, jobs)
    files = [Location(uri, store, storage_options).absolute() for uri in given]
    if keys is not None and root is not None:
        raise ValueError("expected keys= or root=, found both: each names the rows")
    below = None if root is None else absolute_location(root)
    named = checked_keys(
        keys_below([file.uri for file in files], below) if keys is None else keys, len(given)
    )
    packed: dict[int, str] = {}

    def failed(row: int, error: MediaRefError) -> None:
        packed.pop(row, None)
        if on_error is None:
            raise error
        on_error(error)

    for row, key in enumerate(named):
        try:
            packed[row] = blob_uri(table, column, checked_text(key, given[row]))
        except InvalidReferenceError as error:
            named[row] = ""  # no row of the table
            failed(row, error)
    reserved = {KEY_COLUMN, SOURCE, column, *(SCHEMA.names if index else ())}
    rows = _rows_of(columns, named, reserved)
    target = _PackedTable(
        absolute_location(table), dict(storage_options or {}), column, index=index, jobs=jobs
    )
    rows = target.opened(rows)
    report = progress or (lambda _: None)
    for batch in _batches(target, given, files, named, report, failed):
        for file in target.append(batch, rows, failed):
            report(given[file.row])
    target.finish()
    return [packed[row] for row in sorted(packed)]


def _check_arguments(column: str, jobs: int) -> None:
    if not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"expected jobs to be 1 or more, found {jobs!r}")
    if column in {KEY_COLUMN, SOURCE, *SCHEMA.names} or "`" in column:
        raise ValueError(
            "expected a column of another name than those of keys and indexes, and without backticks, "
            f"found {column!r}"
        )


@dataclass
class _PackedTable:
    """The table that media are put into."""

    uri: str
    options: Mapping[str, Any] = field(repr=False)
    column: str
    index: bool
    jobs: int

    def opened(self, rows: pa.Table) -> pa.Table:
        """Open the table, or make it, and return keys and further columns with the types that it has.

        Raises:
            StoreError: It was not made here, or cannot be opened.
            ValueError: It has other columns.
        """
        if not (is_local(self.uri) or is_cloud(self.uri)):
            raise StoreError(
                "expected a table on this machine or in a cloud store, found the scheme "
                f"'{scheme_of(self.uri)}', which Lance does not write to",
                uri=self.uri,
            )
        check_writable(self.uri)
        schema = self._schema()
        if schema is None:
            self._create(rows.schema)
            schema = self._schema()
        return self._cast(rows, schema)

    def _create(self, columns: pa.Schema) -> None:
        metadata = {METADATA_KEY: json.dumps({"version": _VERSION, "column": self.column})}
        fields = list(columns)
        if self.index:
            root = self._collection.root.removeprefix(f"{self.uri}/")
            metadata[COLLECTION_KEY] = json.dumps({"version": "{}.{}".format(*VERSION), "root": root})
            fields += list(SCHEMA)
        empty = pa.schema(fields, metadata=metadata).empty_table()
        self._do("create", empty, column=self.column)

    @property
    def _collection(self) -> CollectionTable:
        """The table as a collection, whose videos are its own blobs."""
        root = blob_uri(self.uri, self.column, "x").removesuffix("/x")
        return CollectionTable(self.uri, self.options, TRUSTED, root)

    def _schema(self) -> pa.Schema | None:
        location, options = lance_location(self.uri, self.options)
        with _mapped_errors(self.uri):
            try:
                return describe(location, options)[2]
            except LanceCallError as error:
                if "was not found" in str(error):
                    return None
                raise

    def _cast(self, rows: pa.Table, schema: pa.Schema | None) -> pa.Table:
        text = None if schema is None else (schema.metadata or {}).get(METADATA_KEY.encode())
        if schema is None or text is None or json.loads(text).get("column") != self.column:
            raise StoreError(
                f"expected a table that pack_videos made for the column {self.column!a}, found another; name "
                "another table",
                uri=self.uri,
            )
        if self.index != (COLLECTION_KEY.encode() in schema.metadata):
            raise StoreError(
                "expected a table of videos with their indexes, found one without; add to it with index=False"
                if self.index
                else "expected a table of media without indexes, found one of videos; name another table",
                uri=self.uri,
            )
        indexes = SCHEMA.names if self.index else ()
        own = [column for column in schema if column.name not in (self.column, *indexes)]
        names = [column.name for column in own]
        if sorted(names) != sorted(rows.column_names):
            raise ValueError(
                f"expected the columns {names[1:]} that the table has, found {rows.column_names[1:]}"
            )
        try:
            return rows.select(names).cast(pa.schema(own))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"expected columns of the types that the table has: {error}") from error

    def sizes(self, keys: Sequence[str]) -> dict[str, int | None]:
        """Return the size of the media of those of some keys that the table has."""
        found: dict[str, int | None] = {}
        for first in range(0, len(keys), _ASKED_AT_ONCE):
            some = list(keys[first : first + _ASKED_AT_ONCE])
            found |= self._do("sizes", column=self.column, keys=some)["sizes"]
        return found

    def append(self, files: Sequence[PackedFile], rows: pa.Table, failed: Failed) -> list[PackedFile]:
        """Copy files into the table, and commit those that no other writer has put in meanwhile.

        Returns:
            The files that are in the table now; ``failed`` was called with the errors of the others.
        """
        with temporary_folder() as folder:
            ready = self._ready(files, folder, failed)
            files = [one.file for one in ready]
            if not files:
                return files
            taken = self._with_sources(rows.take([file.row for file in files]), ready)
            written = self._do("write", taken, column=self.column)["fragments"]
        changed = False
        for file in files:
            try:
                file.check_unchanged()
            except MediaRefError as error:
                failed(file.row, error)
                files = [other for other in files if other is not file]
                changed = True
        if changed:  # what was written has the others as well
            return self.append(files, rows, failed)
        with self._alone():
            known = self.sizes([file.key for file in files])
            if not known:
                self._do("commit", fragments=written)
        left = [file for file in files if file.key not in known] if known else []
        return (
            files
            if not left
            else [file for file in files if file.key in known] + self.append(left, rows, failed)
        )

    def _ready(self, files: Sequence[PackedFile], folder: Path, failed: Failed) -> list[ReadyFile]:
        """Return the files that can be read, their bytes on this machine, and scanned if they are videos."""
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="mediaref-pack") as pool:
            tasks = [pool.submit(file.ready_in, folder, self._blob_of(file)) for file in files]
        found = []
        for file, task in zip(files, tasks, strict=True):
            try:
                found.append(task.result())
            except MissingExtraError:  # every other file would fail in the same way
                raise
            except MediaRefError as error:
                failed(file.row, error)
        return found

    def _blob_of(self, file: PackedFile) -> str | None:
        return blob_uri(self.uri, self.column, file.key) if self.index else None

    def _with_sources(self, rows: pa.Table, files: Sequence[ReadyFile]) -> pa.Table:
        """Return rows with what Lance copies, and with the columns of a collection for videos."""
        rows = rows.append_column(SOURCE, pa.array([one.source for one in files], pa.string()))
        tables = {one.table.info.uri: [one.table] for one in files if one.table is not None}
        if tables:
            indexes = rows_of(self._collection, tables)
            for name in SCHEMA.names:
                rows = rows.append_column(SCHEMA.field(name), indexes.column(name))
        return rows

    def finish(self) -> None:
        """Put the new rows into the index of the keys."""
        self._do("finish", indexed=[KEY_COLUMN, "uri"] if self.index else [KEY_COLUMN])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Exclude other writers of a table on this machine."""
        if not is_local(self.uri):
            yield
            return
        with FolderLock(Path(local_path(self.uri))) as lock:
            lock.exclude_others()
            yield

    def _do(self, step: Any, table: pa.Table | None = None, **asked: Any) -> dict[str, Any]:
        location, options = lance_location(self.uri, self.options)
        with _mapped_errors(self.uri):
            return pack(step, location, options, table, **asked)


def _batches(
    target: _PackedTable,
    given: Sequence[str],
    files: Sequence[Location],
    keys: Sequence[str],
    report: Callable[[str], None],
    failed: Failed,
) -> Iterator[list[PackedFile]]:
    """Yield the files that the table does not have, those of one commit together."""
    batch: list[PackedFile] = []
    rows = [row for row, key in enumerate(keys) if key]
    for first in range(0, len(rows), _ASKED_AT_ONCE):
        some = rows[first : first + _ASKED_AT_ONCE]
        known = target.sizes([keys[row] for row in some])
        there = {key: blob_uri(target.uri, target.column, key) for key in known}
        for row in some:
            try:
                file = PackedFile.at(files[row], row, keys[row])
                if file.key in known:
                    with asked_together(there.values()):
                        file.check_same(known[file.key], there[file.key])
            except MissingExtraError:
                raise
            except MediaRefError as error:
                failed(row, error)
                continue
            if file.key in known:
                report(given[row])
                continue
            if batch and sum(other.info.size for other in batch) + file.info.size > _COMMIT_BYTES:
                yield batch
                batch = []
            batch.append(file)
            if len(batch) == _COMMIT_FILES:
                yield batch
                batch = []
    if batch:
        yield batch


def _rows_of(columns: Any, keys: Sequence[str], reserved: set[str]) -> pa.Table:
    """Return the keys, and further columns behind them, as a table with a row for each file."""
    key = pa.field(KEY_COLUMN, pa.string(), nullable=False)
    named = pa.table([pa.array(keys, pa.string())], schema=pa.schema([key]))
    if columns is None:
        return named
    rows = pa.table(dict(columns) if isinstance(columns, Mapping) else columns)
    if reserved & set(rows.column_names):
        names = ", ".join(sorted(reserved & set(rows.column_names)))
        raise ValueError(f"expected columns of other names than those of keys and media, found {names}")
    if rows.num_rows != len(keys):
        raise ValueError(f"expected columns of {len(keys)} rows, one a file, found {rows.num_rows}")
    return rows.add_column(0, key, named.column(0))


@contextmanager
def _mapped_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except TableRefusedError as error:
        raise StoreError(str(error), uri=uri) from error
    except LanceCallError as error:
        raise StoreError(
            f"the table cannot be written: {without_request_details(str(error))}", uri=uri
        ) from error
