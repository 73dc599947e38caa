"""``LazyVideo``: windows and slices of a video that decode when they are asked for."""
