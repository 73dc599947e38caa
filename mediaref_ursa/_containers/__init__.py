"""Containers read as bytes, without FFmpeg: format, boxes and chunks, claimed counts, truncation.

Written by hand on purpose: these readers decide whether a demuxer may see a file, before it does. They need
few fields, read in bounds on hostile input, most of which FFmpeg does not report.
"""
