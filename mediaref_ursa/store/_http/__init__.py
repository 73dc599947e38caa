"""The store of ``http://`` and ``https://`` URIs, on requests.

The range reader is written by hand on purpose: no library resumes a body at the byte that was reached,
connects to the very address that was checked, and bounds the time of a whole body.
"""
