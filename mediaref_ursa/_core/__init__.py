"""What every other part of the package uses: errors, times, URIs, counters, the state of the process."""
