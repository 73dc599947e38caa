"""``LocalStore``: local files, read by positional reads that share no file position."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mediaref_ursa._core.errors import InvalidReferenceError, MediaNotFoundError, StoreError
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.uris import (
    in_working_directory,
    is_local,
    is_relative_path,
    local_path,
    why_not_found,
)
from mediaref_ursa._model.access import Access
from mediaref_ursa.store._protocol import ObjectInfo, check_range, past_the_end, too_large

# Opening a FIFO without O_NONBLOCK waits for a writer that may never come.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


@set_module("mediaref_ursa.store")
@dataclass(frozen=True)
class LocalStore:
    """Plain paths and ``file://`` URIs. Only regular files are read.

    Bytes are read with ``os.pread``, so threads and forked children share no offset. No file stays
    open between calls. Relative paths are relative to the working directory. There are no entity
    tags.
    """

    is_local = True

    def head(self, uri: str) -> ObjectInfo:
        """Return the file's length and time of change."""
        with _opened(uri) as (_, info):
            return ObjectInfo(size=info.st_size, etag=None, modified=info.st_mtime)

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on."""
        return self.get_ranges(uri, [(offset, length)])[0]

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each ``(offset, length)``, in order; the file is opened once."""
        for offset, length in ranges:
            check_range(offset, length)
        with _opened(uri) as (descriptor, info):
            return [_read(uri, descriptor, offset, length, info.st_size) for offset, length in ranges]

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Return the whole file, unless it is larger than ``max_bytes``."""
        with _opened(uri) as (descriptor, info):
            if max_bytes is not None and info.st_size > max_bytes:
                raise too_large(uri, info.st_size, max_bytes)
            return _read(uri, descriptor, 0, info.st_size, info.st_size)


@contextmanager
def _opened(uri: str) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file for one call, and map the system's errors into the tree."""
    path = local_path(uri)
    with _mapped_errors(uri):
        descriptor = os.open(path, _OPEN_FLAGS)
        try:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise StoreError(f"expected a regular file, found {_kind(info.st_mode)}", uri=uri)
            yield descriptor, info
        finally:
            os.close(descriptor)


def _kind(mode: int) -> str:
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")


@contextmanager
def _mapped_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except UnicodeEncodeError as error:
        raise InvalidReferenceError("expected a path that the file system can encode", uri=uri) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaNotFoundError(f"there is no such file{why_not_found(uri)}", uri=uri) from error
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there
            raise StoreError("expected a regular file, found a socket or device", uri=uri) from error
        raise StoreError(f"the file cannot be read: {error.strerror or error}", uri=uri) from error


def _read(uri: str, descriptor: int, offset: int, length: int, size: int) -> bytes:
    """Read a range; its end is checked first, so that no memory is allocated for missing bytes."""
    if offset + length > size:
        raise past_the_end(uri, offset, length, size)
    first = os.pread(descriptor, length, offset)
    if len(first) == length:
        return first
    parts = [first]
    done = len(first)
    while done < length:  # the system gives at most 2 GiB a call
        part = os.pread(descriptor, length - done, offset + done)
        if not part:  # the file was cut short after it was opened
            raise past_the_end(uri, offset, length, offset + done)
        parts.append(part)
        done += len(part)
    return b"".join(parts)


def location_of(uri: str, access: Access, *, has_own_store: bool = False) -> str:
    """Return the location of a reference, checked to be permitted.

    Relative paths begin at the base directory. What is local stays below it, seen through symbolic
    links, unless ``allow_outside_base``; what is not local has no base.

    Args:
        uri: As the reference has it.
        access: What references may lead to.
        has_own_store: The caller says where bytes come from.

    Raises:
        InvalidReferenceError: It leads out of its folder, its scheme is not served, or the base is no local
        folder.

    >>> from mediaref_ursa._model.access import TRUSTED
    >>> location_of("clips/a.mp4", TRUSTED), location_of("https://host/a.mp4", TRUSTED)
    ('clips/a.mp4', 'https://host/a.mp4')
    """
    access.check_scheme(uri, has_own_store=has_own_store)
    if access.base_dir is None or not is_local(uri):
        return uri
    base = local_path(access.base_dir)
    location = str(Path(base) / local_path(uri)) if is_relative_path(uri) else uri
    if access.confines_to_base:
        check_under_base(location, base)
    return location


def check_under_base(uri: str, base_dir: str) -> None:
    """Refuse a path that is not below ``base_dir`` after resolving symbolic links.

    Raises:
        InvalidReferenceError: It lies outside.
    """
    # realpath takes links in a circle as they are in every version of Python; reading them fails.
    with in_working_directory(uri):
        base = os.path.realpath(local_path(base_dir))
        leads_out = not is_local(uri) or not Path(os.path.realpath(local_path(uri))).is_relative_to(base)
    if leads_out:
        raise InvalidReferenceError(
            "expected a path within base_dir, found one that leads out of it; "
            "if you trust the reference, allow it with allow_outside_base=True",
            uri=uri,
        )
