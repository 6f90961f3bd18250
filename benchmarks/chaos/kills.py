"""Random SIGKILLs over nights of tiny models, and what must be true when such a night has ended all the same."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos.forks import Forks
from benchmarks.chaos.house import ENDS, LONGEST_RUNNING_S, ChaosError, House, kill, until
from benchmarks.chaos.night import night
from benchmarks.chaos.registry import weights
from llm.families import FAMILIES

# Who is killed, how often of a hundred; a process that does not run at that moment leaves its share to the flow.
_SHARES = {
    "flow": 48,  # it trains
    "child": 22,  # scores a test split, or loads the logged model
    "supervisor": 5,  # Prefect's own process between worker and flow
    "worker": 9,
    "prefect server": 7,
    "mlflow server": 6,
    "up": 3,
}
_ROLES = {
    "llm.evaluate": "child",
    "tasks.reload_check": "child",
    "prefect.engine": "flow",
    "prefect.flow_engine": "flow",
    "prefect.runner._workspace_supervisor": "supervisor",
    "prefect.runner._workspace_resolver": "supervisor",
    "prefect worker": "worker",
    "deployments.prefect_server": "prefect server",
    "mlflow server": "mlflow server",
    "uvicorn": "mlflow server",
    "deployments.cli up": "up",
}
_FINISHED = re.compile(r"(?:Task|Flow) run '(.+?)(?:-[0-9a-f]{3})?' - (Beginning|Finished in state)")
_MOST_RUNS = 40


@dataclass
class Phase:
    """What a night does between two lines of its log, and for how long undisturbed."""

    name: str
    seconds: float


@dataclass
class Reference:
    """The undisturbed night: its phases, and the SHA-256 of the weights of each family and seed."""

    phases: list[Phase]
    weights: dict[str, str]


@dataclass
class Tally:
    """What was seen over all nights."""

    kills: int = 0
    nights: int = 0
    by_phase: Counter[str] = field(default_factory=Counter)
    by_role: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_end: float = 0.0  # seconds between a kill and the end of the run that it was meant for


class Milestones:
    """The ends of phases in the worker's log, as they are written."""

    def __init__(self, log: Path) -> None:
        self._log = log
        # The worker's log of before belongs to other runs.
        self._offset = log.stat().st_size if log.exists() else 0
        self._family = ""
        self.seen: list[str] = []

    def read(self) -> list[str]:
        """Names of all that has ended since this was made."""
        if self._log.exists():
            with self._log.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offset += len(whole)
            for line in whole.decode(errors="replace").splitlines():
                self._note(line)
        return self.seen

    def _note(self, line: str) -> None:
        if not (found := _FINISHED.search(line)):
            return
        name, what = found.groups()
        if name.startswith("retrain "):
            self._family = name.removeprefix("retrain ")
            self.seen.append(f"{self._family}/{'start' if what == 'Beginning' else 'end'}")
        elif what != "Beginning":
            self.seen.append(f"{self._family}/{name}" if self._family else name)


