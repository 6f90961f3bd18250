"""What becomes of rows of a model that writes: refused row by row for the reason for which `predict` refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm.batch_prediction.answering import outcomes
from llm.errors import InputError
from llm.predictor import Predictor


@pytest.fixture(scope="module")
def writer(model_folder: Callable[[str], Path]) -> Predictor:
    return Predictor.load(model_folder("generation"), device="cpu")


def test_a_prompt_that_leaves_no_room_for_its_continuation_is_refused_as_predict_refuses_it(writer: Predictor) -> None:
    left = 20
    params = writer.parse_params({"max_new_tokens": writer.max_positions - left, "temperature": 0.0})
    # "<s>", then a token a letter.
    texts = ["z" * (left - 1), "z" * left, "\ud800", "z" * writer.max_positions]
    lengths = [None, left + 1, None, writer.max_positions + 1]
    found = outcomes(writer, [{"text": text} for text in texts], column="text", params=params)
    assert [one.reason for one in found] == [None, "too long", "not text", "too long"]
    assert isinstance(found[0].answer, str)
    for number in (1, 3):
        assert found[number].error == (
            f"has {lengths[number]} tokens, and the model takes {left} beside max_new_tokens = "
            f"{writer.max_positions - left} ({writer.max_positions} in all)"
        )
        with pytest.raises(InputError) as caught:
            writer.check([texts[number]], params)
        assert caught.value.problem.endswith(str(found[number].error))
