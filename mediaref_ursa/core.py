"""References, in the module where MediaRef has them: the same names as those of the package."""

from mediaref_ursa._references.media_ref import MediaRef

__all__ = ["MediaRef"]
