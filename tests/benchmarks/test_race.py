"""A race runs to its end, and its page tells what was measured."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.race import ratios
from benchmarks.results import commands, section

ROOT = Path(__file__).parents[2]


def test_a_ratio_is_named_for_every_peer_that_took_part() -> None:
    median = {"ours": 30.0, "peer": 20.0}
    assert ratios(median, "ours", ["peer", "absent"]) == {"peer": 1.5}
    assert ratios(median, "absent", ["peer"]) == {}


def test_the_page_leaves_out_what_needs_data_that_was_not_named() -> None:
    options = {"data": "", "nanogpt": "", "joeynmt": "", "rounds": 2, "minutes": 1.0, "only": []}
    modules = {command[0] for command in commands(argparse.Namespace(**options))}
    assert modules == {"benchmarks.train_lm", "benchmarks.scale", "benchmarks.decode", "benchmarks.tokenize"}
    more = commands(argparse.Namespace(**options | {"data": "sets", "nanogpt": "checkout"}))
    assert "benchmarks.shakespeare" in {command[0] for command in more}
    only = commands(argparse.Namespace(**options | {"only": ["decode"]}))
    assert only == [["benchmarks.decode", "--rounds", "2"]]


def test_the_page_shows_figures_and_hides_folders() -> None:
    found = {"median": {"ours": 1234.567}, "config": {"nanogpt": "/home/somebody/checkout", "threads": "2"}}
    page = "\n".join(section(["benchmarks.train_lm", "--nanogpt", "/home/somebody/checkout"], found))
    assert "| median / ours | 1235 |" in page
    assert "somebody" not in page
    assert '"threads": "2"' in page


@pytest.mark.slow
def test_our_own_training_can_be_raced_alone() -> None:
    command = [sys.executable, "-m", "benchmarks.train_lm", "--rounds", "1", "--only", "ours"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["median"]["ours"] > 0
    assert facts["skipped"]["nanogpt"] == "not asked for"
    assert facts["peak_mb"]["ours"] > 0
    assert min(facts["share_of_limit"]["ours"].values()) > 0
