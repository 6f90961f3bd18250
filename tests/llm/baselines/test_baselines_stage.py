"""The stage that scores baselines: what it writes, when it runs again, what it imports."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from llm.baselines import copy_source
from llm.baselines.base import BaselineData, BaselineResult, baselines_stage
from llm.errors import CorpusError
from llm.files import read_jsonl

ROWS = [
    {"group": "a", "source": "Open", "target": "Offen"},
    {"group": "a", "source": "Wi-Fi \u2028 {name}", "target": "WLAN {name}"},
]
SPLITS = {"train": ROWS, "validation": ROWS, "test": ROWS}


def count_bytes(data: BaselineData) -> BaselineResult:
    return BaselineResult(metrics={"bytes": float(sum(len(row["source"]) for row in data.rows("test")))}, answers=[])


def one_answer(data: BaselineData) -> BaselineResult:
    return BaselineResult(metrics={}, answers=["only one"])


@pytest.fixture
def run(make_stage, tmp_path):
    corpus, tokens = make_stage("corpus", SPLITS), make_stage("tokens", {})

    def run(baselines):
        return baselines_stage(corpus, tokens, baselines=baselines, family="translation", root=tmp_path / "stages")

    return run


def test_facts_hold_each_baselines_metrics_and_a_file_its_answers(run):
    stage = run({"copy": copy_source.score, "bytes": count_bytes})
    assert set(stage.facts) == {"copy", "bytes"}
    assert stage.facts["copy"]["placeholders_kept"] == 100.0
    assert stage.facts["bytes"] == {"bytes": 18.0}
    assert [row["answer"] for row in read_jsonl(stage.path / "answers-copy.jsonl")] == [row["source"] for row in ROWS]
    assert not (stage.path / "answers-bytes.jsonl").exists()


def test_a_second_run_reuses_the_folder_and_another_function_of_the_same_name_does_not(run):
    first = run({"bytes": count_bytes})
    assert run({"bytes": count_bytes}).reused
    other = run({"bytes": copy_source.score})
    assert not other.reused
    assert other.key != first.key


def test_one_log_line_a_baseline_tells_figures_and_seconds(run, caplog):
    with caplog.at_level(logging.INFO, logger="llm.baselines.base"):
        run({"bytes": count_bytes})
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == ["baseline bytes: bytes 18"]
    assert caplog.records[0].getMessage().endswith(" s)")


def test_answers_that_do_not_match_the_test_rows_leave_no_stage_behind(run, tmp_path):
    with pytest.raises(ValueError, match="one gave 1 answers for 2 test rows"):
        run({"one": one_answer})
    assert not list((tmp_path / "stages" / "baselines").glob("[0-9a-f]*"))


def test_an_empty_split_is_named_with_a_remedy(make_data):
    data = make_data({"test": []})
    with pytest.raises(CorpusError, match=r"test\.jsonl: no rows.*\n.*remedy"):
        data.rows("test")


def test_copying_the_source_scores_it_against_the_target(make_data):
    found = copy_source.score(
        make_data({"test": [{"source": "the cat sat on the mat", "target": "the cat sat on a mat"}]})
    )
    assert found.answers == ["the cat sat on the mat"]
    # 1- to 4-gram precisions, counted by hand.
    assert found.metrics["bleu"] == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    assert found.metrics["placeholders_kept"] == 100.0


def test_importing_baselines_and_metrics_needs_neither_scikit_learn_nor_sacrebleu():
    names = ["naive_bayes", "trigram", "kneser_ney", "copy_source", "translation_memory"]
    code = (
        "import sys, json, importlib\n"
        f"for name in {names}: importlib.import_module('llm.baselines.' + name)\n"
        "print(json.dumps(sorted({'sklearn', 'scipy', 'sacrebleu'} & set(sys.modules))))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(result.stdout) == []
