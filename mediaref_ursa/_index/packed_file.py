"""Files on their way into a packed table: keys, bytes on this machine, frame indexes."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from mediaref_ursa._core.errors import (
    FrameIndexError,
    InvalidReferenceError,
    MediaChangedError,
    MediaRefError,
)
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.uris import is_local, local_path, scheme_of, without_query
from mediaref_ursa._model.damage import warn_of_problems
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa.store import LocalStore, ObjectInfo
from mediaref_ursa.store._location import Location
from mediaref_ursa.store._protocol import ReadsOneVersion

with needs_extra("video"):
    from mediaref_ursa._index.found import FRESH, find_index
    from mediaref_ursa._scan.scan_uri import scan_uri

_PIECE_BYTES = 8 << 20
_COMPARED_BYTES = 64 << 10
_FOLDER = re.compile(r"mediaref-pack-(\d+)-\w+")


@dataclass(frozen=True)
class PackedFile:
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

    @classmethod
    def at(cls, location: Location, row: int, key: str) -> PackedFile:
        """Return the file at a location, as it is now.

        Raises:
            StoreError: It is not there, or cannot be looked at.
        """
        return cls(row, location, key, location.open_store().head(location.uri))

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

    def check_same(self, size: int | None, blob: str) -> None:
        """Raise a MediaChangedError unless the table has the file under its key.

        Args:
            size: The bytes that it has there.
            blob: The URI of what it has there. First and last bytes are compared where both are on this
                machine, and reading them costs little.
        """
        if size != self.info.size:
            found = f"{self.info.size} bytes"
        elif is_local(blob) and self.is_local_file and not self._has_ends_of(blob):
            found = "other bytes"
        else:
            return
        raise MediaChangedError(
            f"expected the file of {size} bytes that the table has under the key {self.key!a}, found "
            f"{found}; remove the row (lance.dataset(...).delete), or give other keys=",
            uri=self.location.uri,
        )

    def _has_ends_of(self, blob: str) -> bool:
        length = min(_COMPARED_BYTES, self.info.size)
        ranges = [(0, length), (self.info.size - length, length)]
        own = self.location.open_store().get_ranges(self.location.uri, ranges)
        return own == Location(blob).open_store().get_ranges(blob, ranges)

    def ready_in(self, folder: Path, blob: str | None) -> ReadyFile:
        """Return the file with its bytes on this machine, and scanned if it becomes the video at ``blob``.

        Raises:
            MediaRefError: It cannot be read, or is no video.
        """
        source = self.source_in(folder)
        return ReadyFile(self, source, None if blob is None else self.segment_table(source, blob))

    def source_in(self, folder: Path) -> str:
        """Return the ``file://`` URI from which Lance copies the file; of a remote one, that of a copy."""
        if self.is_local_file:
            return Path(local_path(self.location.uri)).absolute().as_uri()
        store, copy = self.location.open_store(), folder / str(self.row)
        with copy.open("wb") as out:
            for offset in range(0, self.info.size, _PIECE_BYTES):
                piece = [(offset, min(_PIECE_BYTES, self.info.size - offset))]
                if isinstance(store, ReadsOneVersion):
                    out.write(store.get_ranges_of(self.location.uri, self.info, piece)[0])
                else:
                    out.write(store.get_ranges(self.location.uri, piece)[0])
        return copy.as_uri()

    def segment_table(self, source: str, uri: str) -> SegmentTable:
        """Return the segment table of the file: that of its index if there is a fresh one, else scanned.

        Args:
            source: The ``file://`` URI of its bytes on this machine.
            uri: The URI of the blob that it becomes.
        """
        try:
            found = find_index(self.location, in_collections=True)
        except (FrameIndexError, InvalidReferenceError):
            found = None
        if found is not None and found.state == FRESH and len(found.tables) == 1 and not found.is_sparse:
            (table,) = found.tables
        else:
            table = self._scanned(source)
            warn_of_problems(self.location.uri, [table])
        # The version of a row, which stands for an entity tag, is not known before its commit.
        return replace(table, info=replace(table.info, uri=uri, etag=None))

    def _scanned(self, source: str) -> SegmentTable:
        """Scan the file, or the copy of a remote one; errors name the file."""
        try:
            return scan_uri(source, LocalStore())
        except MediaRefError as error:
            error.uri = self.location.uri
            raise


@dataclass(frozen=True)
class ReadyFile:
    """A file that can be copied into the table.

    Attributes:
        file: The file.
        source: The ``file://`` URI of its bytes on this machine.
        table: Its frames and packets, under the URI of its blob; None for what is no video.
    """

    file: PackedFile
    source: str
    table: SegmentTable | None


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder for copies of remote files, and remove those that killed processes left."""
    place = Path(tempfile.gettempdir())
    for path in place.glob("mediaref-pack-*"):
        found = _FOLDER.fullmatch(path.name)
        if found is not None and not _is_running(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"mediaref-pack-{os.getpid()}-") as folder:
        yield Path(folder)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def checked_keys(keys: Sequence[str], count: int) -> list[str]:
    """Return the keys of files, if there is one for each and no two are the same.

    Raises:
        ValueError: There is not, or they are.
    """
    named = list(keys)
    if strangers := sorted({type(key).__name__ for key in named if not isinstance(key, str)}):
        raise TypeError(f"expected keys that are texts, found {', '.join(strangers)}")
    if len(named) != count:
        raise ValueError(f"expected a key for each of {count} files, found {len(named)}")
    seen: set[str] = set()
    for key in named:
        if key in seen:
            raise ValueError(f"expected keys that differ, found {key!a} twice; give others with keys=")
        seen.add(key)
    return named


def keys_below(uris: Sequence[str], root: str | None = None) -> list[str]:
    """Return the path of each file below a folder.

    Args:
        uris: Absolute paths or URIs. Their query is left out.
        root: The absolute folder; without it that which holds all of them.

    Raises:
        ValueError: They are in several stores, or outside the folder.

    >>> keys_below(["/data/takes/1/a.mp4", "/data/takes/2/a.mp4"])
    ['1/a.mp4', '2/a.mp4']
    >>> keys_below(["s3://bucket/takes/a.mp4"], "s3://bucket")
    ['takes/a.mp4']
    """
    plain = [without_query(uri) if scheme_of(uri) else posixpath.normpath(without_query(uri)) for uri in uris]
    if root is not None:
        start = root.rstrip("/") + "/"
        for uri in plain:
            if not uri.startswith(start):
                raise ValueError(f"expected files below {redact(root)}, found {redact(uri)}")
        return [uri.removeprefix(start) for uri in plain]
    schemes = {uri.partition("://")[0] if scheme_of(uri) else "" for uri in plain}
    if len(schemes) > 1:
        raise ValueError("expected files of one store, found several; give their keys with keys=")
    folders = [posixpath.dirname(uri) for uri in plain]
    parts = zip(*(folder.split("/") for folder in folders), strict=False)
    shared = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, parts))
    return ["/".join(uri.split("/")[shared:]) for uri in plain]
