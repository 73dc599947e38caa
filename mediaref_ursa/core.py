"""References, under MediaRef's module name: the same objects as those of the package."""

from mediaref_ursa._references.media_ref import MediaRef

__all__ = ["MediaRef"]
