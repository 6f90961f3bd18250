"""A job that is killed, by SIGKILL and at every step that lasts, ends in the same bytes when it is started again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from toy_jobs import fruit, write_rows

from llm.files import sha256_of


@pytest.mark.slow
def test_a_job_that_is_killed_anywhere_goes_on_to_the_output_of_an_unbroken_one(predict, toy_training, tmp_path):
    outputs = ("out.jsonl", "out.csv.gz", "out.parquet")
    write_rows(tmp_path / "in.jsonl", fruit(25))
    unbroken = {}
    for name in outputs:
        predict("in.jsonl", name, rows_per_part=10)
        unbroken[name] = sha256_of(tmp_path / name)
        (tmp_path / name).unlink()
    script = Path(__file__).with_name("killed_jobs.py")
    command = [sys.executable, str(script), str(toy_training.path / "model"), str(tmp_path), *outputs]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stdout.splitlines()]
    # The manifest, three parts, the joined file, the promise and the output; then the removal of the folder.
    assert Counter((name, what) for name, what, *_ in found) == {
        (name, what): count for name in outputs for what, count in (("replace", 7), ("rmtree", 1))
    }
    assert {name: digest for name, *_, digest in found} == unbroken
    assert {(name, digest) for name, *_, digest in found} == set(unbroken.items())
