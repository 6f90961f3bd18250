"""The simulated nights look like real rows, planted effects have their size, and the table tells what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gate_calibration import FAMILIES, Plant, markdown, one_night, share, skill_for, split_of, stated_sizes
from llm.statistics.slices import MINIMUM_ROWS

ROOT = Path(__file__).parents[2]


def drawn(name, *, rows=20_000, skill=0.0, seed=1):
    random = np.random.default_rng(seed)
    split = split_of(random, FAMILIES[name], rows=rows)
    return split, *FAMILIES[name].answer(random, split, np.full(rows, skill))


@pytest.mark.parametrize("name", FAMILIES)
def test_both_models_find_the_same_rows_hard(name):
    _, champion, challenger = drawn(name)
    value = FAMILIES[name].measure.value
    a, b = value(champion), value(challenger)
    assert 0.2 < np.corrcoef(a, b)[0, 1] < 0.9999
    assert (a != b).mean() > 0.03


@pytest.mark.parametrize("name", FAMILIES)
def test_a_night_without_an_effect_favours_neither_model(name):
    compare = FAMILIES[name].measure.compare
    found = [compare(*drawn(name, rows=3000, seed=seed)[1:]) for seed in range(20)]
    # Each interval misses in one case of twenty; five or more do in one of 400 sets of them.
    assert sum(one.low < 0 < one.high for one in found) >= 16


@pytest.mark.parametrize(("name", "target"), [("generation", 0.02), ("translation", 2.5), ("classification", -2.0)])
def test_a_planted_effect_has_its_size(name, target):
    skill = skill_for(name, target, where="", seed=1)
    _, champion, challenger = drawn(name, rows=60_000, skill=skill, seed=9)
    measure = FAMILIES[name].measure
    found = measure.compare(champion, challenger)
    improvement = found.difference if measure.higher_is_better else -found.difference
    # Three standard errors of the difference on these rows.
    assert improvement == pytest.approx(target, abs=0.75 * (found.high - found.low))


def test_matches_of_longer_n_grams_are_never_more():
    _, champion, _ = drawn("translation", rows=2000)
    matches, ngrams = champion[:, 2:6], champion[:, 6:]
    assert (np.diff(matches, axis=1) <= 0).all()
    assert (matches <= ngrams).all()


def test_every_slice_is_large_enough_to_be_judged():
    for name, family in FAMILIES.items():
        split, _, _ = drawn(name, rows=family.rows)
        assert len(split.slices) == 8
        # The smallest source of the 400 documents holds 40.
        assert min(mask.sum() for mask in split.slices.values()) >= MINIMUM_ROWS - 5


def test_a_plant_touches_one_slice_alone():
    split, _, _ = drawn("classification", rows=500)
    shift = Plant(0.1, "source support", -2.0).shift(split)
    inside = split.slices["source support"]
    assert (shift[inside] == -2.0).all()
    assert (shift[~inside] == 0.1).all()


def test_a_night_is_the_same_twice_and_a_large_regression_blocks():
    plant = Plant(0.0, "source product", -1.5)
    found = one_night("classification", plant, seed=[1, 2])
    assert found == one_night("classification", plant, seed=[1, 2])
    assert found["outcome"] == "refuse"
    assert "source product" in found["blocking"]


def test_sizes_are_medians_of_the_nights_that_state_one():
    nights = [{"detectable": {"": 1.0, "a": None}}, {"detectable": {"": 3.0, "a": 5.0}}, {"detectable": {"": 2.0}}]
    assert stated_sizes(nights) == {"": 2.0, "a": 5.0}


def test_bounds_are_those_of_clopper_and_pearson():
    # Without an event in 1,000 nights the bound is 1 - 0.05^(1/1000), the rule of three.
    assert share(0, 1000) == {"share": 0.0, "lower": 0.0, "upper": round(1 - 0.05 ** (1 / 1000), 4)}
    assert share(1000, 1000)["upper"] == 1.0
    assert share(25, 1000)["lower"] < 0.025 < share(25, 1000)["upper"]


def test_the_command_prints_a_table_and_one_json_line():
    command = [sys.executable, "-m", "benchmarks.gate_calibration", "--simulations", "8", "--only", "classification"]
    done = subprocess.run([*command, "--markdown"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    facts = json.loads(lines[-1])
    found = facts["families"]["classification"]
    assert set(found) >= {"same", "gain", "regression", "detectable"}
    assert found["same"]["promoted"]["upper"] > found["same"]["promoted"]["share"]
    assert lines[:-1] == markdown(facts["families"]).splitlines()
    assert len(lines) == 6
