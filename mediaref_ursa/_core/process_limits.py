"""Resource limits of the operating system, for processes that read untrusted media."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

KEPT_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "TMPDIR", "TZ")
"""Environment variables that such a process inherits: paths and the language, no credentials."""


def lower_limit(what: int, limit: int) -> None:
    """Lower a resource limit (``resource.RLIMIT_...``) of this process for good; it is never raised."""
    _, hard_limit = resource.getrlimit(what)
    if hard_limit == resource.RLIM_INFINITY or limit < hard_limit:
        with contextlib.suppress(OSError, ValueError):  # macOS knows some of these by name only
            resource.setrlimit(what, (limit, limit))


def limit_next_memory(more_bytes: int) -> None:
    """Let this process map so many bytes more than now; the next call sets another limit."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_AS)
    limit = address_space_bytes() + more_bytes
    if hard_limit != resource.RLIM_INFINITY:
        limit = min(limit, hard_limit)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard_limit))


def address_space_bytes() -> int:
    """Return the bytes of address space that this process uses: the interpreter and its libraries."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:  # no such file system: macOS
        return 0
