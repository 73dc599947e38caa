"""Pure planning: times to frames, frames to runs, runs to byte ranges and tasks; frozen values of arrays."""
