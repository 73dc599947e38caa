"""``mediaref-ursa inspect``: reports on videos, by their frame indexes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mediaref_ursa._cli.progress import print_line, report_failures
from mediaref_ursa._core.errors import FrameIndexError, MediaRefError, MissingExtraError
from mediaref_ursa.layout import INDEX_SUFFIX

if TYPE_CHECKING:
    from mediaref_ursa._index.collection_report import CollectionReport
    from mediaref_ursa._index.report import VideoReport


@click.command()
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object; a list of them for several videos."
)
@click.pass_context
def inspect(ctx: click.Context, videos: tuple[str, ...], as_json: bool) -> None:
    """Print a report on each VIDEO, from its frame index, or from a scan if none is fresh.

    A VIDEO is what it is for index: a path, a URL, a folder, a pattern, or the name of a recording of several
    files that has an index. Of a collection of indexes the report says what it holds, and what is stale.
    """
    from mediaref_ursa.store._glob import all_videos_named, names_one_video

    reports: list[VideoReport | CollectionReport] = []
    for name in (collections := [video for video in videos if _names_collection(video)]):
        reports.append(_report_on_collection(name))
        if not as_json:
            print_line("\n" * (len(reports) > 1) + reports[-1].to_text())
    listed, failures = all_videos_named([video for video in videos if video not in collections])
    total = len(listed) + len(failures)
    for video in listed:
        try:
            reports.append(_report(video.uri))
        except MissingExtraError:  # every other video would fail in the same way
            raise
        except MediaRefError as error:
            failures.append(error)
        else:
            if not as_json:
                print_line("\n" * (len(reports) > 1) + reports[-1].to_text())
    if as_json and len(videos) == 1 and (collections or names_one_video(videos[0])):
        for report in reports:
            print_line(json.dumps(report.to_dict(), indent=2))
    elif as_json:
        print_line(json.dumps([report.to_dict() for report in reports], indent=2))
    report_failures(failures, total, "inspected")
    if failures:
        ctx.exit(1)


def _names_collection(uri: str) -> bool:
    """Return whether a name is that of a collection; in a cloud store it has to end in .lance."""
    from mediaref_ursa._core.uris import is_cloud, is_local, local_path
    from mediaref_ursa.store._glob import is_collection

    if is_local(uri):
        return Path(local_path(uri), "_versions").is_dir() and is_collection(local_path(uri))
    if not is_cloud(uri) or not uri.rstrip("/").endswith(INDEX_SUFFIX):
        return False
    from mediaref_ursa._index.collection import CollectionIndex

    try:
        CollectionIndex.open(uri.rstrip("/"))
    except FrameIndexError:
        return False
    return True


def _report_on_collection(uri: str) -> CollectionReport:
    from mediaref_ursa._index.collection import CollectionIndex
    from mediaref_ursa._index.collection_report import report_on_collection

    return report_on_collection(CollectionIndex.open(uri.rstrip("/")))


def _report(video: str) -> VideoReport:
    from mediaref_ursa._index.build import scan_frame_index
    from mediaref_ursa._index.found import find_index
    from mediaref_ursa._index.report import report_on
    from mediaref_ursa.store._location import Location

    found = find_index(Location(video), in_collections=True)
    tables = found.tables
    if not tables:
        scanned = scan_frame_index(video, segments=found.segment_uris)
        tables = tuple(scanned.segment_table(number) for number in range(len(scanned.segments)))
    place = None if found.index is None else found.index.place
    report = report_on(video, tables, found.state, found.location, place)
    if found.reason:
        print_line(f"note: the frame index is not used: {found.reason}", err=True)
    return report
