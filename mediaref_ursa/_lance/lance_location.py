"""Where a Lance table is, as Lance reads it: a path or URI, and the options of its object store."""

from __future__ import annotations

import re
from pathlib import Path

from mediaref_ursa._core.errors import InvalidReferenceError
from mediaref_ursa._core.uris import is_local, local_path, scheme_of
from mediaref_ursa._model.storage_options import StorageOptions, lance_options, lance_uri

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

    >>> lance_location("s3://bucket/50%.lance", {"key": "a"})[0]
    's3://bucket/50%25.lance'
    """
    if is_local(uri):
        return str(Path(local_path(uri)).absolute()), {}
    try:
        return lance_uri(uri), lance_options(scheme_of(uri), options)
    except InvalidReferenceError as error:
        error.uri = uri
        raise
