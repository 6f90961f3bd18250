"""The short `make chaos`: a flow killed at drawn moments; calls of a training and of a registration that fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.chaos import acts
from benchmarks.chaos.__main__ import run_faults
from benchmarks.chaos.forks import Forks
from benchmarks.chaos.kills import Campaign, Phase, Reference
from benchmarks.chaos.registry import weights

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

TASKS = ("ingest corpus", "train tokenizer", "train model", "evaluate model", "register challenger", "judge challenger")


def test_a_night_that_is_killed_ends_like_plain_function_calls(tmp_path: Path, nightshift_home: Path) -> None:
    # The weights that the same options give without flows, servers and kills.
    recipe = acts.recipe(tmp_path / "rows", seed=1)
    acts.train(recipe, acts.stages(recipe))
    phases = [Phase(f"{acts.FAMILY}/{name}", 0.5) for name in TASKS]
    reference = Reference(phases, weights(nightshift_home / "stages"))
    with Forks(tmp_path) as forks:
        campaign = Campaign(tmp_path, forks, seed=1, families=[acts.FAMILY], shares=False)
        campaign.run(2, a_night=2, reference=reference)
    assert (campaign.tally.kills, campaign.tally.wrong) == (2, [])


def test_failing_writes_leave_a_champion_that_loads_and_the_next_run_ends_like_an_undisturbed_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    few = ("--only", "registration", "--sites", "1", "--seed", "5")
    code = run_faults(tmp_path / "faults", *few)
    told = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (code, told["wrong"], told["faults"]) == (0, [], 3)
