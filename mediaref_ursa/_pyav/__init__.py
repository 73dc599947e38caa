"""The adapter to PyAV: demuxing, codec contexts, conversion to pixels, mapped errors."""

from mediaref_ursa._core.extras import needs_extra

with needs_extra("video"):
    import av  # noqa: F401 - what is not installed is reported here, for all modules