class Campaign:
    """Kills nights in `folder`, drawn from `seed`."""

    def __init__(
        self, folder: Path, forks: Forks, *, seed: int, families: Sequence[str] = tuple(FAMILIES), shares: bool = True
    ) -> None:
        self._folder = folder
        self._forks = forks
        self._shares = _SHARES if shares else {"flow": 1}
        self._draw = random.Random(seed)  # noqa: S311  (repeatable on purpose)
        self._config = night(folder / "rows", families).model_dump(mode="json")
        self._template: Path | None = None
        self.tally = Tally()

    def run(self, kills: int, *, a_night: int, reference: Reference | None = None) -> None:
        """Disturb nights, each `a_night` times at most, until `kills` processes were killed.

        Without a `reference`, one undisturbed night comes first.
        """
        if kills > a_night:
            # Later homes are copies: a new database costs seconds.
            template = House(self._folder / "template", self._forks)
            template.up()
            template.down()
            self._template = template.home
        reference = reference or self._undisturbed()
        while self.tally.kills < kills:
            self._disturbed(reference, most=min(a_night, kills - self.tally.kills))

    def _undisturbed(self) -> Reference:
        house = House(self._folder / "reference", self._forks, template=self._template)
        house.up()
        try:
            milestones = Milestones(house.home / "logs" / "worker.log")
            last = time.monotonic()
            run, phases = house.start_night(self._config), []
            while house.state(run) not in ENDS:
                for name in milestones.read()[len(phases) :]:
                    now = time.monotonic()
                    phases.append(Phase(name, now - last))
                    last = now
                time.sleep(0.05)
            if house.state(run) != "COMPLETED":
                raise ChaosError(f"the undisturbed night ended as {house.state(run)}: see {house.home}/logs/worker.log")
        finally:
            house.down()
        _say(f"undisturbed night: {sum(phase.seconds for phase in phases):.0f} s in {len(phases)} phases")
        return Reference(phases, weights(house.home / "stages"))

    def _disturbed(self, reference: Reference, *, most: int) -> None:
        home = self._folder / f"night-{self.tally.nights}"
        house = House(home, self._forks, template=self._template)
        begun, kills = time.monotonic(), self.tally.kills
        wrong: list[str] = []
        try:
            house.up()
            self._through(house, reference, most=most)
            wrong = Checks(house, self._forks, reference).run()
        except ChaosError as error:
            wrong.append(str(error))
        finally:
            house.down()
        left = [" ".join(one["arguments"][:3]) for one in house.processes()]
        wrong += [f"processes left over: {', '.join(left)}"] if left else []
        self.tally.nights += 1
        self.tally.wrong += [f"{home.name}: {one}" for one in wrong]
        done = self.tally.kills - kills
        _say(f"{home.name}: {done} kills, {time.monotonic() - begun:.0f} s, {'; '.join(wrong) or 'as undisturbed'}")
        if not wrong:
            shutil.rmtree(home)

    def _through(self, house: House, reference: Reference, *, most: int) -> None:
        """One night to its end, killed at most so many times."""
        moments = sorted(self._moment(reference) for _ in range(most))
        for _ in range(_MOST_RUNS):
            run = house.start_night(self._config)
            milestones = Milestones(house.home / "logs" / "worker.log")
            while (state := house.state(run)) not in ENDS:
                if state is None and not house.is_up():
                    raise ChaosError("nightshift up ended though nobody had killed one of its processes")
                due = moments and self._is_due(moments[0], milestones, reference)
                if due and self._kill_one(house, run, milestones, reference):
                    moments.pop(0)
                time.sleep(0.05)
            if state == "COMPLETED":
                return
            self._note_failure(house, run)
        raise ChaosError(f"the night had not ended after {_MOST_RUNS} runs")

    def _note_failure(self, house: House, run: str) -> None:
        found = house.ask(f"flow_runs/{run}")
        lines = (found["state"]["message"] or "").splitlines() if found else []
        self.tally.failures[lines[0][:160] if lines else "no message"] += 1

    def _moment(self, reference: Reference) -> tuple[int, float]:
        """A phase and how far into it, in seconds, drawn evenly over the length of the undisturbed night."""
        left = self._draw.uniform(0, sum(phase.seconds for phase in reference.phases))
        for index, phase in enumerate(reference.phases):
            if left < phase.seconds:
                return index, left
            left -= phase.seconds
        return len(reference.phases) - 1, 0.0

    def _is_due(self, moment: tuple[int, float], milestones: Milestones, reference: Reference) -> bool:
        index, seconds = moment
        if _reached(milestones.read(), reference) < index:
            return False
        time.sleep(seconds)
        return True

    def _kill_one(self, house: House, run: str, milestones: Milestones, reference: Reference) -> bool:
        running: dict[str, list[int]] = {}
        for process in house.processes():
            arguments = process["arguments"]
            role = _ROLES.get(" ".join(arguments[:2])) or _ROLES.get(arguments[0])
            if role is not None:
                running.setdefault(role, []).append(process["pid"])
        role = self._draw.choices(list(self._shares), list(self._shares.values()))[0]
        role = role if role in running else "flow"
        # The MLflow server is two processes, of which the younger answers.
        if role not in running or not kill(running[role][-1]):
            return False  # not there yet, or no more
        place = _reached(milestones.read(), reference)
        self.tally.kills += 1
        self.tally.by_role[role] += 1
        self.tally.by_phase[self._at(place, reference)] += 1
        _say(f"{house.home.name}: kill {self.tally.kills}: the {role} before the end of {self._at(place, reference)}")
        self._pick_up(house, run, role)
        return True

    def _at(self, place: int, reference: Reference) -> str:
        return reference.phases[min(place, len(reference.phases) - 1)].name

    def _pick_up(self, house: House, run: str, role: str) -> None:
        """Start again what does not start by itself, and wait for the end of the run unless it goes on."""
        killed = time.monotonic()
        if role == "child":
            return
        if role not in ("flow", "supervisor"):
            # Its servers and its worker it starts again.
            house.wait_for_its_end(longest=60 if role == "up" else 5)
            if not house.is_up():
                house.up()
        if role in ("flow", "worker", "up", "supervisor"):
            until(
                lambda: house.state(run) in ENDS,
                what=f"end of the run after the {role} was killed",
                longest=LONGEST_RUNNING_S,
            )
            self.tally.slowest_end = max(self.tally.slowest_end, time.monotonic() - killed)


