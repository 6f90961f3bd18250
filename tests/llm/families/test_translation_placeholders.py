"""Translation numbers the placeholders of a source and gives them their names back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llm.decoding.config import SearchConfig
from llm.errors import InputError
from llm.families import translation
from llm.families.translation import Translation
from llm.predictor import Predictor
from llm.tokenizer import EOS_ID, TextTokenizer, TokenizerConfig, train_tokenizer
from llm.tokens import Survey


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(train_tokenizer(["a b"], TokenizerConfig(vocabulary=260), template=Translation.template))


def test_both_sides_of_a_pair_are_numbered_by_the_source(tokenizer: TextTokenizer) -> None:
    row = {"source": "{count} in {room}", "target": "{room}: {count} {extra}"}
    table = Translation().tokenize([row], tokenizer, Survey())
    texts = [tokenizer.decode(table.columns[field].row(0).tolist()) for field in ("source", "target")]
    assert texts == ["{0} in {1}", "{1}: {0} {extra}"]


def test_the_model_reads_numbers_and_the_answer_holds_names(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    # The search stands in for a model that copies what it reads.
    def copy(steps: Any, params: SearchConfig, **_: int) -> list[list[int]]:
        del params
        rows = [ids[: ids.index(EOS_ID)] for ids in steps.tolist()]
        read.extend(tokenizer.decode_batch(rows))
        return rows

    monkeypatch.setattr(translation, "search", copy)
    monkeypatch.setattr(translation, "EncoderDecoderSteps", lambda model, source, mask, start_id: source)
    monkeypatch.setattr(translation, "EncoderDecoderModel", object)
    predictor: Any = SimpleNamespace(model=object(), tokenizer=tokenizer, max_positions=99, device="cpu")
    sources = ["{name} opened {door}", "shut {door}", "plain"]
    answers = Translation().answer(predictor, sources, Translation.params())
    assert answers == sources
    assert sorted(read) == ["plain", "shut {0}", "{0} opened {1}"]


def test_only_what_the_model_reads_counts_towards_its_longest_input(tokenizer: TextTokenizer) -> None:
    stub: Any = SimpleNamespace(max_positions=20)
    predictor = Predictor(family=Translation(), model=stub, tokenizer=tokenizer, description={})
    with pytest.raises(InputError, match="has 31 tokens, and the model takes 20"):
        predictor.predict(["{}" * 10])
    # Ten bytes of a name become one digit, so this text fits: what fails is the stub, which is no model.
    with pytest.raises(AssertionError):
        predictor.predict(["{a_long_name}" * 6])
