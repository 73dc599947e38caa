"""Batches, under MediaRef's module name: the same objects as those of the package."""

from mediaref_ursa._batch.batch_decode import batch_decode, cleanup_cache

__all__ = ["batch_decode", "cleanup_cache"]
