"""``mediaref-ursa check``: the references of a table, checked against the frame indexes of their media."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from mediaref_ursa._cli.progress import print_line, progress_bar

if TYPE_CHECKING:
    from mediaref_ursa.check import CheckReport


@click.command()
@click.argument("table")
@click.option("--column", help="The column of references; found by itself where there is one.")
@click.option("--uri", help="The column of URIs, of a table without a column of references.")
@click.option("--pts-ns", help="The column of times in nanoseconds, with --uri.")
@click.option("--path", help="The nested field that holds the reference, of structs or JSON.")
@click.option("--frame-column", help="A column with the number of each frame, to hold against its time.")
@click.option(
    "--nearest-ns", type=click.IntRange(min=0), help="How far from the nearest frame a time may lie."
)
@click.option("--base-dir", help="Where relative paths begin.")
@click.option("--untrusted", is_flag=True, help="The writer of the table is not trusted.")
@click.option(
    "--decode", metavar="N", type=click.IntRange(min=0), default=0, help="Decode and compare N frames."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def check(
    ctx: click.Context,
    table: str,
    column: str | None,
    uri: str | None,
    pts_ns: str | None,
    path: str | None,
    frame_column: str | None,
    nearest_ns: int | None,
    base_dir: str | None,
    untrusted: bool,
    decode: int,
    as_json: bool,
) -> None:
    """Check the references in TABLE against the indexes of their media, decoding nothing.

    TABLE is a Parquet file, a folder of them, JSON lines, or a Lance table. The exit code is 1 if something
    is wrong.

    Example: mediaref-ursa check train.parquet --column obs --decode 20
    """
    from mediaref_ursa._index.row_tables import read_rows
    from mediaref_ursa._model.access import Access
    from mediaref_ursa.check import check_lerobot, check_refs
    from mediaref_ursa.lerobot import is_data_set
    from mediaref_ursa.store._location import Location

    if is_data_set(table):
        of_tables = {
            "--uri": uri,
            "--pts-ns": pts_ns,
            "--path": path,
            "--frame-column": frame_column,
            "--nearest-ns": nearest_ns,
            "--base-dir": base_dir,
        }
        if given := [name for name, value in of_tables.items() if value is not None]:
            raise click.UsageError(f"expected {', '.join(given)} with a table, found a LeRobot data set")
        with progress_bar("checking") as bar:
            found = check_lerobot(
                table, camera=column, decode=decode, progress=bar.move_to, untrusted=untrusted
            )
        _print(ctx, found, as_json=as_json)
        return
    rows = read_rows(Location(table, access=Access(untrusted=untrusted)).absolute())
    if frame_column is not None and frame_column not in rows.column_names:
        raise click.UsageError(f"expected a column {frame_column!r}, found {', '.join(rows.column_names)}")
    with progress_bar("checking") as bar:
        report = check_refs(
            rows,
            column=column,
            uri=uri,
            pts_ns=pts_ns,
            path=path,
            frame_numbers=None if frame_column is None else rows.column(frame_column).to_numpy(),
            nearest_ns=nearest_ns,
            decode=decode,
            progress=bar.move_to,
            base_dir=base_dir,
            untrusted=untrusted,
        )
    _print(ctx, report, as_json=as_json)


def _print(ctx: click.Context, report: CheckReport, *, as_json: bool) -> None:
    print_line(json.dumps(report.to_dict(), indent=2) if as_json else report.to_text())
    if not report.is_ok:
        ctx.exit(1)
