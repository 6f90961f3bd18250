"""The interpolated trigram against probabilities worked out by hand, by dictionaries and by a search over weights."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from llm.baselines import trigram
from llm.baselines.ngrams import NgramCounts
from llm.errors import StageError

BOS, EOS = 1, 2
ALPHABET = 8


def stream_of(documents) -> np.ndarray:
    return np.array([symbol for document in documents for symbol in (BOS, *document, EOS)])


def random_documents(seed: int, count: int) -> list[list[int]]:
    """Documents in which a token mostly follows from the one before."""
    generator = np.random.default_rng(seed)
    documents = []
    for _ in range(count):
        token, document = 4, []
        for _ in range(int(generator.integers(0, 12))):
            token = int(generator.integers(4, ALPHABET)) if generator.random() < 0.4 else 4 + (token * 3 + 1) % 4
            document.append(token)
        documents.append(document)
    return documents


def probabilities(counts: NgramCounts, weights, stream) -> np.ndarray:
    return trigram._shares(weights, trigram.evidence(counts, np.asarray(stream))).sum(axis=0)


def by_dictionaries(documents, weights, context, token) -> float:
    """The same model, written with dictionaries and a loop."""
    grams = Counter()
    for document in documents:
        symbols = (BOS, *document, EOS)
        for end in range(1, len(symbols)):
            for n in (1, 2, 3):
                if end - n + 1 >= 0:
                    grams[symbols[end - n + 1 : end + 1]] += 1
    p = 1 / (ALPHABET - 3)
    for n in (1, 2, 3):
        history = tuple(context[len(context) - n + 1 :]) if n > 1 else ()
        if len(history) < n - 1:
            continue
        total = sum(count for gram, count in grams.items() if len(gram) == n and gram[:-1] == history)
        if total:
            weight = weights[n][total.bit_length()]
            p = weight * grams[(*history, token)] / total + (1 - weight) * p
    return p


@pytest.fixture
def fitted():
    documents = random_documents(1, 40)
    counts = NgramCounts.of(stream_of(documents), alphabet=ALPHABET, start=BOS, order=3)
    weights = trigram.fit_weights(trigram.evidence(counts, stream_of(random_documents(2, 20))))
    return documents, counts, weights


def test_a_tiny_example_worked_out_by_hand():
    # Tokens 4 5 and 4 4: f(4) = 3/6, f(4|4) = 1/3, f(4|BOS) = 1, f(4|BOS 4) = 1/2; all weights one half.
    counts = NgramCounts.of(stream_of([[4, 5], [4, 4]]), alphabet=6, start=BOS, order=3)
    weights = np.full((4, 64), 0.5)
    weights[0], weights[1:, 0] = 1.0, 0.0
    floor = 0.5 * (3 / 6) + 0.5 / 3
    first = 0.5 * 1.0 + 0.5 * floor
    second = 0.5 * (1 / 2) + 0.5 * (0.5 * (1 / 3) + 0.5 * floor)
    assert probabilities(counts, weights, [BOS, 4, 4]).tolist() == pytest.approx([first, second])


def test_probabilities_match_a_model_written_with_dictionaries(fitted):
    documents, counts, weights = fitted
    for context in ([BOS], [BOS, 4], [BOS, 4, 5], [BOS, 7, 7, 6], [BOS, 5, 3], [BOS, 3, 5]):
        for token in (2, 4, 5, 6, 7):
            found = probabilities(counts, weights, [*context, token])[-1]
            assert found == pytest.approx(by_dictionaries(documents, weights, context, token), rel=1e-12)


@pytest.mark.parametrize("context", [[], [4], [4, 5], [6, 6, 6], [3], [3, 3], [4, 3], [3, 4]])
def test_probabilities_sum_to_one_after_seen_and_unseen_contexts(fitted, context):
    _, counts, weights = fitted
    # Every token that can be predicted: the end, and all above the four special ones; 3 never occurs in training.
    total = sum(probabilities(counts, weights, [BOS, *context, token])[-1] for token in (2, 4, 5, 6, 7))
    assert total == pytest.approx(1.0, abs=1e-12)


def test_expectation_maximisation_finds_the_weight_that_a_search_finds():
    counts = NgramCounts.of(stream_of([[4]] * 30 + [[5]] * 10), alphabet=8, start=BOS, order=3)
    # A token in four is one that training lacks, so the best weight lies inside (0, 1).
    held_out = np.array([BOS, 4, 6, 4, 2] * 50)
    found = trigram.evidence(counts, held_out)
    # As if no context of bigrams and trigrams had been seen: the one weight left is that of the unigram.
    found.buckets[2:] = 0
    weight = trigram.fit_weights(found)[1, int(found.buckets[1, 0])]
    grid = np.linspace(0.001, 0.999, 999)
    likelihoods = [np.log(w * found.frequencies[1] + (1 - w) * found.frequencies[0]).sum() for w in grid]
    assert weight == pytest.approx(grid[int(np.argmax(likelihoods))], abs=0.01)
    assert 0.1 < weight < 0.9


def test_fitted_weights_are_better_on_the_validation_split_than_even_ones(fitted):
    _, counts, weights = fitted
    even = np.full_like(weights, 0.5)
    even[0], even[1:, 0] = 1.0, 0.0
    stream = stream_of(random_documents(2, 20))
    gain = np.log(probabilities(counts, weights, stream)).mean() - np.log(probabilities(counts, even, stream)).mean()
    assert gain > 0.01


def test_no_weight_reaches_one_so_that_no_test_token_is_impossible():
    # On the validation split the trigram is always right.
    counts = NgramCounts.of(stream_of([[4, 5, 6]] * 50), alphabet=8, start=BOS, order=3)
    weights = trigram.fit_weights(trigram.evidence(counts, stream_of([[4, 5, 6]] * 50)))
    assert weights[1:].max() < 1.0
    assert probabilities(counts, weights, [BOS, 4, 5, 7])[-1] > 1e-6


def test_score_counts_the_end_of_a_document_as_a_token_and_only_text_as_bytes(make_data):
    splits = {"train": [[4, 5, 4], [5, 4]], "validation": [[4, 5]], "test": [[4, 5, 5], [4]]}
    framed = {name: [[BOS, *ids, EOS] for ids in documents] for name, documents in splits.items()}
    rows = {name: [{"text": "é" * len(ids)} for ids in documents] for name, documents in splits.items()}
    metrics = trigram.score(make_data(rows, tokens=framed)).metrics
    # 4 tokens and 2 ends; 4 characters of 2 bytes.
    assert metrics["bits_per_byte"] * 8 * math.log(2) == pytest.approx(6 * math.log(metrics["perplexity"]))

    counts = NgramCounts.of(stream_of(splits["train"]), alphabet=6, start=BOS, order=3)
    weights = trigram.fit_weights(trigram.evidence(counts, stream_of(splits["validation"])))
    nats = -np.log(probabilities(counts, weights, stream_of(splits["test"]))).sum()
    assert metrics["perplexity"] == pytest.approx(math.exp(nats / 6))


def test_documents_without_text_leave_only_their_certain_end(make_data):
    tokens = {name: [[BOS, EOS]] for name in ("train", "validation", "test")}
    metrics = trigram.score(make_data({"test": [{"text": "a"}]}, tokens=tokens)).metrics
    assert metrics == {"bits_per_byte": pytest.approx(0.0), "perplexity": pytest.approx(1.0)}


@pytest.mark.parametrize("bad", [[4, 5, EOS], [BOS, 4, 5], [], [BOS]])
def test_a_document_without_its_frame_is_named(make_data, bad):
    good = [[BOS, 4, EOS]]
    data = make_data({}, tokens={"train": good, "validation": [*good, bad, *good], "test": good})
    with pytest.raises(StageError, match="row 1 of the validation tokens does not begin with 1 and end with 2"):
        trigram.score(data)
