"""Runs a module as a program, and writes down when each of its training steps begins and ends.

    python -m benchmarks.step_clock FILE MODULE ARGUMENTS...

FILE is there already and has room for all steps; it is mapped into memory, so that to write costs a training nothing,
and whoever has mapped it too sees each step at once.
"""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def make(file: Path, steps: int) -> NDArray[np.float64]:
    """An empty clock: a row a step, its begin and its end in seconds of `time.monotonic`; zeros until it is done."""
    return np.memmap(file, dtype=np.float64, mode="w+", shape=(steps, 2))


def write(file: Path) -> None:
    """From now on, the steps of this process's trainer are written to `file`."""
    from llm.training.trainer import Trainer

    rows = np.memmap(file, dtype=np.float64, mode="r+").reshape(-1, 2)
    row: Iterator[int] = iter(range(len(rows)))
    step = Trainer._step

    def timed(self: Trainer, *arguments, **options):  # type: ignore[no-untyped-def]
        begun = time.monotonic()
        done = step(self, *arguments, **options)
        rows[next(row)] = begun, time.monotonic()
        return done

    Trainer._step = timed  # type: ignore[method-assign]


if __name__ == "__main__":
    _, clock, module, *rest = sys.argv
    write(Path(clock))
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
