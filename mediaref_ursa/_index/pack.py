"""``pack_videos``: media files put into one Lance table, from which references read them."""

from __future__ import annotations

import json
import os
import posixpath
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from mediaref_ursa._core.blob_uris import KEY_COLUMN, blob_uri
from mediaref_ursa._core.errors import MediaChangedError, StoreError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.uris import (
    absolute_location,
    is_cloud,
    is_local,
    local_path,
    scheme_of,
    without_query,
)
from mediaref_ursa._index.folder_lock import FolderLock
from mediaref_ursa._lance.lance_location import lance_location, without_request_details
from mediaref_ursa.store import LocalStore, ObjectInfo, ObjectStore
from mediaref_ursa.store._location import Location
from mediaref_ursa.store._protocol import ReadsOneVersion

with needs_extra("video"):
    import pyarrow as pa

    from mediaref_ursa._index.lance_table import check_writable
    from mediaref_ursa._lance.lance_calls import describe
    from mediaref_ursa._lance.lance_files import TableRefusedError
    from mediaref_ursa._lance.lance_media import pack
    from mediaref_ursa._lance.lance_packing import SOURCE
    from mediaref_ursa._lance.lance_process import LanceCallError

METADATA_KEY = "mediaref_ursa_packed"
_VERSION = "1.0"
_COMMIT_BYTES, _COMMIT_FILES = 512 << 20, 512
_ASKED_AT_ONCE = 256
_PIECE_BYTES = 8 << 20


@set_module("mediaref_ursa")
def pack_videos(
    uris: Iterable[str | os.PathLike[str]],
    table: str | os.PathLike[str],
    *,
    columns: Any = None,
    keys: Sequence[str] | None = None,
    column: str = "video",
    store: ObjectStore | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[str]:
    """Copy videos or images into one Lance table, one row a file, and return their URIs in it.

    The table holds the bytes of the files, untouched, and is a data set by itself: copied to a bucket, frames
    are decoded out of it by byte ranges, as out of files. Files are copied piece by piece, and committed some
    hundred of them, or some hundred megabytes, at a time. What is in the table already is left alone, so that
    a call that was killed goes on where it was when it is made again; no file is ever there twice or in part.
    Of several writers of a table on this machine none puts in what another has; a table in a cloud store
    takes one writer at a time.

    Args:
        uris: The files: paths or URIs.
        table: The table, such as ``set.lance`` or ``s3://bucket/set.lance``; made unless it is there.
        columns: Further columns of the rows, in the order of ``uris``: a mapping from names to sequences, or
            a table of Arrow, pandas or Polars. A table that is there has these columns already.
        keys: The key of each row, by which references find it; the path of the file below the folder that
            holds all of them, if not given. Files that are added later go by the folder of those: give keys
            where it may be another.
        column: The column that holds the media.
        store: Where the files are read from; by their scheme if not given.
        storage_options: For cloud stores, those of the files and that of the table.
        progress: Called with the URI of each file, as it was given, once it is in the table.

    Returns:
        The URI of each file's media in the table, in the order of ``uris``, as :func:`blob_uri` writes it.

    Raises:
        ValueError: Two files of one key, another number of keys or rows than files, columns that differ from
            those of the table, or a table whose name does not end in ``.lance``.
        MediaChangedError: The table has a file of another length under the same key, or a file changed while
            it was copied.
        StoreError: A file cannot be read, the table cannot be written, or it was not made by this function.

    Example:
        >>> from mediaref_ursa import batch_decode, pack_videos
        >>> uris = pack_videos(["clip.mp4"], "set.lance", columns={"split": ["train"]})
        >>> uris
        ['set.lance/@video/clip.mp4']
        >>> batch_decode([{"uri": uris[0], "pts_ns": 0}])[0].shape
        (96, 128, 3)
    """
    given = [os.fspath(uri) for uri in uris]
    files = [Location(uri, store, storage_options).absolute() for uri in given]
    named = _checked_keys([file.uri for file in files] if keys is None else None, keys, len(given))
    packed = [blob_uri(table, column, key) for key in named]
    rows = _rows_of(columns, named, {KEY_COLUMN, SOURCE, column})
    target = _PackedTable(absolute_location(table), dict(storage_options or {}), column)
    rows = target.opened(rows)
    report = progress or (lambda _: None)
    for batch in _batches(target, given, files, named, report):
        target.append(batch, rows)
        for file in batch:
            report(given[file.row])
    target.finish()
    return packed


@dataclass(frozen=True)
class _File:
    """A file that is to be put into the table.

    Attributes:
        row: Its position among the files of the call.
        location: Where it is.
        key: Its key in the table.
        info: What its store said of it.
    """

    row: int
    location: Location
    key: str
    info: ObjectInfo

    @property
    def is_local_file(self) -> bool:
        """Whether Lance can read it where it is."""
        return isinstance(self.location.open_store(), LocalStore)

    def check_unchanged(self) -> None:
        """Raise a MediaChangedError if the file is another one than before it was copied."""
        if self.location.open_store().head(self.location.uri) != self.info:
            raise MediaChangedError(
                "expected a file that stays as it is while it is copied, found that it changed; pack again",
                uri=self.location.uri,
            )


@dataclass
class _PackedTable:
    """The table that media are put into."""

    uri: str
    options: Mapping[str, Any] = field(repr=False)
    column: str

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
            metadata = {METADATA_KEY: json.dumps({"version": _VERSION, "column": self.column})}
            empty = pa.schema(list(rows.schema), metadata=metadata).empty_table()
            self._do("create", empty, column=self.column)
            schema = self._schema()
        return self._cast(rows, schema)

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
        own = [column for column in schema if column.name != self.column]
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

    def append(self, files: Sequence[_File], rows: pa.Table) -> None:
        """Copy files into the table, and commit those that no other writer has put in meanwhile."""
        with tempfile.TemporaryDirectory(prefix="mediaref-pack-") as folder:
            sources = [_source_of(file, Path(folder)) for file in files]
            taken = rows.take([file.row for file in files])
            taken = taken.append_column(SOURCE, pa.array(sources, pa.string()))
            written = self._do("write", taken, column=self.column)["fragments"]
        for file in files:
            file.check_unchanged()
        with self._alone():
            known = self.sizes([file.key for file in files])
            if not known:
                self._do("commit", fragments=written)
        if known:
            left = [file for file in files if file.key not in known]
            if left:
                self.append(left, rows)

    def finish(self) -> None:
        """Put the new rows into the index of the keys."""
        self._do("finish")

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
) -> Iterator[list[_File]]:
    """Yield the files that the table does not have, those of one commit together."""
    batch: list[_File] = []
    for first in range(0, len(files), _ASKED_AT_ONCE):
        known = target.sizes(keys[first : first + _ASKED_AT_ONCE])
        for row in range(first, min(first + _ASKED_AT_ONCE, len(files))):
            file = _File(row, files[row], keys[row], files[row].open_store().head(files[row].uri))
            if file.key in known:
                _check_same(file, known[file.key])
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


