"""``Access``: what references may read, one frozen value passed from the call down to the stores. Pure.

References come from data sets, so that their writer is not always their reader. Everything here is refused
unless the option that each error names opens it; ``untrusted=True`` moves the defaults to those of a service
that decodes references of untrusted sources. ``docs/security.md`` explains them.
"""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, fields
from typing import Any, TypedDict
from urllib.parse import urlsplit

from mediaref_ursa._core.errors import InvalidReferenceError, LimitExceededError, UnsupportedMediaError
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.uris import (
    MAX_DATA_URI_BYTES,
    REMOTE_SCHEMES,
    is_data,
    is_local,
    local_path,
    scheme_of,
    split_blob,
)
from mediaref_ursa._core.wording import WRITE_ANEW
from mediaref_ursa._model.pixels import MAX_PIXELS
from mediaref_ursa._model.storage_options import FSSPEC_SCHEMES

DEFAULT_SCHEMES = frozenset({"file", "data", *REMOTE_SCHEMES, *FSSPEC_SCHEMES})
"""Schemes that a reference may have without ``allow_schemes``; a plain path counts as ``file``."""

_MIB = 2**20


@set_module("mediaref_ursa")
@dataclass(frozen=True)
class IndexLimits:
    """Limits of scanning a video without an index, which then runs in a process of its own.

    Attributes:
        max_seconds: From the start of that process to its answer, and of the processor's time.
        max_memory_bytes: Besides what the interpreter and its libraries take. Held by the system's limit on
            the address space, which macOS does not keep.
        max_packets: Packets of the video stream: frames, output or not.

    >>> IndexLimits(max_seconds=5).max_memory_bytes == 2 * 2**30
    True
    """

    max_seconds: float = 60.0
    max_memory_bytes: int = 2048 * _MIB
    max_packets: int = 5_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"expected {field.name} above 0, found {value!r}")


