"""The frame index: built, written, found, opened, and reported on."""
