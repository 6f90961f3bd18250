"""A family whose retraining was killed comes last; one that failed, or was stopped, keeps its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.deadly import deadly_last, under_way
from llm.files import write_json
from llm.liveness import this_process

FAMILIES = ["generation", "translation", "classification"]
BEGIN = """
import os, signal, sys
from flows.deadly import under_way
with under_way("generation"):
    os.kill(os.getpid(), int(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path))


def ordered(families: list[str]) -> tuple[list[str], list[str]]:
    said: list[str] = []
    return deadly_last(families, family=str, say=said.append), said


def retrained_until(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN, str(int(number))], env=dict(os.environ), stderr=subprocess.DEVNULL, check=False
    )
    assert done.returncode == -number


def test_one_that_was_killed_comes_last_until_it_ends_in_another_way():
    retrained_until(signal.SIGKILL)
    for _ in range(2):
        families, [said] = ordered(FAMILIES)
        assert families == ["translation", "classification", "generation"]
        assert said.startswith("generation comes last: the process that retrained it before was killed")
    with under_way("generation"):
        assert ordered(FAMILIES) == (FAMILIES, [])
    assert ordered(FAMILIES) == (FAMILIES, [])


def test_one_that_was_interrupted_keeps_its_place():
    retrained_until(signal.SIGINT)
    assert ordered(FAMILIES) == (FAMILIES, [])


def test_one_that_failed_keeps_its_place():
    with pytest.raises(ValueError, match="bad"), under_way("generation"):
        raise ValueError("bad")
    assert ordered(FAMILIES) == (FAMILIES, [])


def test_one_alone_is_not_told_to_come_last():
    retrained_until(signal.SIGKILL)
    assert ordered(["generation"]) == (["generation"], [])


def test_what_another_living_process_retrains_keeps_its_place(tmp_path: Path):
    write_json(tmp_path / "mark.json", this_process())
    (tmp_path / "under-way").mkdir()
    (tmp_path / "mark.json").rename(tmp_path / "under-way" / "translation.json")
    assert ordered(FAMILIES) == (FAMILIES, [])


def test_a_mark_that_is_damaged_changes_nothing(tmp_path: Path):
    (tmp_path / "under-way").mkdir()
    (tmp_path / "under-way" / "translation.json").write_text("{")
    assert ordered(FAMILIES) == (FAMILIES, [])


def test_where_nothing_can_be_written_the_night_goes_on(tmp_path: Path):
    (tmp_path / "under-way").write_text("a file where a folder should be")
    with under_way("generation"):
        assert ordered(FAMILIES) == (FAMILIES, [])
