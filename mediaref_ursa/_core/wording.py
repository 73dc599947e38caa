"""Numbers and their nouns, as messages have them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, which takes an s unless there is one of it.

    >>> counted(1, "frame"), counted(0, "frame"), counted(2, "random access point")
    ('1 frame', '0 frames', '2 random access points')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


WRITE_ANEW = "write it anew with: mediaref-ursa index --overwrite"
"""What to do about a frame index that cannot be used."""
