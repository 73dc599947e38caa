"""References in Ray Data: decoded, indexed, and sorted by run, on many machines.

Needs Ray: ``pip install "mediaref-ursa[ray]"``. ``docs/ray.md`` shows how these go together.
"""

from __future__ import annotations

from mediaref_ursa._core.extras import needs_extra

with needs_extra("ray"):
    from mediaref_ursa.ray._decode_frames import DecodeFrames
    from mediaref_ursa.ray._index_videos import index_videos
    from mediaref_ursa.ray._sort_by_run import sort_by_run

__all__ = ["DecodeFrames", "index_videos", "sort_by_run"]
