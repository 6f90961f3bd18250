"""Trainings that go on in turns are compared by the steps that all of them took without a pause."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks import step_clock
from benchmarks.turns import Turns, _Runner, compared, halted
from llm.training.trainer import Trainer


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as found:
        yield found
        found.kill()


def test_a_step_counts_only_where_all_took_it_without_a_pause() -> None:
    nan = float("nan")
    durations = {
        "in the flow": np.array([nan, 2.2, 2.2, nan, 4.4, 2.2, 2.2, 2.2, 2.2]),
        "alone": np.array([nan, 2.0, nan, 2.0, 4.0, 2.0, 2.0, 2.0, 2.0]),
    }
    found = compared([Turns(durations, rounds=6)])
    assert found["steps"] == 6
    assert found["seconds"] == {"in the flow": 15.4, "alone": 14.0}
    assert found["ratio"] == {"alone": {"all": 1.1, "from": 1.1, "to": 1.1, "median_step": 1.1, "starts": [1.1]}}


def test_the_interval_holds_what_single_turns_say() -> None:
    alone = np.ones(60)
    flow = np.repeat([1.0, 1.2, 1.0, 1.2, 1.0, 1.2], 10)
    ratio = compared([Turns({"flow": flow, "alone": alone}, rounds=6)])["ratio"]["alone"]
    assert ratio["all"] == 1.1
    assert 1.0 <= ratio["from"] < 1.1 < ratio["to"] <= 1.2


@pytest.mark.parametrize(("steps", "rounds"), [(60, 5), (5, 6)])
def test_too_few_rounds_or_steps_tell_nothing(steps: int, rounds: int) -> None:
    with pytest.raises(RuntimeError, match=f"{steps} steps in {rounds} rounds tell nothing"):
        compared([Turns({"flow": np.ones(steps), "alone": np.ones(steps)}, rounds=rounds)])


def test_several_starts_are_told_together_and_each() -> None:
    slow = Turns({"flow": np.full(12, 1.3), "alone": np.ones(12)}, rounds=6)
    fast = Turns({"flow": np.full(36, 0.9), "alone": np.ones(36)}, rounds=18)
    found = compared([slow, fast])
    assert (found["steps"], found["rounds"]) == (48, 24)
    assert found["ratio"]["alone"]["all"] == 1.0
    assert found["ratio"]["alone"]["starts"] == [1.3, 0.9]
    assert found["ratio"]["alone"]["from"] < 1.0 < found["ratio"]["alone"]["to"]


def test_a_step_in_which_a_turn_ends_or_that_is_not_done_has_no_duration(process: subprocess.Popen[bytes]) -> None:
    clock = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.5], [9.0, 10.0], [10.0, 11.0], [0.0, 0.0]])
    runner = _Runner("alone", process, clock, Path("log"), None, turns=[(0.5, 3.0), (8.5, 12.0)])
    assert np.array_equal(runner.durations(), [np.nan, 1.0, np.nan, np.nan, 1.0, np.nan], equal_nan=True)


def test_one_that_fails_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("error: no such corpus")
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"]) as process:
        process.wait()
        with pytest.raises(RuntimeError, match="alone ended with 2 after 0 of 9 steps:\nerror: no such corpus"):
            _ = _Runner("alone", process, np.zeros((9, 2)), tmp_path / "log", None).done


def test_halted_processes_stand_still_and_then_go_on(process: subprocess.Popen[bytes]) -> None:
    with halted(psutil.Process(process.pid)):
        assert _next_change(process) == os.CLD_STOPPED
    assert _next_change(process) == os.CLD_CONTINUED


def _next_change(process: subprocess.Popen[bytes]) -> int:
    # The system tells the parent a moment after the signal was sent.
    change = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WCONTINUED | os.WEXITED)
    assert change is not None
    return change.si_code


def test_each_step_of_a_trainer_is_written_with_its_begin_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = step_clock.make(tmp_path / "clock", 3)
    monkeypatch.setattr(Trainer, "_step", lambda _self, loss: (loss, 2, 3.0))
    step_clock.write(tmp_path / "clock")
    assert [Trainer._step(None, loss) for loss in (0.5, 0.25)] == [(0.5, 2, 3.0), (0.25, 2, 3.0)]
    (begun, ended), (begun_again, ended_again), not_done = clock.tolist()
    assert 0 < begun <= ended <= begun_again <= ended_again
    assert not_done == [0.0, 0.0]
