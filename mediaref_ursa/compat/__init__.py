"""Conversions to and from how other libraries write references, without these libraries."""
