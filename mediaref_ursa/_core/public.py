"""``__module__`` of public classes and functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_Named = TypeVar("_Named", bound=Callable[..., Any])


def set_module(name: str) -> Callable[[_Named], _Named]:
    """Set ``__module__`` of a public class or function to the module that users import it from.

    So pickles, error messages and documentation pages do not depend on the layout of the package. It is the
    outermost decorator: pydantic and ``dataclass`` look annotations up in the module that defines a class.

    >>> @set_module("mediaref_ursa")
    ... def decode(): ...
    >>> decode.__module__
    'mediaref_ursa'
    """

    def named(public: _Named) -> _Named:
        public.__module__ = name
        return public

    return named
