"""Two processes that promote on one registry at the same time, round after round.

NIGHTSHIFT_TEST_SCALE=8 makes it two hundred rounds.
"""

from __future__ import annotations

import multiprocessing
import os
import random
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

from llm.errors import RegistryError
from tasks.registry.aliases import read_aliases
from tasks.registry.connection import client
from tasks.registry.versions import Version, champion, get_version, promote

pytestmark = pytest.mark.slow

SCALE = int(os.environ.get("NIGHTSHIFT_TEST_SCALE", "1"))
ROUNDS = 25 * SCALE
TIMEOUT_S = 300 * SCALE


def quality(version: int) -> float:
    """How good a version is: better than all of the rounds before, and in its own round either may be the better."""
    return (version + 1) // 2 + 0.9 * random.Random(version).random()


def race(candidates: list[int], start: Barrier, told: Any) -> None:
    """Offer one candidate a round, both processes at once; reports the champion after each round."""
    after: list[int | None] = []
    try:
        for number in candidates:
            start.wait(TIMEOUT_S)
            offer(number)
            start.wait(TIMEOUT_S)
            after.append(read_aliases(client(), "translation").champion)
    finally:
        # Whoever fails must not let the other one wait.
        if len(after) < len(candidates):
            start.abort()
        told.put(after)


def offer(number: int) -> None:
    """What the gate does: compare with the champion, promote over just that one, begin again when it has changed."""
    candidate = get_version(client(), "translation", number)
    while is_better(candidate, rival := champion("translation")):
        try:
            promote(candidate, over=rival, reasons=(f"better, says {number}",), description="")
        except RegistryError as error:
            # Another champion by now: the only failure that is part of the race.
            if "became version" not in error.problem:
                raise
        else:
            return


def is_better(candidate: Version, rival: Version | None) -> bool:
    return rival is None or quality(candidate.version) > quality(rival.version)


def test_two_promoters_never_leave_the_worse_one_champion_nor_a_hole_in_the_ledger(bare_versions):
    bare_versions(2 * ROUNDS)
    pairs = [(number, number + 1) for number in range(1, 2 * ROUNDS, 2)]
    spawn = multiprocessing.get_context("spawn")
    start, told = spawn.Barrier(2), spawn.Queue()
    racers = [spawn.Process(target=race, args=([pair[side] for pair in pairs], start, told)) for side in (0, 1)]
    for racer in racers:
        racer.start()
    try:
        rounds = [told.get(timeout=TIMEOUT_S) for _ in racers]
    finally:
        for racer in racers:
            racer.join(timeout=TIMEOUT_S)
            racer.kill()
    assert rounds[0] == rounds[1]
    assert rounds[0] == [max(pair, key=quality) for pair in pairs]
    assert_chained_and_never_worse()


def assert_chained_and_never_worse() -> None:
    found = read_aliases(client(), "translation")
    entries = found.ledger.entries
    assert len(entries) >= ROUNDS
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry.before for entry in entries] == [None, *(entry.after for entry in entries[:-1])]
    assert {entry.what for entry in entries} == {"promoted"}
    qualities = [quality(entry.after) for entry in entries]
    assert qualities == sorted(qualities)
    assert found.champion == entries[-1].after
