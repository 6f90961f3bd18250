"""Metrics of sums against sacrebleu, the metrics and values by hand; rows that do not fit are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU

from llm.errors import InputError
from llm.metrics import classification, language_model
from llm.statistics.measures import Accuracy, BitsPerByte, CorpusBleu, bleu_columns

WORDS = ["das", "Gerät", "ist", "{host}", "nicht", "erreichbar", ",", "bitte", "prüfen", ".", "Verbindung"]


def sacrebleu_score(hypotheses, references):
    return BLEU().corpus_score(hypotheses, [references]).score


def random_texts(random, count, *, noise):
    references = [" ".join(random.choice(WORDS, random.integers(1, 12))) for _ in range(count)]
    hypotheses = [
        " ".join(
            word if random.random() > noise else str(random.choice(WORDS))
            for word in text.split()[: random.integers(1, 13)]
        )
        for text in references
    ]
    return hypotheses, references


@pytest.mark.parametrize("seed", range(20))
def test_bleu_is_that_of_sacrebleu_on_random_corpora(seed):
    random = np.random.default_rng(seed)
    hypotheses, references = random_texts(random, int(random.integers(1, 40)), noise=float(random.random()))
    found = CorpusBleu().value(bleu_columns(hypotheses, references).sum(axis=0))
    assert float(found) == pytest.approx(sacrebleu_score(hypotheses, references), abs=1e-9)


@pytest.mark.parametrize(
    ("hypotheses", "references"),
    [
        ([""], ["das Gerät"]),
        (["", "das Gerät ist nicht erreichbar"], ["weg", "das Gerät ist nicht erreichbar"]),
        (["a b c d e"], ["a b c x e"]),  # no 4-gram matches
        (["a x c y e z"], ["a b c d e f"]),  # no n-gram beyond single tokens matches
        (["x y z w v"], ["a b c d e"]),  # nothing matches
        (["a"], ["a"]),  # no 4-gram exists
        (["a b c"], ["a b c"]),
        (["a b c d"], ["a b c d e f g"]),  # brevity penalty
        (["a b c d e f g"], ["a b c d"]),
        (["a, b. (c) d!"], ["a, b. (c) d?"]),
    ],
)
def test_bleu_is_that_of_sacrebleu_on_edge_cases(hypotheses, references):
    found = CorpusBleu().value(bleu_columns(hypotheses, references).sum(axis=0))
    assert float(found) == pytest.approx(sacrebleu_score(hypotheses, references), abs=1e-9)


def test_bleu_of_many_sums_is_that_of_each():
    columns = bleu_columns(*random_texts(np.random.default_rng(1), 30, noise=0.3)).reshape(3, 10, 10)
    found = CorpusBleu().value(columns.sum(axis=1))
    assert found.shape == (3,)
    assert found == pytest.approx([float(CorpusBleu().value(part.sum(axis=0))) for part in columns])


def test_columns_of_a_translation_are_counted_by_hand():
    columns = bleu_columns(["a b c x"], ["a b c d e"])
    # Lengths of hypothesis and reference, matches by order, n-grams by order.
    assert columns.tolist() == [[4, 5, 3, 2, 1, 0, 4, 3, 2, 1]]
    assert CorpusBleu.columns[2:7] == ("matches_1", "matches_2", "matches_3", "matches_4", "ngrams_1")


def test_accuracy_and_bits_per_byte_are_those_of_the_metrics():
    columns = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    accuracy = classification.score(["a", "b", "c"], ["a", "c", "c"])["accuracy"]
    assert float(Accuracy().value(columns.sum(axis=0))) == pytest.approx(accuracy)
    nats = np.array([[30.0, 12.0], [7.5, 4.0]])
    bits = language_model.bits_per_byte(37.5, 16)
    assert float(BitsPerByte().value(nats.sum(axis=0))) == pytest.approx(bits)
    assert bits == pytest.approx(37.5 / (16 * math.log(2)))


def test_fewer_bits_are_better_and_more_points_are():
    nats = np.stack([np.linspace(10, 20, 40), np.full(40, 8.0)], axis=1)
    saved = nats - [1.0, 0.0]
    assert BitsPerByte().compare(nats, saved).p_better < 0.01 < BitsPerByte().compare(nats, saved).p_worse
    wrong, right = np.tile([0.0, 1.0], (40, 1)), np.tile([1.0, 1.0], (40, 1))
    assert Accuracy().compare(wrong, right).p_better < 0.01 < Accuracy().compare(wrong, right).p_worse


@pytest.mark.parametrize(
    ("champion", "challenger"),
    [
        ([[1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]),
        ([[1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0]]),
        ([1.0, 1.0], [1.0, 1.0]),
        (np.empty((0, 2)), np.empty((0, 2))),
    ],
)
def test_rows_of_another_shape_are_refused(champion, challenger):
    with pytest.raises(InputError, match=r"have shape .*; both: \(rows, 2\)"):
        BitsPerByte().compare(champion, challenger)


def test_rows_of_another_test_split_are_refused():
    with pytest.raises(InputError, match="row 1 has another 'bytes'"):
        BitsPerByte().compare([[1.0, 8.0], [1.0, 8.0]], [[1.0, 8.0], [1.0, 9.0]])


@pytest.mark.parametrize("figure", [math.nan, math.inf, -1.0])
def test_figures_that_cannot_be_are_refused_by_name(figure):
    with pytest.raises(InputError, match="the challenger's column 'nats'"):
        BitsPerByte().compare([[1.0, 8.0]], [[figure, 8.0]])


def test_numbers_of_texts_that_differ_are_refused():
    with pytest.raises(InputError, match="1 hypotheses for 2 references"):
        bleu_columns(["a"], ["a", "b"])
