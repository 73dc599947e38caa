"""Checks of the files of a local Lance table, before Lance opens any of them."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mediaref_ursa._core.wording import WRITE_ANEW
from mediaref_ursa._lance.lance_manifest import (
    MAX_MANIFEST_BYTES,
    Manifest,
    latest_manifest,
    parse_manifest_file,
    version_of_name,
)
from mediaref_ursa._lance.lance_pages import decompressed_bytes

_MAX_NAMES = 100_000
# Opening a FIFO without O_NONBLOCK waits for a writer that may never come.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_HINT = "latest_version_hint.json"
_BYTES_A_ROW, _SPARE_BYTES = 2048, 64 << 20


class TableRefusedError(Exception):
    """A table that is refused: it leads out of its folder, or is of an unsupported kind."""


def check_manifest(
    manifest: Manifest, *, allow_outside: bool, strict: bool, is_collection: bool = False
) -> Manifest:
    """Return a manifest, checked to name only files that may be read.

    Args:
        manifest: What was read of it.
        allow_outside: Files may lie outside the table's folder.
        strict: Nothing may stand in it that an index of this library never has.
        is_collection: It is that of a collection, of which rows are deleted and replaced.

    Raises:
        TableRefusedError: They may not.
    """
    if manifest.leads_outside is not None and not allow_outside:
        raise TableRefusedError(
            f"expected a {_table(is_collection)} whose files lie in its own folder, found one whose manifest "
            f"names {manifest.leads_outside}; if you trust it, allow it with allow_outside_index=True"
        )
    unusual = manifest.is_unusual or (None if is_collection else manifest.has_changed_rows)
    if unusual is not None and strict:
        raise TableRefusedError(
            "expected a frame index such as mediaref-ursa writes, since its writer is not trusted, found one "
            f"whose manifest has {unusual}; {WRITE_ANEW}"
        )
    return manifest


def check_local_table(
    folder: str,
    version: int | None = None,
    *,
    allow_outside: bool = False,
    strict: bool = False,
    is_collection: bool = False,
    confine_to: str | None = None,
) -> Manifest | None:
    """Check the files of one version of a table; only its manifest is read.

    Args:
        folder: The table's folder, an absolute path.
        version: Which version; the latest if None.
        allow_outside: Files may lie outside ``folder``.
        strict: Nothing may stand in the manifest that an index of this library never has.
        is_collection: It is a table of many videos: its rows are larger, and are deleted and replaced.
        confine_to: A folder that no symbolic link may lead out of; None where links may lead anywhere.

    Returns:
        The manifest; None where there is no table.

    Raises:
        TableRefusedError: The table leads out of its folder, or holds something else than regular files.
        ValueError: Its manifest is damaged.
        OSError: It cannot be read.
    """
    if not stat.S_ISDIR(os.stat(folder).st_mode):  # noqa: PTH116 - paths cost more than the call
        raise ValueError("expected a folder")
    found = _manifest_name(f"{folder}/_versions", version)
    if found is None:
        return None
    check = _Check(None if allow_outside else confine_to, _table(is_collection))
    check(f"{folder}/_versions/{found[1]}")
    manifest = parse_manifest_file(_read(f"{folder}/_versions/{found[1]}"))
    if manifest.version != found[0]:
        raise ValueError(f"expected the manifest of version {found[0]}, found that of {manifest.version}")
    check_manifest(manifest, allow_outside=allow_outside, strict=strict, is_collection=is_collection)
    sizes = [check(f"{folder}/data/{path}") for path in manifest.data_files]
    for path in _further_files(folder):
        check(path)
    max_bytes = _SPARE_BYTES + _BYTES_A_ROW * manifest.rows
    if strict and not is_collection and sum(sizes) > max_bytes:
        raise TableRefusedError(
            f"expected at most {max_bytes} bytes for {manifest.rows} rows of an index, found more"
        )
    return manifest


def claimed_bytes(folder: str, manifest: Manifest) -> int:
    """Return how many bytes the data files of a table say that their compressed pages become.

    Args:
        folder: The table's folder, an absolute path.
        manifest: That of the version which is read.

    Raises:
        ValueError: A file is damaged, larger than any of an index, or compressed in another way.
        OSError: It cannot be read.
    """
    max_bytes = _SPARE_BYTES + _BYTES_A_ROW * manifest.rows
    files = (_read(f"{folder}/data/{path}", "data file", max_bytes) for path in manifest.data_files)
    return sum(decompressed_bytes(file) for file in files)


def _manifest_name(folder: str, version: int | None) -> tuple[int, str] | None:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, _MAX_NAMES + 1)]
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(names) > _MAX_NAMES:
        raise ValueError(f"more than {_MAX_NAMES} versions")
    if version is not None:
        names = [name for name in names if version_of_name(name) == version]
    return latest_manifest(names)


def _further_files(folder: str) -> Iterator[str]:
    """Yield the existing paths of further files that Lance may open."""
    if os.path.lexists(f"{folder}/_versions/{_HINT}"):
        yield f"{folder}/_versions/{_HINT}"
    yield from _paths_in(f"{folder}/_deletions")
    for index in _paths_in(f"{folder}/_indices"):
        yield from _paths_in(index)


def _paths_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in itertools.islice(entries, _MAX_NAMES)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def check_links(folder: str, confine_to: str) -> None:
    """Refuse links that lead out of ``confine_to``: the files of one folder, where blobs of a table are.

    Raises:
        TableRefusedError: There is one, or something else than a regular file.
        OSError: The folder cannot be read.
    """
    check = _Check(confine_to, _table(is_collection=True))
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                check(entry.path)
    except FileNotFoundError:  # every blob of the fragment stands in its data file
        return


def _table(is_collection: bool) -> str:
    return "table of videos" if is_collection else "frame index"


class _Check:
    """Checks that a path is a regular file within the allowed folder, and returns its size."""

    def __init__(self, base: str | None, what: str) -> None:
        self._what = what
        self._base = None if base is None else Path(os.path.realpath(base))

    def __call__(self, path: str) -> int:
        if self._base is not None and not Path(os.path.realpath(path)).is_relative_to(self._base):
            raise TableRefusedError(
                f"expected a {self._what} whose files lie next to its video or below base_dir, found a link "
                "that leads out of there; if you trust it, allow it with allow_outside_index=True"
            )
        try:
            found = os.stat(path)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return 0  # Lance says so in its own words, when it is read
        if not stat.S_ISREG(found.st_mode):
            raise TableRefusedError(
                f"the {self._what} is damaged: expected regular files in it, found something else: "
                f"{Path(path).name!a}"
            )
        return found.st_size


def _read(path: str, what: str = "manifest", max_bytes: int = MAX_MANIFEST_BYTES) -> bytes:
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"expected a regular file as {what}")
        if found.st_size > max_bytes:
            raise ValueError(f"a {what} of {found.st_size} bytes")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes)
    finally:
        os.close(descriptor)
