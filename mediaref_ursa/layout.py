"""Where the files of this library stand beside the media they describe."""

from __future__ import annotations

from mediaref_ursa._uris import is_data, without_query

__all__ = ["lance_frame_index_uri"]


def lance_frame_index_uri(uri: str) -> str:
    """Return the URI of the frame index of the video at ``uri``: ``<uri>.lance``.

    Query and fragment of a URI with a scheme are left out: they sign or select, and name no other
    file. In a plain path ``?`` and ``#`` are letters like any others.

    Args:
        uri: A path, or a URI that is no data URI.

    Raises:
        ValueError: A data URI has no place beside it.

    >>> lance_frame_index_uri("recordings/a.mp4")
    'recordings/a.mp4.lance'
    >>> lance_frame_index_uri("https://host/a.mp4?X-Amz-Signature=1#t=3")
    'https://host/a.mp4.lance'
    """
    if is_data(uri):
        raise ValueError("expected a path or URL, found a data URI: nothing can stand beside it")
    return f"{without_query(uri)}.lance"
