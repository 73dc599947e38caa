"""torch's default collation of references: a batch of them is a list, which ``batch_decode`` takes."""

from __future__ import annotations

import sys
from typing import Any

_MODULE = "torch.utils.data._utils.collate"


def let_torch_collate(kind: type[Any]) -> None:
    """Register a class with ``torch.utils.data.default_collate``, where torch is loaded.

    Called whenever references are made or unpickled, since torch may be loaded after this package, and by
    ``mediaref_ursa.torch``, which serves references that were made before torch was loaded.

    Args:
        kind: Its objects are put into a list.
    """
    module = sys.modules.get(_MODULE)
    if module is not None:
        getattr(module, "default_collate_fn_map", {}).setdefault(kind, _as_list)


def _as_list(batch: list[Any], *, collate_fn_map: Any = None) -> list[Any]:
    return list(batch)
