"""Batches, under MediaRef's module name: the same objects as those of the package."""

from typing import Literal, TypeAlias

from mediaref_ursa._batch.batch_decode import batch_decode, cleanup_cache

DecoderBackend: TypeAlias = Literal["pyav", "tensorcodec", "torchcodec"]
"""The names of decoders, for ``decoder=``."""

__all__ = ["batch_decode", "cleanup_cache"]
