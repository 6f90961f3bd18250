"""Kneser-Ney against an example worked out by hand and against a slow model written with dictionaries."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from llm.baselines import kneser_ney
from llm.baselines.kneser_ney import END, OTHER, START, KneserNey, discounts_of

LETTERS = {"a": 3, "b": 4}


def random_texts(seed: int, count: int) -> list[str]:
    """Texts over eight letters in which a letter mostly follows from the one before."""
    generator = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        letter, text = 0, ""
        for _ in range(int(generator.integers(0, 60))):
            letter = int(generator.geometric(0.4)) % 8 if generator.random() < 0.5 else (letter * 3 + 1) % 8
            text += "abcdefgh"[letter]
        texts.append(text)
    return texts


class SlowKneserNey:
    """Interpolated modified Kneser-Ney, written from the equations with dictionaries; n-grams are tuples."""

    def __init__(self, documents: list[tuple], order: int, alphabet: int) -> None:
        raw, before = Counter(), defaultdict(set)
        for document in documents:
            for end in range(1, len(document)):
                for n in range(1, order + 1):
                    begin = end - n + 1
                    if begin >= 0:
                        raw[document[begin : end + 1]] += 1
                        if begin > 0:
                            before[document[begin : end + 1]].add(document[begin - 1])
        self.alphabet = alphabet
        self.counts = {
            gram: count if len(gram) == order or gram[0] == START else len(before[gram]) for gram, count in raw.items()
        }
        # Nine symbols are too few to estimate discounts from; every longer n-gram here is frequent enough.
        self.discounts = {1: [0, 0.5, 1.0, 1.5]}
        for n in range(2, order + 1):
            n1, n2, n3, n4 = (
                sum(len(gram) == n and count == k for gram, count in self.counts.items()) for k in (1, 2, 3, 4)
            )
            y = n1 / (n1 + 2 * n2)
            self.discounts[n] = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        self.order = order

    def probability(self, context: tuple, symbol: int) -> float:
        p = 1 / self.alphabet
        for n in range(1, min(self.order, len(context) + 1) + 1):
            history = context[len(context) - n + 1 :]
            after = {g: c for g, c in self.counts.items() if len(g) == n and g[:-1] == history}
            if not after:
                break
            discount = self.discounts[n]
            own = self.counts.get((*history, symbol), 0)
            freed = sum(discount[min(count, 3)] for count in after.values())
            p = (own - discount[min(own, 3)] + freed * p) / sum(after.values())
        return p


def last_probability(model: KneserNey, symbols) -> float:
    return float(model.probabilities(np.array(symbols))[-1])


def symbols_of(model: KneserNey, text: str) -> list[int]:
    return kneser_ney._stream([text], model.characters)[:-1].tolist()


def test_a_tiny_example_worked_out_by_hand():
    # "aab": continuation counts a 2 (after START and a), b 1, END 1; discounts 0.5 and 1 stand in; 4 symbols to choose.
    model = KneserNey.fit(["aab"], order=2)
    a, b = LETTERS["a"], LETTERS["b"]
    unigram = {a: (2 - 1 + 2 / 4) / 4, b: (1 - 0.5 + 2 / 4) / 4, END: (1 - 0.5 + 2 / 4) / 4, OTHER: (2 / 4) / 4}
    # After a: a once, b once, so half of the mass is freed.
    for symbol, own in ((a, 0.5), (b, 0.5), (END, 0.0), (OTHER, 0.0)):
        expected = (own + 1.0 * unigram[symbol]) / 2
        assert last_probability(model, [START, a, symbol]) == pytest.approx(expected), symbol


def test_probabilities_match_a_slow_model_written_with_dictionaries():
    texts = random_texts(1, 60)
    model = KneserNey.fit(texts, order=4)
    documents = [(START, *symbols_of(model, text)[1:], END) for text in texts]
    slow = SlowKneserNey(documents, 4, alphabet=model.counts.alphabet - 1)
    for text in [*random_texts(2, 5), "hhhhhh", "ab?ab", ""]:
        stream = (*symbols_of(model, text), END)
        found = model.probabilities(np.array(stream))
        expected = [slow.probability(stream[:i], stream[i]) for i in range(1, len(stream))]
        assert found[1:].tolist() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("context", ["", "a", "abcdef", "hhhhhhhh", "?", "ab?ab", "bebebebeb"])
@pytest.mark.parametrize("texts", [random_texts(1, 60), ["abcdefgh"], ["", "ab"]], ids=["many", "one", "tiny"])
def test_probabilities_sum_to_one_after_seen_and_unseen_contexts(texts, context):
    model = KneserNey.fit(texts, order=6)
    before = symbols_of(model, context)
    total = sum(last_probability(model, [*before, symbol]) for symbol in range(1, model.counts.alphabet))
    assert total == pytest.approx(1.0, abs=1e-12)


def test_discounts_follow_chen_and_goodman():
    # n1 = 8, n2 = 4, n3 = 2, n4 = 1: Y = 1/2.
    counts = np.array([1] * 8 + [2] * 4 + [3] * 2 + [4] + [9] * 5)
    expected = [0.0, 1 - 2 * 0.5 * 4 / 8, 2 - 3 * 0.5 * 2 / 4, 3 - 4 * 0.5 * 1 / 2]
    assert discounts_of(counts).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("counts", [[1, 1, 2], [], [1] * 50 + [2] + [3] * 60 + [4]])
def test_discounts_that_cannot_be_estimated_are_fixed(counts):
    assert discounts_of(np.array(counts, dtype=np.int64)).tolist() == [0.0, 0.5, 1.0, 1.5]


def test_nats_are_those_of_every_character_and_of_the_end():
    model = KneserNey.fit(["aab", "ab"], order=3)
    a, b = LETTERS["a"], LETTERS["b"]
    steps = [[START, a], [START, a, b], [START, a, b, END]]
    expected = -sum(math.log(last_probability(model, step)) for step in steps)
    assert model.nats(["ab"]) == pytest.approx(expected)
    assert model.nats(["ab", "ab"]) == pytest.approx(2 * expected)


def test_a_character_never_seen_costs_its_choice_among_the_rest_of_unicode():
    model = KneserNey.fit(["aab", "ab"], order=3)
    as_other = -math.log(last_probability(model, [START, OTHER])) - math.log(
        last_probability(model, [START, OTHER, END])
    )
    assert model.nats(["é"]) == pytest.approx(as_other + math.log(0x110000 - 0x800 - 2))


def test_score_divides_by_the_bytes_of_the_test_split_and_has_no_perplexity(make_data):
    texts = {"train": ["aéa", "éa"], "test": ["éé", "a"]}
    data = make_data({name: [{"text": text} for text in split] for name, split in texts.items()})
    nats = KneserNey.fit(texts["train"], order=6).nats(texts["test"])
    assert kneser_ney.score(data).metrics == {"bits_per_byte": pytest.approx(nats / (5 * math.log(2)))}


def test_a_higher_order_predicts_structured_text_better():
    train, test = random_texts(1, 60), random_texts(2, 20)
    one, two, four = (KneserNey.fit(train, order=order).nats(test) for order in (1, 2, 4))
    assert two < one
    assert four < one
