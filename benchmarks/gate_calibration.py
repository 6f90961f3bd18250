"""How often the gate errs: simulated challengers that are as good, better, or worse in one slice, through its own code.

For each family three scenarios, each so many times:

- `same`: a challenger drawn from the champion's own distribution (A/A); it should be promoted at most in 5 % of cases;
- `gain`: one better by what the gate itself states as detectable; it should be promoted in at least 80 %;
- `regression`: one worse in one slice by what the gate states as detectable there, each slice in turn; elsewhere it is
  equal, or better by half a detectable gain, in turn. The slice should block in at least 95 %.

Shapes: N rows, L longest sentence in tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

# Before numpy is loaded, here and in the worker processes: one thread each, or they slow each other down.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import beta

from benchmarks.race import machine
from llm.statistics.measures import Accuracy, BitsPerByte, CorpusBleu, Measure
from llm.statistics.slices import MINIMUM_ROWS
from llm.statistics.verdict import PromotionPolicy, decide

Floats = NDArray[np.float64]
Answers = tuple[Floats, Floats]

WANTED = {"same": ("promoted", "<=", 0.05), "gain": ("promoted", ">=", 0.80), "regression": ("blocked", ">=", 0.95)}
_SOURCES = {"product": 0.50, "add-ons": 0.25, "support": 0.15, "partners": 0.10}
_LONGEST = 40  # L
_POPULATION = (3, 40_000)  # batches and rows of each, on which the size of a planted effect is found
_SAME_ANSWER = 0.5  # share of the rows where both models say the same, beyond what a row's difficulty explains


@dataclass(frozen=True)
class Rows:
    """What a test split holds before anybody answers: difficulty is in standard deviations."""

    length: Floats
    difficulty: Floats
    slices: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Family:
    """A measure, the size of the test split, the lengths of its rows (log-normal) and how both models answer them.

    `answer(random, rows, shift)` gives both models' columns; `shift` (N,) makes the challenger better where positive.
    """

    measure: Measure
    rows: int
    length: tuple[float, float]
    answer: Callable[[np.random.Generator, Rows, Floats], Answers]


def split_of(random: np.random.Generator, family: Family, *, rows: int) -> Rows:
    """Rows of log-normal length, four sources of different size and difficulty; eight slices: sources, quarters."""
    middle, spread = family.length
    length = np.exp(random.normal(middle, spread, rows))
    source = random.choice(len(_SOURCES), rows, p=list(_SOURCES.values()))
    difficulty = random.normal(0.0, 1.0, rows) + 0.3 * source
    edges = np.exp(middle + spread * np.array([-0.6745, 0.0, 0.6745]))  # quartiles of the normal distribution
    quarter = np.searchsorted(edges, length)
    slices = {f"source {name}": source == number for number, name in enumerate(_SOURCES)}
    slices |= {f"length quarter {number + 1}": quarter == number for number in range(4)}
    return Rows(length, difficulty, slices)


def classify(random: np.random.Generator, rows: Rows, shift: Floats) -> Answers:
    """Right answers at about 90 %, over-dispersed by difficulty."""
    count = len(rows.length)
    luck = random.random((2, count))
    luck[1] = np.where(random.random(count) < _SAME_ANSWER, luck[0], luck[1])
    skill = np.stack([np.zeros(count), shift])
    right = luck < expit(3.5 - 1.8 * rows.difficulty + skill)
    champion, challenger = (np.stack([each, np.ones(count)], axis=1).astype(np.float64) for each in right)
    return champion, challenger


def generate(random: np.random.Generator, rows: Rows, shift: Floats) -> Answers:
    """Documents of about 2.2 bits a byte: each model meets some it likes (heavy-tailed), and short ones vary more."""
    size = np.ceil(rows.length)
    rate = 2.2 * np.exp(0.1 * rows.difficulty)
    liking = 0.01 * random.standard_t(4, (2, len(size))) + random.normal(0.0, 0.5, (2, len(size))) / np.sqrt(size)
    liking[1] += shift
    nats = size * rate * np.exp(-liking) * np.log(2)
    return np.stack([nats[0], size], axis=1), np.stack([nats[1], size], axis=1)


def translate(random: np.random.Generator, rows: Rows, shift: Floats) -> Answers:
    """Interface strings of about 7 tokens: runs of right tokens, so that n-grams match or fail together."""
    reference = np.clip(np.round(rows.length), 1, _LONGEST).astype(int)
    shape = (2, len(reference), _LONGEST)
    luck, goes_on = random.random(shape), random.random(shape) < 0.6
    longer = random.choice([-1, 0, 1], shape[:2], p=[0.15, 0.75, 0.10])
    same = random.random(len(reference)) < _SAME_ANSWER
    luck[1, same], goes_on[1, same], longer[1, same] = luck[0, same], goes_on[0, same], longer[0, same]
    skill = np.stack([np.zeros(len(reference)), shift])
    right = luck < expit(1.0 - 1.6 * rows.difficulty + skill)[..., None]
    for place in range(1, _LONGEST):
        right[..., place] = np.where(goes_on[..., place], right[..., place - 1], right[..., place])
    length = np.maximum(reference + longer, 0)
    right &= np.arange(_LONGEST) < np.minimum(length, reference)[..., None]
    matches, run = [], right
    for order in range(4):
        run = run[..., : _LONGEST - order] & right[..., order:] if order else right
        matches.append(run.sum(axis=-1))
    ngrams = [np.maximum(length - order, 0) for order in range(4)]
    columns = np.stack([length, np.broadcast_to(reference, length.shape), *matches, *ngrams], axis=-1)
    return columns[0].astype(np.float64), columns[1].astype(np.float64)


FAMILIES = {
    "generation": Family(BitsPerByte(), 400, (8.5, 1.2), generate),
    "translation": Family(CorpusBleu(), 1500, (1.95, 0.6), translate),
    "classification": Family(Accuracy(), 3000, (1.95, 0.6), classify),
}


@dataclass(frozen=True)
class Plant:
    """The challenger's skill everywhere but in one slice, and in that slice ("": none)."""

    elsewhere: float = 0.0
    slice: str = ""
    inside: float = 0.0

    def shift(self, rows: Rows) -> Floats:
        """(N,) for `Family.answer`."""
        shift = np.full(len(rows.length), self.elsewhere)
        if self.slice:
            shift[rows.slices[self.slice]] = self.inside
        return shift


