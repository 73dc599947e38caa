"""The values that all parts share: segment tables, index metadata, pixels, what access is allowed."""