def _check_same(file: _File, size: int | None) -> None:
    if size != file.info.size:
        raise MediaChangedError(
            f"expected the file that the table has under the key {file.key!a}, of {size} bytes, found one of "
            f"{file.info.size}; remove the row (lance.dataset(...).delete), or give another key with keys=",
            uri=file.location.uri,
        )


def _source_of(file: _File, folder: Path) -> str:
    """Return the ``file://`` URI from which Lance copies a file; of a remote one, that of a copy."""
    if file.is_local_file:
        return Path(local_path(file.location.uri)).absolute().as_uri()
    store, copy = file.location.open_store(), folder / str(file.row)
    with copy.open("wb") as out:
        for offset in range(0, file.info.size, _PIECE_BYTES):
            piece = [(offset, min(_PIECE_BYTES, file.info.size - offset))]
            if isinstance(store, ReadsOneVersion):
                out.write(store.get_ranges_of(file.location.uri, file.info, piece)[0])
            else:
                out.write(store.get_ranges(file.location.uri, piece)[0])
    return copy.as_uri()


def _checked_keys(uris: Sequence[str] | None, keys: Sequence[str] | None, count: int) -> list[str]:
    """Return the key of each file: those that are given, or paths below the folder of all."""
    named = list(keys or ()) if uris is None else keys_below_root(uris)
    if len(named) != count:
        raise ValueError(f"expected a key for each of {count} files, found {len(named)}")
    seen: set[str] = set()
    for key in named:
        if key in seen:
            raise ValueError(f"expected keys that differ, found {key!a} twice; give others with keys=")
        seen.add(key)
    return named


def keys_below_root(uris: Sequence[str]) -> list[str]:
    """Return the path of each file below the folder that holds all of them.

    Args:
        uris: Absolute paths or URIs. Their query is left out.

    Raises:
        ValueError: They are in several stores.

    >>> keys_below_root(["/data/takes/1/a.mp4", "/data/takes/2/a.mp4"])
    ['1/a.mp4', '2/a.mp4']
    >>> keys_below_root(["s3://bucket/a.mp4"])
    ['a.mp4']
    """
    plain = [without_query(uri) for uri in uris]
    schemes = {uri.partition("://")[0] if scheme_of(uri) else "" for uri in plain}
    if len(schemes) > 1:
        raise ValueError("expected files of one store, found several; give their keys with keys=")
    folders = [posixpath.dirname(uri) for uri in plain]
    parts = zip(*(folder.split("/") for folder in folders), strict=False)
    shared = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, parts))
    return ["/".join(uri.split("/")[shared:]) for uri in plain]


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
