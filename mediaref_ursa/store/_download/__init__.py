"""Downloads of ranges: retried, resumed, and checked."""
