"""Kills a job at each rename and each removal that it does, in a process of its own each time, and lets it go on.

`python killed_jobs.py MODEL FOLDER OUTPUT...`: predicts FOLDER/in.jsonl to each OUTPUT. Prints a line for each kill:
the output's name, how many kills it took so far, and the SHA-256 of the output that came out in the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toy_jobs import MODEL

from llm.batch_prediction.config import BatchConfig
from llm.batch_prediction.job import BatchJob
from llm.files import sha256_of
from llm.predictor import Predictor


def dying_at(count: int, what: Callable[..., Any]) -> Callable[..., Any]:
    """`what`, which the process does not survive to do for the time `count`."""
    calls = 0

    def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return what(*arguments, **options)

    return counting


def in_a_process(work: Callable[[], None]) -> int:
    """The signal that ended it; 0: it ended by itself."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return -os.waitstatus_to_exitcode(status)


def kill_everywhere(predict: Callable[[], None], output: Path, *, module: Any, name: str) -> None:
    """Kill before the first, the second, ... call of a function, until there is none to kill before."""
    whole = getattr(module, name)
    for count in range(1, 100):

        def killed(count: int = count) -> None:
            setattr(module, name, dying_at(count, whole))
            predict()

        was_killed = in_a_process(killed) != 0
        if was_killed:
            assert in_a_process(predict) == 0
            sys.stdout.write(f"{output.name} {name} {count} {sha256_of(output)}\n")
            sys.stdout.flush()
        output.unlink()
        assert not output.with_name(f"{output.name}.partial").exists()
        if not was_killed:
            return


def main() -> None:
    folder = Path(sys.argv[2])
    for name in sys.argv[3:]:

        def predict(name: str = name) -> None:
            config = BatchConfig(input=str(folder / "in.jsonl"), output=str(folder / name), rows_per_part=10)
            with BatchJob(config, MODEL, downloads=folder) as job:
                # Loaded here: threads that a model has started are not there in a process that is forked off.
                job.run(Predictor.load(sys.argv[1], device="cpu"))

        kill_everywhere(predict, folder / name, module=os, name="replace")
        kill_everywhere(predict, folder / name, module=shutil, name="rmtree")


if __name__ == "__main__":
    main()
