"""How frames of one video are decoded together."""

from __future__ import annotations

from mediaref_ursa._plan import BatchDecodingStrategy

__all__ = ["BatchDecodingStrategy"]
