"""Images: read, checked and decoded with Pillow."""
