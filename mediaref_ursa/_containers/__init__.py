"""Containers as bytes, without FFmpeg: which one a file is, its boxes and chunks, what it claims, whether it was cut short."""
