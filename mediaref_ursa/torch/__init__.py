"""References in torch's loaders: data sets over tables and videos, and shuffling by runs.

Needs torch, which the extra ``torch`` brings.
"""

from __future__ import annotations

from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._references.collate import let_torch_collate
from mediaref_ursa._references.media_ref import MediaRef

with needs_extra("torch"):
    from mediaref_ursa.torch._collate import collate
    from mediaref_ursa.torch._planes import yuv420_to_rgb
    from mediaref_ursa.torch._ref_dataset import RefDataset
    from mediaref_ursa.torch._run_batch_sampler import RunBatchSampler
    from mediaref_ursa.torch._run_shuffle import RunShuffle
    from mediaref_ursa.torch._run_shuffle_dataset import RunShuffleDataset
    from mediaref_ursa.torch._window_dataset import WindowDataset

let_torch_collate(MediaRef)

__all__ = [
    "RefDataset",
    "RunBatchSampler",
    "RunShuffle",
    "RunShuffleDataset",
    "WindowDataset",
    "collate",
    "yuv420_to_rgb",
]
