"""MediaRef's counted cache of resources, which this library does not have."""

raise ImportError(
    "expected no use of mediaref_ursa.resource_cache, found one: no video stays open between calls; "
    "cleanup_cache() releases what is kept, and functools.lru_cache keeps what is yours"
)
