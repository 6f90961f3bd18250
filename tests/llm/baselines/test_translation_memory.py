"""The translation memory finds the nearest training source, by exact and by near match."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from llm.baselines import translation_memory
from llm.errors import CorpusError

TRAIN = [
    {"source": "Failed to connect", "target": "Verbindung fehlgeschlagen"},
    {"source": "Device is already configured", "target": "Gerät ist bereits konfiguriert"},
    {"source": "Unexpected error", "target": "Unerwarteter Fehler"},
    {"source": "On", "target": "An"},
    {"source": "On", "target": "Ein"},
    {"source": "On", "target": "Ein"},
    {"source": "Invalid access token", "target": "Ungültiger Zugriffstoken"},
]


def answers_for(make_data, *sources: str) -> list[str]:
    test = [{"source": source, "target": "x"} for source in sources]
    return translation_memory.score(make_data({"train": TRAIN, "test": test})).answers


def test_a_known_source_gets_its_most_frequent_target(make_data):
    assert answers_for(make_data, "On", "Unexpected error") == ["Ein", "Unerwarteter Fehler"]


def test_an_unknown_source_gets_the_target_of_the_one_most_like_it(make_data):
    assert answers_for(make_data, "The device is configured already", "Invalid API token") == [
        "Gerät ist bereits konfiguriert",
        "Ungültiger Zugriffstoken",
    ]


def test_a_source_that_shares_nothing_or_is_empty_still_gets_an_answer(make_data):
    assert len(answers_for(make_data, "漢字", "", "{}")) == 3


def test_training_sources_that_are_all_blank_are_refused_with_a_remedy(make_data):
    data = make_data({"train": [{"source": " ", "target": "x"}], "test": [{"source": "a", "target": "x"}]})
    with pytest.raises(CorpusError, match=r"train\.jsonl: every source is blank\n.*remedy"):
        translation_memory.score(data)


def test_metrics_are_those_of_the_answers(make_data):
    test = [{"source": row["source"], "target": row["target"]} for row in (TRAIN[1], TRAIN[2])]
    result = translation_memory.score(make_data({"train": TRAIN, "test": test}))
    assert result.metrics == {"bleu": pytest.approx(100), "chrf": pytest.approx(100), "placeholders_kept": 100.0}


def test_candidates_are_the_highest_cosines_whatever_the_block_size(monkeypatch):
    generator = np.random.default_rng(1)
    texts = ["".join(generator.choice(list("abcd "), size=12)) for _ in range(120)]
    known, sources = texts[:100], texts[100:]
    monkeypatch.setattr(translation_memory, "_BLOCK_CELLS", 3 * len(known))
    found = translation_memory._candidates(known, sources)
    vectorizer = TfidfVectorizer(
        preprocessor=lambda text: f" {text} ", analyzer="char", ngram_range=(3, 3), sublinear_tf=True, dtype=np.float32
    )
    vectors = vectorizer.fit_transform(known)
    cosines = (vectorizer.transform(sources) @ vectors.T).toarray()
    assert found.shape == (20, 10)
    chosen = np.take_along_axis(cosines, found, axis=1)
    np.testing.assert_allclose(chosen, -np.sort(-cosines, axis=1)[:, :10], atol=1e-6)


def test_of_equally_near_sources_the_first_wins():
    similarities = np.array([[0.0, 0.5, 0.9, 0.5, 0.9]], dtype=np.float32)
    assert translation_memory._best(similarities).tolist() == [[2, 4, 1, 3, 0]]


def test_the_order_of_characters_decides_between_candidates():
    assert translation_memory._most_similar("turn on the light", ["the light turn on", "turn off the light"]) == (
        "turn off the light"
    )
