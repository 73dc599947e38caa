"""References in Hugging Face's ``datasets``: decoded as a view, and stored as plain structs.

Plain structs of ``uri`` and ``pts_ns`` load everywhere; ``DecodeRefs`` decodes them where they are looked at.
``MediaRefFeature`` reads what MediaRef's feature wrote; importing this module registers it, if ``datasets``
is installed. ``read_refs`` and ``write_card`` need no ``datasets``. ``docs/datasets.md`` shows all of it.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from mediaref_ursa._core.errors import MissingExtraError
from mediaref_ursa._core.extras import needs_extra

with needs_extra("video"):
    from mediaref_ursa.hf._card import write_card
    from mediaref_ursa.hf._decode_refs import DecodeRefs
    from mediaref_ursa.hf._read_refs import read_refs

if TYPE_CHECKING or find_spec("datasets") is not None:
    from mediaref_ursa.hf._feature import MediaRefFeature

__all__ = ["DecodeRefs", "MediaRefFeature", "read_refs", "write_card"]


def __getattr__(name: str) -> object:
    """Say what ``MediaRefFeature`` needs where ``datasets`` is not installed (PEP 562)."""
    if name == "MediaRefFeature":
        raise MissingExtraError("datasets is not installed; it comes with: pip install 'mediaref-ursa[hf]'")
    raise AttributeError(f"module 'mediaref_ursa.hf' has no attribute {name!r}")
