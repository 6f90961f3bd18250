"""Translation numbers the placeholders of a source and gives them their names back."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from llm.decoding.config import SearchConfig
from llm.decoding.search import until
from llm.errors import InputError
from llm.families.translation import Translation
from llm.predictor import Predictor
from llm.tokenizer import EOS_ID, TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer
from llm.tokens import Survey


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(train_tokenizer(["a b"], TokenizerConfig(vocabulary=260), template=Translation.template))


def test_both_sides_of_a_pair_are_numbered_by_the_source(tokenizer: TextTokenizer) -> None:
    row = {"source": "{count} in {room}", "target": "{room}: {count} {extra}"}
    table = Translation().tokenize([row], tokenizer, Survey())
    texts = [tokenizer.decode(table.columns[field].row(0).tolist()) for field in ("source", "target")]
    assert texts == ["{0} in {1}", "{1}: {0} {extra}"]


class CopyingEngine:
    """Stands in for a model that copies what it reads."""

    def __init__(self) -> None:
        self.read: list[list[int]] = []

    def write(self, inputs: Sequence[Sequence[int]], config: SearchConfig) -> list[list[int]]:
        self.read = [until(list(ids), EOS_ID) for ids in inputs]
        return self.read


def test_the_model_reads_numbers_and_the_answer_holds_names(tokenizer: TextTokenizer) -> None:
    engine = CopyingEngine()
    stub: Any = SimpleNamespace(max_positions=99)
    predictor = Predictor(family=Translation(), model=stub, tokenizer=tokenizer, description={}, engine=engine)
    sources = ["{name} opened {door}", "shut {door}", "plain"]
    answers = Translation().answer(predictor, sources, Translation.params())
    assert answers == sources
    assert tokenizer.decode_batch(engine.read) == ["{0} opened {1}", "shut {0}", "plain"]


def test_only_what_the_model_reads_counts_towards_its_longest_input(tokenizer: TextTokenizer) -> None:
    stub: Any = SimpleNamespace(max_positions=20)
    engine = CopyingEngine()
    predictor = Predictor(family=Translation(), model=stub, tokenizer=tokenizer, description={}, engine=engine)
    with pytest.raises(InputError, match="has 31 tokens, and the model takes 20"):
        predictor.predict(["{}" * 10])
    # Ten bytes of a name become one digit, so this text fits.
    assert predictor.predict(["{a_long_name}" * 6]) == ["{a_long_name}" * 6]
