"""``mediaref-ursa cache``: the contents of the range cache, and clearing it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mediaref_ursa._cli.progress import size_text

if TYPE_CHECKING:
    from mediaref_ursa._cache.settings import EvictionResult


@click.group()
def cache() -> None:
    """Show, clear or prune the cache of fetched byte ranges.

    MEDIAREF_URSA_CACHE names its directory, MEDIAREF_URSA_CACHE_LIMIT its quota (such as 50GB, or 0 for no
    cache).
    """


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(as_json: bool) -> None:
    """Print where the cache is, its quota, and what it holds."""
    from mediaref_ursa._cache.settings import shared_range_cache

    found = shared_range_cache().info()
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
        return
    click.echo(f"directory  {found.directory}")
    click.echo(f"quota      {size_text(found.quota_bytes)}")
    click.echo(f"stored     {size_text(found.stored_bytes)}")
    click.echo(f"objects    {found.objects}")
    click.echo(f"ranges     {found.ranges}")


@cache.command()
def clear() -> None:
    """Remove everything that is cached."""
    from mediaref_ursa._cache.settings import shared_range_cache

    click.echo(_evicted_text(shared_range_cache().clear()))


@cache.command()
def prune() -> None:
    """Remove orphans of dead processes, and the least recently used ranges above the quota."""
    from mediaref_ursa._cache.settings import shared_range_cache

    click.echo(_evicted_text(shared_range_cache().prune()))


def _evicted_text(evicted: EvictionResult) -> str:
    orphans = "1 leftover" if evicted.orphans == 1 else f"{evicted.orphans} leftovers"
    ranges = "1 range" if evicted.ranges == 1 else f"{evicted.ranges} ranges"
    return f"removed {ranges} and {orphans} of ended processes, freed {size_text(evicted.freed_bytes)}"
