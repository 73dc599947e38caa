"""The store of ``http://`` and ``https://`` URIs, on requests."""
