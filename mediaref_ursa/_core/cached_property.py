"""A property that is computed once an object, without a lock.

``functools.cached_property`` of Python 3.10 and 3.11 holds one lock for all objects of a class while it
computes. A child that is forked meanwhile would wait forever for a thread that it does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class cached_property(Generic[T]):  # noqa: N801 - named as the standard library's
    """A property whose value is computed on first use and kept in the object's ``__dict__``.

    Threads that ask at the same time may each compute it: the function must be pure.

    >>> class Square:
    ...     side = 3
    ...
    ...     @cached_property
    ...     def area(self) -> int:
    ...         return self.side**2
    >>> square = Square()
    >>> square.area, square.__dict__
    (9, {'area': 9})
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> cached_property[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> cached_property[T] | T:
        if instance is None:
            return self
        value = self._function(instance)
        return instance.__dict__.setdefault(self._function.__name__, value)  # type: ignore[no-any-return]
