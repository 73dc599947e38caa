"""Phrases that several messages share: numbers with their nouns, and the advice to write an index anew."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, which takes an s unless the number is 1.

    >>> counted(1, "frame"), counted(0, "frame"), counted(2, "random access point")
    ('1 frame', '0 frames', '2 random access points')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


WRITE_ANEW = "write it anew with: mediaref-ursa index --overwrite"
"""The advice in errors about a frame index that cannot be used."""

ADD_ANEW = (
    "put it in anew with CollectionIndex.add(..., overwrite=True), or mediaref-ursa index --into --overwrite"
)
"""The advice in errors about rows of a collection that cannot be used."""
