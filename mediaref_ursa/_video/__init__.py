"""The videos of a batch or a lazy video: opened once, kept, and checked for changes."""