def one_night(name: str, plant: Plant, *, seed: Sequence[int]) -> dict[str, Any]:
    """Outcome, detectable sizes (overall under "") and blocking slices of one simulated challenger."""
    family, random = FAMILIES[name], np.random.default_rng(seed)
    rows = split_of(random, family, rows=family.rows)
    champion, challenger = family.answer(random, rows, plant.shift(rows))
    draw, policy = int(random.integers(1 << 31)), PromotionPolicy()
    verdict = decide(
        family.measure, champion, challenger, slices=rows.slices, policy=policy, newer_data=False, seed=draw
    )
    found = {one.name: one.comparison.detectable for one in verdict.slices}
    return {
        "outcome": verdict.outcome,
        "difference": verdict.overall.difference,
        "blocking": [one.name for one in verdict.slices if one.blocks],
        "detectable": {"": verdict.overall.detectable} | found,
    }


def skill_for(name: str, target: float, *, where: str, seed: int) -> float:
    """The skill that makes the challenger better by `target` (worse where negative) in a slice ("": everywhere).

    Found on a large population with the same luck for each skill that is tried.
    """
    family = FAMILIES[name]
    sign = 1.0 if family.measure.higher_is_better else -1.0
    batches, count = _POPULATION

    def improvement(skill: float) -> float:
        sums = np.zeros(len(family.measure.columns))
        for batch in range(batches):
            random = np.random.default_rng([seed, batch])
            rows = split_of(random, family, rows=count)
            _, answers = family.answer(random, rows, np.full(count, skill))
            sums += answers[rows.slices[where] if where else slice(None)].sum(axis=0)
        return sign * float(family.measure.value(sums))

    start = improvement(0.0)
    edge = 0.2 if target > 0 else -0.2
    while abs(improvement(edge) - start) < abs(target):
        edge *= 2
        if abs(edge) > 50:
            raise SystemExit(f"{name}: no skill changes {where or 'the whole'} by {target:.3g}; raise the rows")
    return float(brentq(lambda skill: improvement(skill) - start - target, 0.0, edge, rtol=5e-3, xtol=1e-5))


