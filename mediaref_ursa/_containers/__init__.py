"""Containers as bytes, without FFmpeg: their kind, boxes and chunks, what they claim, where they end."""
