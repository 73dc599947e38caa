"""How long ``import mediaref_ursa`` takes, as a multiple of ``import pydantic, numpy``.

Each import runs in a fresh interpreter, the two in turn, so that a busy moment slows both.

    python benchmarks/import_time.py [ROUNDS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys

MEASURE = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"
OURS = "import mediaref_ursa"
THEIRS = "import pydantic, numpy"
ROUNDS = 21


def seconds_to_run(statement: str) -> float:
    """Return the seconds that one statement takes in a fresh interpreter."""
    command = [sys.executable, "-c", MEASURE.format(statement)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - this interpreter
    return float(done.stdout)


def main(rounds: int) -> None:
    """Print the median times and the median of the ratios of each round."""
    seconds_to_run(OURS), seconds_to_run(THEIRS)  # once for the file system's cache and the bytecode
    pairs = [(seconds_to_run(OURS), seconds_to_run(THEIRS)) for _ in range(rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(mine / other for mine, other in pairs)
    print(f"{OURS}: {ours * 1000:.0f} ms")
    print(f"{THEIRS}: {theirs * 1000:.0f} ms")
    print(f"median ratio of {rounds} rounds: {ratio:.2f} (wanted: under 1.5)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
