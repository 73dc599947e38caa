"""The values that all parts share: segment tables, index metadata, pixel formats, access."""
