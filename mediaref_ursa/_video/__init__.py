"""Video sources of batches and lazy videos: opened, cached, and checked for changes."""
