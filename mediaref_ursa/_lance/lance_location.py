"""Where a Lance table is, as Lance reads it: a path or URI, and the options of its object store."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from mediaref_ursa._core.errors import InvalidReferenceError, StoreError
from mediaref_ursa._core.uris import is_local, local_path, scheme_of
from mediaref_ursa._model.storage_options import StorageOptions, lance_options, lance_uri

_HUB = "https://huggingface.co"
_REVISION = re.compile(
    r"(hf://(?:(?:datasets|models|spaces)/)?[^/@]+/[^/@]+)@(refs/(?:convert|pr)/[^/]+|[^/]+)(.*)"
)
_REQUEST_DETAILS = re.compile(r"\?list-type\S*|: <\?xml.*")


def without_request_details(text: str) -> str:
    """Return a message of Lance without the query of a request, which may be signed, and its answer's body.

    >>> without_request_details("404 at http://host/bucket?list-type=2&prefix=x : <?xml version='1.0'?>")
    '404 at http://host/bucket '
    """
    return _REQUEST_DETAILS.sub("", text)


def lance_location(uri: str, options: StorageOptions | None) -> tuple[str, dict[str, str]]:
    """Return URI and options as Lance reads them; the environment counts as it is now.

    Raises:
        InvalidReferenceError: A path that is none, or a store whose options are missing.
        StoreError: Another Hugging Face Hub than that of the environment, which Lance cannot ask.

    >>> lance_location("s3://bucket/50%.lance", {"key": "a"})[0]
    's3://bucket/50%25.lance'
    >>> lance_location("hf://datasets/me/set@v1.0/a.mp4.lance", None)
    ('hf://datasets/me/set/a.mp4.lance', {'hf_revision': 'v1.0'})
    """
    if is_local(uri):
        return str(Path(local_path(uri)).absolute()), {}
    scheme = scheme_of(uri)
    if scheme == "hf":
        return _hub_location(uri, options)
    try:
        return lance_uri(uri), lance_options(scheme, options)
    except InvalidReferenceError as error:
        error.uri = uri
        raise


def _hub_location(uri: str, options: StorageOptions | None) -> tuple[str, dict[str, str]]:
    """Return a location on the Hugging Face Hub, whose revision Lance takes as an option.

    Lance reads the address of the Hub from the environment alone, and reads a revision in a URI as a part of
    the repository's name.
    """
    given = options or {}
    asked = str(given.get("endpoint") or given.get("hf_endpoint") or "").rstrip("/")
    known = os.environ.get("HF_ENDPOINT", _HUB).rstrip("/")
    if asked and asked != known:
        raise StoreError(
            f"expected the Hub at {known}, which Lance asks, found endpoint={asked!r} in storage_options; "
            f"set the environment variable HF_ENDPOINT={asked}",
            uri=uri,
        )
    found = _REVISION.fullmatch(uri)
    if found is None:
        return lance_uri(uri), lance_options("hf", options)
    plain = {**lance_options("hf", options), "hf_revision": unquote(found[2])}
    return lance_uri(f"{found[1]}{found[3]}"), plain
