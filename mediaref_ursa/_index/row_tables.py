"""Rows of Lance tables that are no frame indexes, such as catalogs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mediaref_ursa._core.errors import CorruptMediaError, MediaNotFoundError, StoreError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.uris import is_local, local_path, scheme_of
from mediaref_ursa._index.lance_calls import LanceCallError, LanceProcessError, Rules, describe, read
from mediaref_ursa._index.lance_files import TableRefusedError
from mediaref_ursa._model.storage_options import lance_options, lance_uri
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    import pyarrow as pa

_MAX_BYTES = 1 << 30
_IS_MISSING = re.compile(r"was not found|404 Not Found|NoSuchBucket")


def read_row_table(table: Location, columns: Sequence[str]) -> pa.Table:
    """Read columns of all rows of a Lance table, of its latest version; columns that it lacks are left out.

    Args:
        table: Where it is, checked to be permitted.
        columns: Names of columns.

    Raises:
        MediaNotFoundError: No table is there.
        CorruptMediaError: Lance cannot read it, or it is not as the access allows.
        StoreError: The store refuses, or the process that reads the table ended.
    """
    access, uri = table.access, table.uri
    where = str(Path(local_path(uri)).absolute()) if is_local(uri) else lance_uri(uri)
    options = {} if is_local(uri) else lance_options(scheme_of(uri), table.storage_options or {})
    rules = Rules(access.allow_outside_index, strict=False, limits=access.scan_limits)
    try:
        version, _, schema = describe(where, options, rules=rules)
        names = [name for name in columns if name in schema.names]
        if not names:
            return schema.empty_table()
        return read(where, options, version, names, {}, rules=rules, max_answer_bytes=_MAX_BYTES)
    except LanceProcessError as error:
        raise StoreError(f"Lance could not read the table: {error}", uri=uri) from error
    except TableRefusedError as error:
        raise CorruptMediaError(str(error), uri=uri) from error
    except LanceCallError as error:
        if _IS_MISSING.search(str(error)):
            raise MediaNotFoundError("expected a Lance table, found none", uri=uri) from error
        raise CorruptMediaError(
            f"expected a Lance table, found that Lance cannot read it: {error}", uri=uri
        ) from error
