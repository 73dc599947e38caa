"""``mediaref-ursa index --into``: the frame indexes of many videos, put into one collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mediaref_ursa._cli.progress import Bar, print_line, progress_bar
from mediaref_ursa._core.errors import MediaRefError
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.wording import counted

if TYPE_CHECKING:
    from mediaref_ursa._index.collection_build import AddedVideo
    from mediaref_ursa.store._glob import Listed


@dataclass(frozen=True)
class IntoOptions:
    """The options of the command, the same for every video."""

    into: str
    jobs: int
    overwrite: bool
    full: bool
    decode: bool


def index_into(
    listed: Sequence[Listed], options: IntoOptions, failures: list[MediaRefError], has_gap: list[str]
) -> None:
    """Put videos into a collection, which is made where there is none; print what was done.

    Args:
        listed: The videos.
        options: The options of the command.
        failures: Gets the error of each video that has one.
        has_gap: Gets the videos of which frames are lost.
    """
    from mediaref_ursa._index.collection import CollectionIndex

    collection = CollectionIndex.open(options.into, create=True)
    with progress_bar("indexing") as bar:
        display = _Display(bar, len(listed), has_gap)
        report = collection.add(
            [video.uri for video in listed],
            jobs=options.jobs,
            overwrite=options.overwrite,
            full=options.full or None,
            decode=options.decode,
            on_error="skip",
            progress=display.show,
        )
        if report.added or report.replaced:
            collection.compact()
    failures += report.failed.values()
    done = {"added": report.added, "replaced": report.replaced, "fresh, kept": report.kept}
    facts = [f"{count} {what}" for what, count in done.items() if count or what == "added"]
    failed = [f"{len(report.failed)} failed"] if report.failed else []
    print_line(", ".join([f"{redact(options.into)}: {counted(len(listed), 'video')}", *facts, *failed]))


class _Display:
    """The progress bar, the lines above it, and the videos of which frames are lost."""

    def __init__(self, bar: Bar, total: int, has_gap: list[str]) -> None:
        self._bar, self._total, self._has_gap = bar, total, has_gap
        self._done = 0

    def show(self, video: AddedVideo) -> None:
        """Print a line about a video that was added or replaced, and move the bar."""
        self._done += 1
        if video.segments:
            facts = [video.state, counted(video.frames, "frame"), counted(video.segments, "segment")]
            self._bar.print_line(f"{redact(video.uri)}: {', '.join(facts)}")
            if video.problems:
                self._has_gap.append(redact(video.uri))
                self._bar.print_warning(f"{redact(video.uri)}: {'; '.join(video.problems)}")
        self._bar.move_to(self._done, self._total, f"indexing {self._done}/{self._total} videos")
