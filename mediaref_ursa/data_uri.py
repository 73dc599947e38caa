"""Data URIs, under MediaRef's module name: the same objects as those of the package."""

from mediaref_ursa._references.data_uri import DataURI

__all__ = ["DataURI"]
