"""MediaRef's cache of open containers, which this library does not have."""

raise ImportError(
    "expected no use of mediaref_ursa.cached_av, found one: no video stays open between calls; open "
    "containers with av.open, and decode with batch_decode, which keeps indexes and decoders"
)
