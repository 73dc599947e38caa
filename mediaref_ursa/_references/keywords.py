"""Unknown keywords of a model: an error in its constructor, ignored in a row that is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def refuse_unknown(model: Any, given: Iterable[str], advice: str) -> None:
    """Refuse names that are no fields of a Pydantic model which would ignore them.

    A subclass that allows or forbids further fields itself is left to Pydantic.

    Args:
        model: The class.
        given: The names.
        advice: What to do instead.

    Raises:
        TypeError: The message has the names, the fields and the advice.
    """
    fields = model.__pydantic_fields__
    unknown = [name for name in given if name not in fields]
    if not unknown or model.model_config.get("extra", "ignore") != "ignore":
        return
    aliases = {field.alias for field in fields.values()} | {
        field.validation_alias for field in fields.values() if isinstance(field.validation_alias, str)
    }
    unknown = [name for name in unknown if name not in aliases]
    if unknown:
        raise TypeError(
            f"{model.__name__} takes {', '.join(fields)}, found {', '.join(sorted(unknown))}; {advice}"
        )