@set_module("mediaref_ursa")
@dataclass(frozen=True)
class Access:
    """Limits on what a call may read: a value to hold and to pass as ``access=``.

    Every call that reads takes the attributes as options by name, too.

    Attributes:
        untrusted: The references were written by an untrusted party.
        base_dir: Where relative paths begin; local references stay below it.
        allow_schemes: The only schemes that are served; ``DEFAULT_SCHEMES`` if None. One that fsspec knows
            and this library does not serve by itself is served if it is named here.
        allow_private_hosts: Whether http(s) may reach hosts outside the public network; if None, unless
            ``untrusted``.
        max_redirects: How many of them are followed.
        allow_outside_base: Let references, and indexes, lead out of ``base_dir``.
        allow_outside_index: Let the Lance table of a frame index name files outside its own folder, in other
            folders and other stores.
        max_data_uri_bytes: The largest payload of a data URI.
        max_pixels: The largest picture, width times height.
        index_limits: What scanning a video may take. If None: ``IndexLimits()`` where ``untrusted``, and
            else no limits, and no process of its own.
        allow_shared_cache_dir: Use a cache directory that others may write in.

    Raises:
        TypeError: A value of another type.
        ValueError: A limit that is none.

    >>> Access(untrusted=True).private_hosts, Access().private_hosts
    (False, True)
    """

    untrusted: bool = False
    base_dir: str | None = None
    allow_schemes: frozenset[str] | None = None
    allow_private_hosts: bool | None = None
    max_redirects: int = 5
    allow_outside_base: bool = False
    allow_outside_index: bool = False
    max_data_uri_bytes: int = MAX_DATA_URI_BYTES
    max_pixels: int = MAX_PIXELS
    index_limits: IndexLimits | None = None
    allow_shared_cache_dir: bool = False

    def __post_init__(self) -> None:
        for name in ("untrusted", "allow_outside_base", "allow_outside_index", "allow_shared_cache_dir"):
            _check_type(name, getattr(self, name), bool, "True or False")
        if self.allow_private_hosts is not None:
            _check_type("allow_private_hosts", self.allow_private_hosts, bool, "True or False")
        for name, minimum in (("max_redirects", 0), ("max_data_uri_bytes", 0), ("max_pixels", 1)):
            _check_count(name, getattr(self, name), minimum)
        if self.index_limits is not None:
            _check_type("index_limits", self.index_limits, IndexLimits, "an IndexLimits")
        if self.base_dir is not None:
            object.__setattr__(self, "base_dir", os.fspath(self.base_dir))
        if self.allow_schemes is not None:
            object.__setattr__(self, "allow_schemes", _schemes(self.allow_schemes))

    @classmethod
    def from_options(cls, options: MutableMapping[str, Any]) -> Access:
        """Return the ``Access`` of a call's options: ``access=`` itself, or made from its attributes by name.

        Raises:
            TypeError: Both, or an ``access`` that is no :class:`Access`.

        >>> options = {"untrusted": True, "resize": (2, 2)}
        >>> Access.from_options(options).untrusted, options
        (True, {'resize': (2, 2)})
        """
        named = {name: options.pop(name) for name in OPTION_NAMES if name in options}
        access = options.pop("access", None)
        if access is None:
            return cls(**named)
        _check_type("access", access, cls, "an Access")
        if named:
            raise TypeError(
                f"expected access=, or its options by name, found both: {', '.join(sorted(named))}; "
                "put them into the Access, such as dataclasses.replace(access, untrusted=True)"
            )
        checked: Access = access
        return checked

    @classmethod
    def from_only_options(cls, caller: str, options: Mapping[str, Any]) -> Access:
        """Return the access of a call that takes no further options.

        Raises:
            TypeError: An option that is none of these.
        """
        left = dict(options)
        access = cls.from_options(left)
        if left:
            raise TypeError(
                f"{caller}() got unexpected options {', '.join(sorted(left))}; "
                f"besides its own it takes {', '.join(OPTION_NAMES)}, or all of them as access="
            )
        return access

    @property
    def private_hosts(self) -> bool:
        """Whether hosts outside the public network may be read."""
        return not self.untrusted if self.allow_private_hosts is None else self.allow_private_hosts

    @property
    def scan_limits(self) -> IndexLimits | None:
        """Limits of scanning in a process of its own; None for scanning in this process."""
        return IndexLimits() if self.index_limits is None and self.untrusted else self.index_limits

    @property
    def confines_to_base(self) -> bool:
        """Whether local references must stay below ``base_dir``."""
        return self.base_dir is not None and not self.allow_outside_base

    def check_scheme(self, uri: str, *, has_own_store: bool = False) -> None:
        """Refuse a URI whose scheme is not served.

        Args:
            uri: What is to be read.
            has_own_store: The caller says where bytes come from, so that any scheme is served which
                ``allow_schemes`` does not leave out.

        Raises:
            InvalidReferenceError: The message names ``allow_schemes=``.
        """
        if has_own_store and self.allow_schemes is None:
            return
        scheme = scheme_of(uri) or "file"
        if scheme not in (DEFAULT_SCHEMES if self.allow_schemes is None else self.allow_schemes):
            raise self.no_store(uri)
        remote = not (is_local(uri) or is_data(uri))
        if remote and self.untrusted and self.confines_to_base and self.allow_schemes is None:
            raise InvalidReferenceError(
                "expected a path within base_dir, found a URI that leads out of it, from a source that is "
                f"not trusted; name its scheme to allow it: allow_schemes={{'file', 'data', '{scheme}'}}",
                uri=uri,
            )

    def check_segment(self, video: str, segment: str) -> None:
        """Refuse a file that an untrusted index names, if it is outside the video's folder.

        Such an index may name the files next to the video that it stands next to, and those below.

        Args:
            video: The video that the index was found for; it was found to be allowed.
            segment: What the index names.

        Raises:
            InvalidReferenceError: It names one outside these.
        """
        if segment == video:
            return
        if scheme_of(segment) != scheme_of(video):
            self.check_scheme(segment)
        if self.untrusted and not self.allow_outside_base and not _is_in_folder_of(segment, video):
            raise InvalidReferenceError(
                "expected a frame index that names files in its video's folder, found one that names a file "
                "outside it; if you trust the index, allow it with allow_outside_base=True",
                uri=segment,
            )

    def bounds_of_index(self, video: str) -> str | None:
        """Return the folder that links in the index next to a video may not leave; None without a bound.

        Of a blob of a Lance table it is the table.

        >>> Access(untrusted=True).bounds_of_index("/data/clips/a.mp4")
        '/data/clips'
        """
        if self.allow_outside_base or self.allow_outside_index or not is_local(video):
            return None
        blob = split_blob(video)
        if blob is not None and self.base_dir is None:
            return local_path(blob[0]) if self.untrusted else None
        if self.base_dir is not None:
            return local_path(self.base_dir)
        return posixpath.dirname(local_path(video)) or "." if self.untrusted else None

    def check_video_uri(self, uri: str) -> None:
        """Refuse a video within a data URI: such videos are never decoded.

        Raises:
            UnsupportedMediaError: It is a data URI.
        """
        if is_data(uri):
            raise UnsupportedMediaError(
                "expected a path or a URI of a video, found a data URI: those are images only, without "
                "pts_ns; write the video to a file",
                uri=uri,
            )

    def check_pixels(self, width: int, height: int, uri: str) -> None:
        """Refuse a picture that is too large, before memory is taken for it.

        Raises:
            LimitExceededError: The message names ``max_pixels=``.
        """
        if width * height > self.max_pixels:
            raise LimitExceededError(
                f"expected at most {self.max_pixels} pixels, found {width}x{height}; "
                "allow more with max_pixels=",
                uri=uri,
            )

    def check_frame_count(self, count: int, length: int, uri: str) -> None:
        """Refuse more frames or packets than a file can hold, or than a scan may find.

        Raises:
            LimitExceededError: The index of the video says so many.
        """
        limits = self.scan_limits
        maximum = length if limits is None else min(length, limits.max_packets)
        if count > maximum:
            raise LimitExceededError(
                f"expected a frame index of at most {maximum} frames for a file of {length} bytes, found one "
                f"of {count}; {WRITE_ANEW}"
                + ("" if limits is None else ", or allow more with index_limits=IndexLimits(max_packets=)"),
                uri=uri,
            )

    def no_store(self, uri: str) -> InvalidReferenceError:
        """Return the error for a URI whose scheme is not served; it names those that are."""
        scheme = scheme_of(uri) or "file"
        allowed = DEFAULT_SCHEMES if self.allow_schemes is None else self.allow_schemes
        names = ["file://", "http://", "https://"] if self.allow_schemes is None else []
        names += sorted(f"{name}://" for name in allowed - {"data"} if f"{name}://" not in names)
        return InvalidReferenceError(
            f"expected a path or one of {', '.join(names)}; no store serves the scheme '{scheme}'"
            + ("" if self.allow_schemes is None else " here")
            + ", unless allow_schemes= names it",
            uri=uri,
        )