class Checks:
    """What must be true of a night that was killed and ended: the same as of the undisturbed one."""

    def __init__(self, house: House, forks: Forks, reference: Reference) -> None:
        self._house = house
        self._forks = forks
        self._reference = reference

    def run(self) -> list[str]:
        """What is wrong; empty when nothing is."""
        found, expected = weights(self._house.home / "stages"), self._reference.weights
        wrong = [f"weights {found} and not {expected}"] * (found != expected)
        registry = look(self._house, self._forks)
        for name, digest in expected.items():
            family = name.partition("/")[0]
            wrong += [f"{family}: {one}" for one in _of_registry(registry[family], digest)]
        return wrong + self._of_prefect() + self._of_files()

    def _of_prefect(self) -> list[str]:
        wrong = []
        try:
            until(lambda: not self._house.open_runs(), what="all runs at their end", longest=LONGEST_RUNNING_S)
        except ChaosError:
            open_runs = [f"{one['name']} {one['state']['type']}" for one in self._house.open_runs()]
            wrong.append(f"runs that never end: {', '.join(open_runs)}")
        try:
            until(lambda: not self._house.taken_slots(), what="slots free", longest=60)
        except ChaosError:
            wrong.append(f"slots taken: {self._house.taken_slots()}")
        return wrong

    def _of_files(self) -> list[str]:
        """Folders that a crash left half-built; what stays is taken up or cleared by the next night."""
        left = [path.name for path in (self._house.home / "stages").glob("*/.partial-*")]
        temporary = list((self._house.home / "stages").rglob(".*.tmp"))
        return [f"left in stages: {', '.join(left)}"] * bool(left) + [
            f"left: {path.relative_to(self._house.home)}" for path in temporary
        ]


def _of_registry(found: dict[str, Any], digest: str) -> list[str]:
    """One training: one run of it, one version, which is champion and answers."""
    versions = list(found["versions"].values())
    expected = {"status": "READY", "decision": "promoted", "damage": "", "weights": digest}
    as_expected = len(versions) == 1 and all(versions[0][name] == value for name, value in expected.items())
    wrong = [f"versions {versions}"] * (not as_expected)
    wrong += [f"champion is {found['aliases'].get('champion')}"] * (str(found["aliases"].get("champion")) != "1")
    wrong += [f"runs {found['runs']}"] * ([status for _, status in found["runs"]] != ["FINISHED"])
    return wrong + [f"the champion does not load: {found['unloadable']}"] * bool(found["unloadable"])


def look(house: House, forks: Forks) -> dict[str, Any]:
    """What `benchmarks.chaos.registry` says of a home."""
    environment = forks.environment | {
        "NIGHTSHIFT_HOME": str(house.home),
        "MLFLOW_TRACKING_URI": f"sqlite:///{house.home}/mlflow/mlflow.db",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    command = [str(forks.python), "-m", "benchmarks.chaos.registry"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChaosError(f"the registry cannot be read: {done.stderr[-1000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _reached(seen: list[str], reference: Reference) -> int:
    """How many phases of the undisturbed night are behind a night that has written these lines."""
    order = {phase.name: index + 1 for index, phase in enumerate(reference.phases)}
    return max((order.get(name, 0) for name in seen), default=0)


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