def stated_sizes(nights: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Medians of the detectable sizes that the gate stated, by slice; "" is the whole test split."""
    found: dict[str, list[float]] = {}
    for night in nights:
        for name, size in night["detectable"].items():
            if size is not None:
                found.setdefault(name, []).append(size)
    return {name: float(np.median(sizes)) for name, sizes in found.items()}


def share(count: int, nights: int) -> dict[str, float]:
    """A share with its one-sided 95 % bounds (Clopper and Pearson 1934)."""
    low = float(beta.ppf(0.05, count, nights - count + 1)) if count else 0.0
    high = float(beta.ppf(0.95, count + 1, nights - count)) if count < nights else 1.0
    return {"share": round(count / nights, 4), "lower": round(low, 4), "upper": round(high, 4)}


def calibrate(name: str, *, simulations: int, seed: int, pool: ProcessPoolExecutor) -> dict[str, Any]:
    """All three scenarios of a family."""
    number = list(FAMILIES).index(name)

    def nights(scenario: int, plants: Sequence[Plant]) -> list[dict[str, Any]]:
        seeds = [[seed, number, scenario, night] for night in range(simulations)]
        jobs = [
            pool.submit(partial(one_night, name, plants[i % len(plants)], seed=seeds[i])) for i in range(len(seeds))
        ]
        return [job.result() for job in jobs]

    same = nights(1, [Plant()])
    sizes = stated_sizes(same)
    targets = {where: -size if where else size for where, size in sizes.items()}
    jobs = {where: pool.submit(skill_for, name, size, where=where, seed=seed) for where, size in targets.items()}
    jobs["half"] = pool.submit(skill_for, name, sizes[""] / 2, where="", seed=seed)
    skills = {where: job.result() for where, job in jobs.items()}
    gain = nights(2, [Plant(elsewhere=skills[""])])
    places = [where for where in sizes if where]
    plants = [Plant(elsewhere, where, skills[where]) for elsewhere in (0.0, skills["half"]) for where in places]
    worse = nights(3, plants)
    caught = sum(plants[i % len(plants)].slice in night["blocking"] for i, night in enumerate(worse))

    def outcome(found: Sequence[dict[str, Any]], kind: str) -> dict[str, float]:
        return share(sum(night["outcome"] == kind for night in found), simulations)

    return {
        "rows": FAMILIES[name].rows,
        "slices": len(places),
        "detectable": sizes[""],
        "detectable_in_slices": {where: sizes[where] for where in places},
        "mean_difference": {
            "same": float(np.mean([night["difference"] for night in same])),
            "gain": float(np.mean([night["difference"] for night in gain])),
        },
        "same": {"promoted": outcome(same, "promote"), "refused": outcome(same, "refuse")},
        "gain": {"promoted": outcome(gain, "promote"), "refused": outcome(gain, "refuse")},
        "regression": {"blocked": share(caught, simulations), "promoted": outcome(worse, "promote")},
    }


def markdown(families: Mapping[str, Mapping[str, Any]]) -> str:
    """The table for a README: shares in percent, with one-sided 95 % bounds in brackets."""
    lines = ["| family | challenger | size of the effect | share | measured | wanted |", "| --- " * 6 + "|"]
    for name, found in families.items():
        measure = FAMILIES[name].measure
        slices = [f"{size:.3g}" for size in sorted(found["detectable_in_slices"].values())]
        sizes = {
            "same": "none",
            "gain": f"{found['detectable']:.3g} {measure.unit}",
            "regression": f"{slices[0]} to {slices[-1]} {measure.unit} in one of {found['slices']} slices",
        }
        for scenario, (kind, relation, limit) in WANTED.items():
            one = found[scenario][kind]
            measured = f"{one['share']:.1%} ({one['lower']:.1%} to {one['upper']:.1%})"
            lines.append(
                f"| {name}, {found['rows']:,} rows | {scenario} | {sizes[scenario]} | {kind} | {measured} | "
                f"{relation} {limit:.0%} |"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table if asked for, and one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate_calibration", description=__doc__)
    parser.add_argument("--simulations", type=int, default=1000, help="challengers of each scenario")
    parser.add_argument("--seed", type=int, default=20261127, help="another seed draws other challengers")
    parser.add_argument("--only", nargs="+", choices=list(FAMILIES), default=list(FAMILIES), help="families")
    parser.add_argument("--markdown", action="store_true", help="print the table for a README first")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    families = {}
    # Fresh processes: a forked one would keep what numpy's threads held.
    with ProcessPoolExecutor(max_workers=min(2, os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
        for name in options.only:
            families[name] = calibrate(name, simulations=options.simulations, seed=options.seed, pool=pool)
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    if options.markdown:
        print(markdown(families))
    facts = {"benchmark": "gate_calibration", "minimum_rows_of_a_slice": MINIMUM_ROWS, "families": families}
    config = {"simulations": options.simulations, "seed": options.seed, "policy": PromotionPolicy().model_dump()}
    print(json.dumps(facts | {"config": config, "machine": machine()}))


if __name__ == "__main__":
    main()
