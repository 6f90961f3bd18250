from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from llm.errors import KilledError
from tasks.reload import FreshProcess, compare


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["a", "B"], False),
        (["a", "b"], ["a"], False),
        ([{"label": "de", "score": 0.5}], [{"label": "de", "score": 0.50005}], True),
        ([{"label": "de", "score": 0.5}], [{"label": "de", "score": 0.5002}], False),
        ([{"label": "de", "score": 0.5}], [{"label": "en", "score": 0.5}], False),
        ([{"label": "de", "score": 0.5}], [{"label": "de"}], False),
        ([{"label": "de", "top": [["de", 0.5]]}], [{"label": "de", "top": [["de", 0.5]]}], True),
        ([{"label": "de", "top": [["de", 0.5]]}], [{"label": "de", "top": [["de", 0.6]]}], False),
    ],
)
def test_texts_must_be_the_same_and_scores_nearly(before, after, same):
    assert compare(before, after, tolerance=1e-4).ok is same


def test_the_first_difference_is_shown_with_both_answers():
    result = compare(["a", "b"], ["a", "x" * 200], tolerance=0)
    assert result.sentence.startswith("the logged model answers input 1 with 'xxx")
    assert result.sentence.endswith("..., after training it was 'b'")


def test_a_process_that_is_killed_says_nothing_of_the_model():
    # As a verdict, "does not load" would refuse a model for good because memory ran out once.
    with FreshProcess(threads=1) as process:
        os.killpg(process._process.pid, signal.SIGKILL)
        with pytest.raises(KilledError, match=r"models:/toy/1: the process that tests .* was ended by signal 9"):
            process.ask("models:/toy/1", ["a"])


def test_the_reload_script_imports_nothing_of_llm():
    # Its whole point: the copy of `llm` that was logged with the model must be the first that the process imports.
    script = Path(__file__).parents[2] / "tasks" / "reload_check.py"
    assert "import llm" not in script.read_text()
    assert "from llm" not in script.read_text()
