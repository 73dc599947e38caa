"""The store of cloud URIs, on fsspec."""
