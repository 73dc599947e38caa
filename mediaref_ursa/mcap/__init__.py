"""References in MCAP files: written, read, and made of topics of compressed images and video.

Needs mcap, which the extra ``mcap`` brings.
"""

from __future__ import annotations

from mediaref_ursa._core.extras import needs_extra

with needs_extra("mcap"):
    from mediaref_ursa.mcap._extract import extract_video
    from mediaref_ursa.mcap._refs import read_refs, write_refs

__all__ = ["extract_video", "read_refs", "write_refs"]
