"""The segment cache on disk: fetched byte ranges, shared by all processes of a user.

``_cache`` puts the parts together; ``mediaref_ursa._cache.settings`` says where the cache is and how
large it may grow. On disk::

    account                        how many bytes are taken; the lock of the writer that changes it
    objects/<key>/meta.json        which object it is, for people
    objects/<key>/<offset>-<length>    one fetched range, with checksums
    writing/<key>.<offset>-<length>.<pid>.<random>    one that is being written

``<key>`` is the SHA-256 of an object's URI and entity tag. Reading takes no lock. A writer that adds or
removes takes the lock of ``account`` for a moment, and never while it fetches or writes.
"""
