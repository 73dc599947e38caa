"""The report of a check: what was found, by kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.wording import counted

FIRST_ROWS = 10
"""How many rows of a finding are listed."""

MISSING = "missing media"
UNREADABLE = "unreadable media"
STALE = "stale index"
DAMAGED = "damaged index"
OUTSIDE = "outside the video"
BEYOND = "far from any frame"
NUMBER = "another frame number"
NO_FRAME = "no frame at the row's time"
OVERLAP = "episodes overlap"
PIXELS = "wrong pixels"
NO_INDEX = "no index"
DUPLICATE = "duplicates"
FROZEN = "frozen frames"
SIZES = "mixed sizes"
RATES = "mixed frame rates"
CODECS = "mixed codecs"
APART = "segments apart"

ERRORS = (MISSING, UNREADABLE, STALE, DAMAGED, OUTSIDE, BEYOND, NUMBER, NO_FRAME, OVERLAP, PIXELS)
NOTES = (NO_INDEX, DUPLICATE, FROZEN, SIZES, RATES, CODECS, APART)


@set_module("mediaref_ursa.check")
@dataclass(frozen=True)
class Finding:
    """One kind of finding.

    Attributes:
        kind: Such as ``"missing media"``.
        is_error: Whether something is wrong; else it is a note.
        count: How many references it concerns.
        rows: The first rows of the table that it concerns.
        text: What was found, of the first of them.
    """

    kind: str
    is_error: bool
    count: int
    rows: tuple[int, ...]
    text: str


@set_module("mediaref_ursa.check")
@dataclass(frozen=True)
class CheckReport:
    """The findings of a check, by kind.

    Attributes:
        references: How many there were.
        videos: How many videos they name.
        images: How many images they name.
        decoded: How many frames were decoded and compared.
        findings: Errors first, then notes.
    """

    references: int
    videos: int
    images: int
    decoded: int
    findings: tuple[Finding, ...]

    @property
    def is_ok(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.is_error for finding in self.findings)

    def of_kind(self, kind: str) -> Finding | None:
        """Return the finding of a kind; None if there is none."""
        return next((finding for finding in self.findings if finding.kind == kind), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values of JSON."""
        return {**asdict(self), "is_ok": self.is_ok}

    def to_text(self) -> str:
        """Return the report as lines of text."""
        decoded = f", {counted(self.decoded, 'frame')} decoded" if self.decoded else ""
        head = (
            f"{counted(self.references, 'reference')} to {counted(self.videos, 'video')} and "
            f"{counted(self.images, 'image')}{decoded}: {'no errors' if self.is_ok else 'errors'}"
        )
        return "\n".join([head, *map(_line, self.findings)])


def _line(finding: Finding) -> str:
    rows = ", ".join(map(str, finding.rows)) + (", ..." if finding.count > len(finding.rows) else "")
    return (
        f"{'error' if finding.is_error else 'note'}: {finding.kind}: {counted(finding.count, 'reference')}, "
        f"rows {rows}: {finding.text}"
    )


class Findings:
    """Findings as they come up, by kind."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._rows: dict[str, list[int]] = {}
        self._texts: dict[str, str] = {}

    def add(self, kind: str, rows: Iterable[int], text: str, count: int | None = None) -> None:
        """Add rows to a kind, of which there may be more than are listed; the text of the first is kept."""
        found = [int(row) for row in rows]
        if not found:
            return
        self._counts[kind] = self._counts.get(kind, 0) + (len(found) if count is None else count)
        self._rows[kind] = sorted([*self._rows.get(kind, []), *sorted(found)[:FIRST_ROWS]])[:FIRST_ROWS]
        self._texts.setdefault(kind, text)

    def sorted(self) -> tuple[Finding, ...]:
        """Return them, errors first."""
        return tuple(
            Finding(kind, kind in ERRORS, self._counts[kind], tuple(self._rows[kind]), self._texts[kind])
            for kind in (*ERRORS, *NOTES)
            if kind in self._counts
        )
