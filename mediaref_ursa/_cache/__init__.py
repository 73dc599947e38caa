"""The range cache on disk: fetched byte ranges, shared by all processes of a user.

``range_cache`` joins the parts; ``settings`` says where the cache is and how large it may grow. Written by
hand on purpose: diskcache is unmaintained and unpickles what it finds on disk, and fsspec's caches have
neither a quota over all processes nor checksums. On disk::

    account                        how many bytes are taken; the lock of the writer that changes it
    objects/<key>/meta.json        the object's URI and entity tag, for inspection
    objects/<key>/<offset>-<length>    one fetched range, with checksums
    writing/<key>.<offset>-<length>.<pid>.<random>    a range that is being written

``<key>`` is the SHA-256 of an object's URI and entity tag. Reading takes no lock. A writer that adds or
removes a range holds the lock of ``account`` for a moment, and never while it fetches or writes.
"""
