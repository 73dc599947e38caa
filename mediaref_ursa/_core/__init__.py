"""The base of the package: errors, times, URIs, counters, process-wide state."""
