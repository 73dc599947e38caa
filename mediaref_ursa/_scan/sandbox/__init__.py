"""Sandboxed scanning: a process of its own, under limits of memory and time."""
