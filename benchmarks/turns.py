"""The same training in several processes that go on in turns of some seconds: their paces, step by step.

A machine that is never quiet changes its pace by a tenth and more from one minute to the next, so that two trainings
one after the other say nothing of a hundredth. Here each goes on for a few seconds while the others stand still, and
what is compared is the time that each took for the same steps.
"""

from __future__ import annotations

import itertools
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks import step_clock
from deployments.processes import tree

_START_S = 300.0
_POLL_S = 0.01
_CATCH_UP_S = 1.0
# The first steps allocate.
_WARM_UP = 5
_FEWEST_ROUNDS = 6
_RESAMPLES = 2000


@dataclass(frozen=True)
class Training:
    """One that takes part: the `module` to run with `arguments`, and processes that stand still while it goes on."""

    module: str
    arguments: Sequence[str]
    without: psutil.Process | None = None


@dataclass
class _Runner:
    name: str
    process: subprocess.Popen[bytes]
    clock: NDArray[np.float64]
    log: Path
    without: psutil.Process | None
    turns: list[tuple[float, float]] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return int(np.count_nonzero(self.clock[:, 1]))

    @property
    def done(self) -> bool:
        code = self.process.poll()
        if code or (code == 0 and self.steps < len(self.clock)):
            told = f"{self.name} ended with {code} after {self.steps} of {len(self.clock)} steps"
            raise RuntimeError(f"{told}:\n{self.log.read_text()[-2000:]}")
        return self.steps == len(self.clock)

    def wait_for_first_steps(self) -> None:
        deadline = time.monotonic() + _START_S
        while self.steps < _WARM_UP:
            if self.done or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not begin to train:\n{self.log.read_text()[-2000:]}")
            time.sleep(_POLL_S)

    def go_on(self, seconds: float) -> None:
        with ExitStack() as stack:
            if self.without:
                stack.enter_context(halted(self.without))
            _to_all(psutil.Process.resume, tree(self.process.pid))
            # What was due while it, or the servers, stood still comes in the first moments.
            begun = time.monotonic() + _CATCH_UP_S
            while not self.done and time.monotonic() < begun + seconds:
                time.sleep(_POLL_S)
            # The turn ends with a step, so that how long a step takes does not decide whether it is cut.
            steps = self.steps
            while not self.done and self.steps == steps:
                time.sleep(_POLL_S)
            self.stand_still()
            self.turns.append((begun, time.monotonic()))

    def stand_still(self) -> None:
        _to_all(psutil.Process.suspend, tree(self.process.pid))

    def durations(self) -> NDArray[np.float64]:
        """Seconds from the end of the step before to the end of each; NaN where a turn ended meanwhile."""
        ends = np.asarray(self.clock[:, 1])
        begins = np.concatenate([[-np.inf], ends[:-1]])
        whole = np.zeros(len(ends), dtype=bool)
        for begun, ended in self.turns:
            # Steps that are not done end at 0.
            whole |= (begun <= begins) & (begins < ends) & (ends <= ended)
        return np.where(whole, ends - begins, np.nan)


@contextmanager
def halted(root: psutil.Process) -> Iterator[None]:
    """Inside, the process and all that it started stand still."""
    family = tree(root.pid)
    try:
        _to_all(psutil.Process.suspend, family)
        yield
    finally:
        _to_all(psutil.Process.resume, family)


def _to_all(act: Callable[[psutil.Process], None], processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            act(process)


@dataclass(frozen=True)
class Turns:
    """The seconds of each step by training, NaN where it did not count, and how many rounds they went on for."""

    durations: Mapping[str, NDArray[np.float64]]
    rounds: int


def take_turns(
    trainings: Mapping[str, Training],
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    steps: int,
    turn_s: float,
    first: int = 0,
) -> Turns:
    """Run all of them, until one has done its `steps`; the one of number `first` is started first, then those after it.

    Raises RuntimeError when one fails.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        runners = []
        named = list(trainings.items())
        for name, training in named[first:] + named[:first]:
            runner = _start(name, training, command, environment, folder=Path(folder), steps=steps)
            stack.callback(_end, runner)
            runner.wait_for_first_steps()
            runner.stand_still()
            runners.append(runner)
        rounds = 0
        # In every order, so that nobody always comes after the same one, or pays for a pace that changes steadily.
        for order in itertools.cycle(itertools.permutations(runners)):
            if any(runner.done for runner in runners):
                break
            for runner in order:
                runner.go_on(turn_s)
            rounds += 1
        return Turns({runner.name: runner.durations() for runner in runners}, rounds)


def _start(
    name: str, training: Training, command: Sequence[str], environment: Mapping[str, str], *, folder: Path, steps: int
) -> _Runner:
    place = folder / name.replace(" ", "-")
    clock = step_clock.make(place.with_suffix(".clock"), steps)
    log = place.with_suffix(".log")
    whole = [*command, "benchmarks.step_clock", str(place.with_suffix(".clock")), training.module, *training.arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(whole, env=dict(environment), stdout=output, stderr=output)
    return _Runner(name, process, clock, log, training.without)


def _end(runner: _Runner) -> None:
    _to_all(psutil.Process.kill, tree(runner.process.pid))
    runner.process.wait()


def compared(starts: Sequence[Turns]) -> dict[str, Any]:
    """How much longer than each other training the first one takes, over all the times that they were started.

    A process may keep a pace that its place in memory gives it, which more rounds of the same start would not show.

    The result has the number of steps that all did without a pause, the seconds that each took for them, and for each
    but the first the ratio of the first one's to its: of all starts together, with a 95 % interval from resampled
    rounds, and of each start.

    Raises RuntimeError when a start had fewer rounds than tell anything.
    """
    took = [_shared(start) for start in starts]
    first, *others = starts[0].durations
    rounds = sum(start.rounds for start in starts)
    whole = {name: np.concatenate([each[name] for each in took]) for name in (first, *others)}
    ratios = {
        other: _ratio(whole[first], whole[other], blocks=rounds)
        | {"starts": [round(float(each[first].sum() / each[other].sum()), 4) for each in took]}
        for other in others
    }
    seconds = {name: round(float(each.sum()), 2) for name, each in whole.items()}
    return {"steps": len(whole[first]), "rounds": rounds, "seconds": seconds, "ratio": ratios}


def _shared(start: Turns) -> dict[str, NDArray[np.float64]]:
    [shared] = np.nonzero(np.all([np.isfinite(each) for each in start.durations.values()], axis=0))
    if start.rounds < _FEWEST_ROUNDS or len(shared) < start.rounds:
        told = f"{len(shared)} steps in {start.rounds} rounds tell nothing"
        raise RuntimeError(f"{told}: take more steps, or shorter turns")
    return {name: each[shared] for name, each in start.durations.items()}


def _ratio(first: NDArray[np.float64], other: NDArray[np.float64], *, blocks: int) -> dict[str, Any]:
    # What disturbs a step disturbs its neighbours: stretches about as long as a round are drawn, not steps.
    sums = np.array([[part.sum() for part in np.array_split(each, blocks)] for each in (first, other)])
    drawn = np.random.default_rng(0).integers(0, blocks, size=(_RESAMPLES, blocks))
    resampled = sums[0][drawn].sum(axis=1) / sums[1][drawn].sum(axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {
        "all": round(float(first.sum() / other.sum()), 4),
        "from": round(float(low), 4),
        "to": round(float(high), 4),
        "median_step": round(float(np.median(first / other)), 4),
    }
