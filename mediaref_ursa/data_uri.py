"""Data URIs, in the module where MediaRef has them: the same names as those of the package."""

from mediaref_ursa._references.data_uri import DataURI

__all__ = ["DataURI"]
