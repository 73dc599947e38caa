"""Disk usage of the cache by all processes together, and the eviction that keeps the quota.

The usage file counts the bytes on disk and those that writers reserved. A process that is killed while it
changes something leaves the usage file marked; one that is killed while it writes leaves an unlocked
file. The next one that sees either counts anew. So does the first of an hour and of a new boot.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mediaref_ursa._cache.entry import ObjectKey, Span, charge, disk_bytes
from mediaref_ursa._cache.folder import CacheFolder
from mediaref_ursa._cache.inventory import (
    META_NAME,
    OBJECT_BYTES,
    Inventory,
    has_dead_writers,
    homes_of_writers,
    remove_home,
    remove_orphans,
    take_inventory,
)
from mediaref_ursa._core.locked_files import close_lockable, lock, open_lockable, try_lock
from mediaref_ursa._core.redaction import redact

LOCK_TIMEOUT_SECONDS = 10.0
_COUNT_AGAIN_SECONDS = 3600.0
_LOW_WATER = 0.9  # evict more than needed, since each eviction reads the whole inventory
_USAGE_BYTES = 4096
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class DiskUsageBusyError(Exception):
    """Another process has held the usage file for too long."""


@dataclass
class UsageFile:
    """The content of the usage file; only the holder of its lock may change it.

    Attributes:
        taken_bytes: On disk and reserved.
        evicted_ranges: How many were ever evicted.
        counted_seconds: When all was last counted, since the epoch.
        boot: The machine's start at which that was.
        is_settled: False while a process is changing something.
    """

    taken_bytes: int = 0
    evicted_ranges: int = 0
    counted_seconds: float = 0.0
    boot: str = ""
    is_settled: bool = False

    def to_line(self) -> bytes:
        """Return the usage file as one line with its own checksum."""
        text = json.dumps(vars(self))
        return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()

    @classmethod
    def from_line(cls, data: bytes) -> UsageFile:
        """Return the usage file that a line holds; an empty, unsettled one if the line cannot be read."""
        crc, _, text = data.partition(b"\n")[0].partition(b" ")
        if crc != b"%08x" % zlib.crc32(text):
            return cls()
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return cls()


@dataclass(frozen=True)
class Reservation:
    """Room for one range: a locked, empty file, and its path when it is complete."""

    descriptor: int
    path: Path
    target: Path
    disk_bytes: int


@dataclass(frozen=True)
class EvictionResult:
    """The result of an eviction: orphans and ranges removed, and their bytes on disk."""

    orphans: int
    ranges: int
    freed_bytes: int


class DiskUsage:
    """The usage file of one cache directory. Safe for many threads and processes."""

    def __init__(self, folder: CacheFolder, quota_bytes: int) -> None:
        self._folder = folder
        self._quota_bytes = quota_bytes
        self.forget()

    def forget(self) -> None:
        """Take a new, free lock, as in a forked child."""
        self._thread_lock = threading.Lock()
        self._owner: int | None = None

    def start(self) -> None:
        """Remove orphans of dead processes, and evict ranges above the quota.

        Raises:
            DiskUsageBusyError: Another process holds the usage file.
            OSError: The directory cannot be written.
        """
        with self.changing() as usage:
            is_old = not 0 <= time.time() - usage.counted_seconds < _COUNT_AGAIN_SECONDS
            if is_old or usage.boot != _boot_id() or has_dead_writers(self._folder):
                self._count(usage)
            self._make_room(usage, 0)

    def reserve(self, key: ObjectKey, span: Span) -> Reservation | None:
        """Make room for a range, evicting the least recently used; None if it does not fit or exists already.

        Raises:
            DiskUsageBusyError: Another process holds the usage file.
            OSError: The directory cannot be written.
        """
        home = self._folder.of_object(key.digest)
        target = home / span.file_name
        name = f"{home.name}.{span.file_name}.{os.getpid()}.{secrets.token_hex(4)}"
        path = self._folder.writing / name
        needed = disk_bytes(span.length)
        descriptor = None
        try:
            with self.changing() as usage:
                if target.exists() or not self._make_room(usage, needed + OBJECT_BYTES):
                    return None
                descriptor = open_lockable(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                lock(descriptor)
                usage.taken_bytes += needed + _make_home(home, key)
        except BaseException:
            # The file is an orphan, and the usage file is marked: the next count corrects both.
            if descriptor is not None:
                close_lockable(descriptor)
            raise
        return Reservation(descriptor, path, target, needed)

    def commit(self, reservation: Reservation) -> None:
        """Move a complete file to its path in the cache.

        Raises:
            OSError: The directory was removed, or the like.
        """
        reservation.path.replace(reservation.target)
        close_lockable(reservation.descriptor)

    def cancel(self, reservation: Reservation) -> None:
        """Return reserved room that was not used."""
        try:
            self._remove(reservation.path, reservation.disk_bytes)
        finally:
            close_lockable(reservation.descriptor)

    def clear_range(self, path: Path) -> None:
        """Remove a damaged range."""
        with suppress(OSError):
            self._remove(path, charge(path.stat().st_size))

    def evict(self, *, keep_bytes: int) -> EvictionResult:
        """Remove orphans, and ranges until the rest takes no more than ``keep_bytes``.

        Raises:
            DiskUsageBusyError: Another process holds the usage file.
            OSError: The directory cannot be written.
        """
        with self.changing() as usage:
            inventory = self._count(usage)
            before = usage.taken_bytes
            evicted = usage.evicted_ranges
            self._evict(usage, inventory, keep_bytes)
            return EvictionResult(
                len(inventory.orphans), usage.evicted_ranges - evicted, before - usage.taken_bytes
            )

    def evicted_ranges(self) -> int:
        """Return how many ranges were ever evicted, by all processes; 0 where that is unknown."""
        try:
            return UsageFile.from_line(self._folder.usage.read_bytes()).evicted_ranges
        except OSError:
            return 0

    def look(self) -> Inventory:
        """Return the inventory of the cache, without changing anything."""
        return take_inventory(self._folder)

    def _count(self, usage: UsageFile) -> Inventory:
        """Remove orphans, and correct the usage file by counting all ranges."""
        inventory = self.look()
        for path in inventory.orphans:
            remove_orphans(path)
        usage.taken_bytes = inventory.stored_bytes + inventory.reserved_bytes
        usage.counted_seconds = time.time()
        usage.boot = _boot_id()
        return inventory

    def _make_room(self, usage: UsageFile, needed_bytes: int) -> bool:
        if usage.taken_bytes + needed_bytes <= self._quota_bytes:
            return True
        if needed_bytes > self._quota_bytes:
            return False
        inventory = self._count(usage)
        if usage.taken_bytes + needed_bytes > self._quota_bytes:
            keep_bytes = min(int(self._quota_bytes * _LOW_WATER), self._quota_bytes - needed_bytes)
            if keep_bytes >= inventory.reserved_bytes:  # else evicting all ranges would not be enough
                self._evict(usage, inventory, keep_bytes)
        return usage.taken_bytes + needed_bytes <= self._quota_bytes

    def _evict(self, usage: UsageFile, inventory: Inventory, keep_bytes: int) -> None:
        """Remove the least recently used ranges; a reader that has a range open still reads it to its end."""
        touched: set[Path] = set()
        for found in sorted(inventory.ranges, key=lambda one: one.used_ns):
            if usage.taken_bytes <= keep_bytes:
                break
            _unlink(found.path)
            usage.taken_bytes -= found.disk_bytes
            usage.evicted_ranges += 1
            touched.add(found.path.parent)
        living = homes_of_writers(self._folder)
        for home in touched:
            if home.name not in living and remove_home(home):
                usage.taken_bytes -= OBJECT_BYTES

    def _remove(self, path: Path, freed_bytes: int) -> None:
        try:
            with self.changing() as usage:
                if _unlink(path):
                    usage.taken_bytes -= freed_bytes
        except DiskUsageBusyError:
            _unlink(path)  # not subtracted: the next count corrects it

    @contextmanager
    def changing(self) -> Iterator[UsageFile]:
        """Lock the usage file, so that no other process or thread reserves or evicts.

        It is marked meanwhile, so that a kill is noticed.

        Raises:
            DiskUsageBusyError: Another process or thread holds it.
            OSError: The directory cannot be written.
        """
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        is_mine = self._owner == threading.get_ident()
        if is_mine or not self._thread_lock.acquire(timeout=LOCK_TIMEOUT_SECONDS):
            raise DiskUsageBusyError
        try:
            self._owner = threading.get_ident()
            descriptor = self._locked_usage(deadline)
            try:
                usage = UsageFile.from_line(os.pread(descriptor, _USAGE_BYTES, 0))
                if not usage.is_settled:
                    self._count(usage)
                usage.is_settled = False
                os.pwrite(descriptor, usage.to_line(), 0)
                yield usage
                usage.is_settled = True
                os.pwrite(descriptor, usage.to_line(), 0)
            finally:
                close_lockable(descriptor)
        finally:
            self._owner = None
            self._thread_lock.release()

    def _locked_usage(self, deadline: float) -> int:
        while True:
            descriptor = open_lockable(self._folder.usage, os.O_RDWR | os.O_CREAT)
            try:
                if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
                    return descriptor
            except BaseException:
                close_lockable(descriptor)
                raise
            close_lockable(descriptor)
            if time.monotonic() > deadline:
                raise DiskUsageBusyError
            time.sleep(0.001 + secrets.randbelow(1000) * 4e-6)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _make_home(home: Path, key: ObjectKey) -> int:
    """Make an object's directory with its ``meta.json``; return their bytes on disk."""
    try:
        home.mkdir(mode=0o700)
    except FileExistsError:
        return 0
    with suppress(OSError):
        note = {"uri": redact(key.uri), "etag": key.etag}
        (home / META_NAME).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    return OBJECT_BYTES


def _unlink(path: Path) -> bool:
    """Remove a file; return whether it was there."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
