"""``read_refs``: tables that a registered feature wrote, read where it is not registered."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mediaref_ursa._core.errors import CorruptMediaError, InvalidReferenceError, MediaNotFoundError
from mediaref_ursa._core.public import set_module
from mediaref_ursa.hf._card import split_of

_FEATURES = b"huggingface"
_SPLITS, _STATE = "dataset_dict.json", "state.json"
_SUFFIXES = {".arrow", ".parquet"}


@set_module("mediaref_ursa.hf")
def read_refs(
    path: str | os.PathLike[str], *, split: str | None = None, columns: list[str] | None = None
) -> pa.Table:
    """Read a table that ``datasets`` wrote with ``MediaRefFeature``, or MediaRef's, as plain structs.

    ``datasets`` cannot load a column of a feature that is not registered in the process. The files are read
    as Arrow and stay as they are; the table has no features of ``datasets`` any more, so that
    ``Dataset(read_refs(path))`` and all else that takes Arrow can have it.

    Args:
        path: A Parquet or Arrow file on this machine, a folder of such, or a folder of ``save_to_disk``.
        split: The split, of a folder with several: of ``save_to_disk``, or by the words of paths, as
            ``datasets`` reads them.
        columns: Those to read; all without it.

    Returns:
        All rows; references as ``struct<uri: string, pts_ns: int64>``.

    Raises:
        MediaNotFoundError: Nothing is there, or no table.
        CorruptMediaError: A file cannot be read.
        InvalidReferenceError: There are several splits and none is chosen, another one is, or a column is
            missing.

    Example:
        >>> import pyarrow.parquet as pq
        >>> from mediaref_ursa import MediaRef
        >>> from mediaref_ursa.table import to_arrow
        >>> pq.write_table(pa.table({"frame": to_arrow([MediaRef("clip.mp4", 0)])}), "rows.parquet")
        >>> read_refs("rows.parquet").to_pylist()
        [{'frame': {'uri': 'clip.mp4', 'pts_ns': 0}}]
    """
    files = _files(Path(path), split)
    try:
        tables = [_read(file) for file in files]
        table = pa.concat_tables(tables, promote_options="default")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptMediaError(
            f"expected a table of Parquet or Arrow, found {error}", uri=str(path)
        ) from error
    if missing := [name for name in columns or () if name not in table.column_names]:
        raise InvalidReferenceError(
            f"expected the columns {', '.join(missing)}, found {', '.join(table.column_names)}", uri=str(path)
        )
    table = table if columns is None else table.select(columns)
    kept = {key: value for key, value in (table.schema.metadata or {}).items() if key != _FEATURES}
    return table.replace_schema_metadata(kept or None)


def _files(path: Path, split: str | None) -> list[Path]:
    """Return the files of a table, in the order of their rows."""
    if path.is_file():
        return _without_splits([path], path, split)
    if not path.is_dir():
        raise MediaNotFoundError("expected a file or a folder of a table, found nothing there", uri=str(path))
    if (path / _SPLITS).exists():
        names = _names(path / _SPLITS, "splits")
        path /= _chosen(names, path, split)
        split = None
    if (path / _STATE).exists():
        names = _names(path / _STATE, "_data_files", "filename")
        files = _without_splits([path / name for name in names], path, split)
    else:
        files = sorted(
            file for file in path.rglob("*") if file.suffix in _SUFFIXES and not _is_hidden(file, path)
        )
        files = _of_split(files, path, split) if files else files
    if not files:
        raise MediaNotFoundError(
            "expected Parquet or Arrow files in the folder, found none; pass the folder that save_to_disk "
            "wrote, or one of its splits",
            uri=str(path),
        )
    return files


def _chosen(names: Iterable[str], path: Path, split: str | None) -> str:
    """Return the split that is asked for.

    Raises:
        InvalidReferenceError: None is, or one that is not there.
    """
    known = list(names)
    if split not in known:
        raise InvalidReferenceError(
            f"expected split= to be one of {', '.join(known)}, found {split!r}", uri=str(path)
        )
    return str(split)


def _without_splits(files: list[Path], path: Path, split: str | None) -> list[Path]:
    """Return files of a table that has no splits; asking for one is an error.

    Raises:
        InvalidReferenceError: One is asked for.
    """
    if split is not None:
        raise InvalidReferenceError(
            f"expected no split= of a table without splits, found {split!r}", uri=str(path)
        )
    return files


def _of_split(files: list[Path], path: Path, split: str | None) -> list[Path]:
    """Return the files of the split that is asked for, by the words of their paths."""
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of(file.relative_to(path)), []).append(file)
    if split is None and len(by_split) < 2:
        return files
    return by_split[_chosen(by_split, path, split)]


def _names(path: Path, field: str, name: str | None = None) -> list[str]:
    """Return the names of files or folders that a file of ``datasets`` lists, each within its folder.

    Raises:
        CorruptMediaError: It is none, or a name leads out of it.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[field]
        names = [part if name is None else part[name] for part in found]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise CorruptMediaError(
            f"expected the file of a data set with {field}, found {type(error).__name__}: {error}",
            uri=str(path),
        ) from error
    for part in names:
        is_name = isinstance(part, str) and part not in ("", ".", "..") and not set(part) & set("/\\\0")
        if not is_name:
            raise CorruptMediaError(
                f"expected names of files within the folder, found {part!r:.200}", uri=str(path)
            )
    return names


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") or part.endswith(".lance") for part in file.relative_to(folder).parts)


def _read(path: Path) -> pa.Table:
    """Return the rows of a file: Parquet, or Arrow as a stream, as ``datasets`` writes it, or as a file."""
    if path.suffix == ".parquet":
        return pq.read_table(path)
    with pa.OSFile(str(path)) as source:
        if source.read(6) == b"ARROW1":
            return pa.ipc.open_file(source).read_all()
    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_stream(source).read_all()
