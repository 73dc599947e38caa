"""``write_card``: the card of a data set, which names its tables, so that their format is not guessed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from mediaref_ursa._core.errors import InvalidReferenceError, MediaNotFoundError, StoreError
from mediaref_ursa._core.public import set_module

CARD = "README.md"
_SUFFIXES = (".parquet", ".jsonl", ".csv", ".arrow")
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF = {word: split for split, words in _SPLITS.items() for word in words}
_GLOB = re.compile(r"[\[\]*?{}]")

DataFiles: TypeAlias = str | Sequence[str] | Mapping[str, str | Sequence[str]]


@set_module("mediaref_ursa.hf")
def write_card(
    folder: str | os.PathLike[str], *, data_files: DataFiles | None = None, overwrite: bool = False
) -> Path:
    """Write the card of a data set, ``README.md``, that says which of its files are its tables.

    ``datasets.load_dataset(folder)`` takes the most frequent ending of names for the format: of a folder with
    videos and frame indexes that is ``.lance``, and the data set would be the indexes. A card that names the
    tables ends the guessing, on disk and on the Hub.

    Args:
        folder: That of the data set.
        data_files: Patterns of its tables relative to the folder, or those of each split by name; found
            without it: files of Parquet, JSON lines, CSV or Arrow outside of indexes and hidden folders, of
            the kind that comes first in this list. Their splits are those that paths name, as ``datasets``
            reads them: ``train``, ``validation``, ``test``; without such words all are ``train``.
        overwrite: Replace a card that is there.

    Returns:
        The path of the card.

    Raises:
        MediaNotFoundError: There is no folder, or no table in it.
        InvalidReferenceError: A pattern that names no file, or leads out of the folder.
        StoreError: There is a card, which is left as it is: the message has the lines to put into it; or
            nothing may be written there.

    Example:
        >>> from pathlib import Path
        >>> import pyarrow as pa
        >>> import pyarrow.parquet as pq
        >>> pq.write_table(pa.table({"n": [1]}), "train.parquet")
        >>> print(write_card(".").read_text())
        ---
        configs:
        - config_name: default
          data_files:
          - split: "train"
            path: "train.parquet"
        ---
        <BLANKLINE>
    """
    root = Path(folder)
    if not root.is_dir():
        raise MediaNotFoundError("expected a folder of a data set, found none", uri=str(folder))
    splits = _found(root) if data_files is None else _given(root, data_files)
    text = _front_matter(splits)
    card = root / CARD
    if card.exists() and not overwrite:
        raise StoreError(
            f"expected no {CARD} in the folder, found one, which stays as it is; put these lines at its "
            f"beginning, or pass overwrite=True\n{text}",
            uri=str(card),
        )
    try:
        card.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"the card cannot be written: {error}", uri=str(card)) from error
    return card


def _front_matter(splits: Mapping[str, Sequence[str]]) -> str:
    """Return the YAML of a card. Texts are in quotes as JSON has them, which YAML reads as well."""
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split, paths in splits.items():
        lines.append(f"  - split: {json.dumps(split)}")
        if len(paths) == 1:
            lines.append(f"    path: {json.dumps(paths[0])}")
        else:
            lines += ["    path:", *(f"    - {json.dumps(path)}" for path in paths)]
    return "\n".join([*lines, "---", ""])


def _found(root: Path) -> dict[str, list[str]]:
    """Return the tables of a folder by split: one pattern for each folder whose files have one split."""
    tables = [
        path.relative_to(root)
        for path in sorted(root.rglob("*"))
        if path.suffix in _SUFFIXES and path.is_file() and not _is_left_out(path.relative_to(root))
    ]
    kinds = [suffix for suffix in _SUFFIXES if any(table.suffix == suffix for table in tables)]
    if not kinds:
        raise MediaNotFoundError(
            f"expected tables ({', '.join(_SUFFIXES)}) in the folder, found none; name them with data_files=",
            uri=str(root),
        )
    by_folder: dict[Path, dict[str, list[Path]]] = {}
    for table in tables:
        if table.suffix == kinds[0]:
            by_folder.setdefault(table.parent, {}).setdefault(split_of(table), []).append(table)
    splits: dict[str, list[str]] = {}
    for parent, of_folder in by_folder.items():
        for split, files in of_folder.items():
            pattern = parent / f"*{kinds[0]}"
            is_exact = len(files) > 1 and len(list(root.glob(str(pattern)))) == len(files)
            names = [pattern.as_posix()] if is_exact else [_escaped(path) for path in files]
            splits.setdefault(split, []).extend(names)
    return {name: splits[name] for name in (*_SPLITS, *splits) if name in splits}


def _escaped(path: Path) -> str:
    """Return a path as a pattern that names it alone."""
    return _GLOB.sub(lambda letter: f"[{letter[0]}]", path.as_posix())


def _is_left_out(path: Path) -> bool:
    return any(part.startswith((".", "_")) or part.endswith(".lance") for part in path.parts)


def split_of(table: Path) -> str:
    """Return the split that a path names, by the last word of it that is one."""
    words = re.split(r"[^a-z]+", table.as_posix().lower())
    return next((_SPLIT_OF[word] for word in reversed(words) if word in _SPLIT_OF), "train")


def _given(root: Path, data_files: DataFiles) -> dict[str, list[str]]:
    """Return the caller's patterns by split, each checked to name files within the folder."""
    named = data_files if isinstance(data_files, Mapping) else {"train": data_files}
    splits = {split: [paths] if isinstance(paths, str) else list(paths) for split, paths in named.items()}
    for pattern in (pattern for paths in splits.values() for pattern in paths):
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise InvalidReferenceError(f"expected a pattern within the folder, found {pattern!r}")
        if not (root / pattern).is_file() and not (_GLOB.search(pattern) and any(root.glob(pattern))):
            raise InvalidReferenceError(f"expected a pattern of files in {root}, found {pattern!r}")
    if not any(splits.values()):
        raise InvalidReferenceError("expected patterns of files, found none")
    return splits
