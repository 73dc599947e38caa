"""Catalogs of recordings: a table with a row for each modality, and sessions that are read from it."""

from __future__ import annotations

from mediaref_ursa.catalog._catalog import Catalog
from mediaref_ursa.catalog._rows import ModalityRow, StorageFormat, from_arrow, open_modality, to_arrow

__all__ = ["Catalog", "ModalityRow", "StorageFormat", "from_arrow", "open_modality", "to_arrow"]
