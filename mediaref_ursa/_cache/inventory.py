"""Inventory of a cache directory: complete ranges, ranges that are being written, orphans."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mediaref_ursa._cache.entry import charge, disk_bytes, is_key_name, span_named
from mediaref_ursa._cache.folder import CacheFolder
from mediaref_ursa._core.locked_files import close_lockable, open_lockable, try_lock

META_NAME = "meta.json"
OBJECT_BYTES = 8192  # an object's directory and its meta.json
_WRITING_NAME = re.compile(r"([0-9a-f]{64})\.[0-9]{1,18}-([0-9]{1,18})\.[0-9]+\.[0-9a-f]{8}")


@dataclass(frozen=True)
class StoredRange:
    """A complete range on disk: its file, size and time of last use."""

    used_ns: int
    path: Path
    disk_bytes: int


@dataclass(frozen=True)
class Inventory:
    """The files of a cache directory.

    Attributes:
        ranges: Complete files.
        objects: Directories that hold any.
        orphans: Files and directories that dead processes left.
        reserved_bytes: What living writers are writing.
    """

    ranges: tuple[StoredRange, ...]
    objects: int
    orphans: tuple[Path, ...]
    reserved_bytes: int

    @property
    def stored_bytes(self) -> int:
        """Bytes on disk, whole blocks, with what each object takes besides its ranges."""
        return sum(found.disk_bytes for found in self.ranges) + self.objects * OBJECT_BYTES


def take_inventory(folder: CacheFolder) -> Inventory:
    """Return the inventory of a cache directory, without changing anything.

    Writers are looked at first: a range that moves to its place meanwhile is counted twice rather than not
    at all.
    """
    living, orphans, reserved_bytes = _writers(folder)
    ranges: list[StoredRange] = []
    objects = 0
    for home in _files_in(folder.objects):
        if not is_key_name(home.name):
            continue
        found = list(_ranges_in(home))
        ranges += found
        if found or home.name in living:
            objects += 1
        else:
            orphans.append(home)
    return Inventory(tuple(ranges), objects, tuple(orphans), reserved_bytes)


def has_dead_writers(folder: CacheFolder) -> bool:
    """Return whether a process died while it wrote."""
    return bool(_writers(folder)[1])


def homes_of_writers(folder: CacheFolder) -> set[str]:
    """Return the names of the directories into which files that are being written go."""
    return {_parts_of_writing(path.name)[0] for path in _files_in(folder.writing)}


def remove_home(home: Path) -> bool:
    """Remove an object's directory if it holds no range."""
    with suppress(OSError):
        if any(path.name != META_NAME for path in home.iterdir()):
            return False
        (home / META_NAME).unlink(missing_ok=True)
        home.rmdir()
        return True
    return False


def remove_orphans(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            remove_home(path)
        else:
            path.unlink()


def _writers(folder: CacheFolder) -> tuple[set[str], list[Path], int]:
    """Return the objects that living writers write to, dead writers' files, and the living ones' bytes."""
    living: set[str] = set()
    orphans: list[Path] = []
    reserved_bytes = 0
    for path in _files_in(folder.writing):
        home, length = _parts_of_writing(path.name)
        if home and _is_being_written(path):
            living.add(home)
            reserved_bytes += disk_bytes(length)
        elif home:
            orphans.append(path)
    return living, orphans, reserved_bytes


def _files_in(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _ranges_in(home: Path) -> Iterator[StoredRange]:
    with suppress(OSError), os.scandir(home) as entries:
        for entry in entries:
            if span_named(entry.name) is None:
                continue
            with suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                yield StoredRange(found.st_mtime_ns, home / entry.name, charge(found.st_size))


def _parts_of_writing(name: str) -> tuple[str, int]:
    """Return the object and the length of a range that is being written; ``""`` for a name not ours.

    A user who points the cache at a directory that has other uses keeps what is there.
    """
    match = _WRITING_NAME.fullmatch(name)
    return (match[1], int(match[2])) if match else ("", 0)


def _is_being_written(path: Path) -> bool:
    """Return whether a living process holds the file's lock; the system frees it with the process."""
    try:
        descriptor = open_lockable(path, os.O_RDWR | os.O_NONBLOCK)
    except FileNotFoundError:
        return True  # it has moved to its final path
    except OSError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        close_lockable(descriptor)