OPTION_NAMES = tuple(field.name for field in fields(Access))
"""The options of public functions that make an :class:`Access`."""


class AccessOptions(TypedDict, total=False):
    """The options of access for type checkers: those of :class:`Access` by name, or ``access`` itself."""

    access: Access | None
    untrusted: bool
    base_dir: str | os.PathLike[str] | None
    allow_schemes: Iterable[str] | None
    allow_private_hosts: bool | None
    max_redirects: int
    allow_outside_base: bool
    allow_outside_index: bool
    max_data_uri_bytes: int
    max_pixels: int
    index_limits: IndexLimits | None
    allow_shared_cache_dir: bool


def _schemes(given: Iterable[str]) -> frozenset[str]:
    """Return schemes in lower case, written with or without ``://``."""
    if isinstance(given, str):
        raise TypeError(f"expected allow_schemes to be several names, found the text {given!r}; use a set")
    names = list(given)
    for name in names:
        _check_type("each of allow_schemes", name, str, "a name such as 'https'")
    return frozenset(name.lower().removesuffix("://").removesuffix(":") for name in names)


def _is_in_folder_of(uri: str, video: str) -> bool:
    """Whether a URI is in the folder of another, or below it. Links are not followed here."""
    if is_local(uri) and is_local(video):
        folder, path = posixpath.dirname(video), posixpath.normpath(uri)
        return path.startswith(posixpath.normpath(folder).rstrip("/") + "/")
    ours, other = urlsplit(video), urlsplit(uri)
    if (ours.scheme.lower(), ours.netloc) != (other.scheme.lower(), other.netloc):
        return False
    if any(escaped in other.path.lower() for escaped in ("\\", "%5c", "%2f")):
        return False
    if ".." in other.path.replace("%2e", ".").replace("%2E", ".").split("/"):
        return False
    return other.path.startswith(posixpath.dirname(ours.path).rstrip("/") + "/")


def _check_type(name: str, value: object, kind: type, words: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"expected {name} to be {words}, found {value!r:.100}")


def _check_count(name: str, value: object, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected {name} to be a whole number, found {value!r:.100}")
    if value < minimum:
        raise ValueError(f"expected {name} of {minimum} or more, found {value}")


TRUSTED = Access()
"""The default access."""
