"""Greedy search and sampling."""

import pytest
import torch
from scipy.stats import chi2
from table_steps import TableSteps, enumerate_texts, random_scores
from transformers import TopKLogitsWarper, TopPLogitsWarper

from llm.decoding import sampling
from llm.decoding.config import SearchConfig
from llm.decoding.search import search

PAD, EOS = 0, 2


def logits_with_ties(*, rows=64, vocabulary=50):
    logits = 3.0 * torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(3))
    return (2 * logits).round() / 2


@pytest.mark.parametrize("top_k", [1, 2, 7, 49, 50, 51])
def test_top_k_keeps_what_transformers_keeps(top_k):
    logits = logits_with_ties()
    expected = TopKLogitsWarper(top_k)(None, logits)
    torch.testing.assert_close(sampling.cut(logits, top_k=top_k, top_p=1.0), expected, rtol=0, atol=0)


@pytest.mark.parametrize("top_p", [1e-9, 0.1, 0.5, 0.9, 0.999])
def test_top_p_keeps_what_transformers_keeps(top_p):
    logits = logits_with_ties()
    expected = TopPLogitsWarper(top_p)(None, logits)
    torch.testing.assert_close(sampling.cut(logits, top_k=0, top_p=top_p), expected, rtol=0, atol=0)


def test_top_p_is_taken_of_what_top_k_left():
    logits = logits_with_ties()
    expected = TopPLogitsWarper(0.8)(None, TopKLogitsWarper(5)(None, logits))
    torch.testing.assert_close(sampling.cut(logits, top_k=5, top_p=0.8), expected, rtol=0, atol=0)


def test_cut_by_hand():
    logits = torch.tensor([[0.5, 0.2, 0.25, 0.05]]).log()
    # 0.5 and 0.25 together hold less than 0.76, so 0.2 is still in the nucleus; 0.05 is not.
    assert sampling.cut(logits, top_k=0, top_p=0.76).isfinite().tolist() == [[True, True, True, False]]
    assert sampling.cut(logits, top_k=2, top_p=1.0).isfinite().tolist() == [[True, False, True, False]]


def test_draw_inverts_the_cumulative_sum():
    logits = torch.tensor([[0.5, 0.0, 0.25, 0.25, 0.0]]).log().repeat(6, 1)
    uniform = torch.tensor([0.0, 0.499, 0.501, 0.749, 0.751, 1 - 2**-53], dtype=torch.float64)
    assert sampling.draw(logits, uniform=uniform).tolist() == [0, 0, 2, 2, 3, 3]


def test_an_impossible_token_is_not_drawn_even_at_zero():
    logits = torch.tensor([[0.0, 1.0, 0.0]]).log()
    assert sampling.draw(logits, uniform=torch.zeros(1, dtype=torch.float64)).tolist() == [1]


def test_a_tiny_temperature_is_greedy_and_does_not_overflow():
    logits = logits_with_ties()
    logits[:, 17] = 100.0
    scaled = sampling.scale(logits, temperature=1e-38)
    assert scaled.softmax(dim=-1).argmax(dim=-1).tolist() == [17] * len(logits)
    assert not scaled.isnan().any()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.5, 0, 1.0), (1.7, 0, 1.0), (1.0, 4, 1.0), (1.3, 6, 0.98)]
)
def test_sampled_frequencies_follow_the_softmax(temperature, top_k, top_p):
    texts, vocabulary = 20_000, 8
    scores = random_scores(texts=1, vocabulary=vocabulary, length=1, seed=5)
    config = SearchConfig(max_new_tokens=1, temperature=temperature, top_k=top_k, top_p=top_p, seed=11)
    # No id ends a text here, so each text is one id.
    found = search(TableSteps(scores.expand(texts, -1, -1)), config, eos_id=vocabulary, pad_id=PAD)
    counts = torch.bincount(torch.tensor(found).flatten(), minlength=vocabulary).double()
    cut = sampling.cut(scores[0] / temperature, top_k=top_k, top_p=top_p)
    expected = texts * cut.double().softmax(dim=-1).flatten()
    possible = expected > 0
    assert possible.sum() > 1
    assert counts[~possible].sum() == 0
    statistic = ((counts - expected)[possible] ** 2 / expected[possible]).sum().item()
    assert statistic < chi2.ppf(0.999, df=int(possible.sum()) - 1)


def test_whole_sampled_texts_follow_the_product_of_their_probabilities():
    texts, length = 20_000, 2
    scores = random_scores(texts=1, vocabulary=4, length=length, seed=6)
    config = SearchConfig(max_new_tokens=length, temperature=1.0, seed=3)
    found = search(TableSteps(scores.expand(texts, -1, -1)), config, eos_id=EOS, pad_id=PAD)
    expected = {
        ids: texts * torch.tensor(p).exp() for ids, p in enumerate_texts(scores[0], length=2, eos_id=EOS).items()
    }
    statistic = sum(
        (sum(text == [id_ for id_ in ids if id_ != EOS] for text in found) - count) ** 2 / count
        for ids, count in expected.items()
    )
    assert statistic < chi2.ppf(0.999, df=len(expected) - 1)


SAMPLED = SearchConfig(max_new_tokens=5, temperature=1.0, top_p=0.95, seed=7)


def sampled(config=SAMPLED, **options):
    scores = random_scores(texts=40, vocabulary=6, length=6, seed=1)
    return search(TableSteps(scores), config, eos_id=EOS, pad_id=PAD, **options)


def test_the_same_seed_gives_the_same_texts_whatever_the_global_random_state():
    torch.manual_seed(1)
    first = sampled()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert sampled() == first
    assert torch.equal(torch.get_rng_state(), state)
    assert sampled(SAMPLED.model_copy(update={"seed": 8})) != first


def test_a_text_depends_on_its_number_and_not_on_those_beside_it():
    scores = random_scores(texts=1, vocabulary=6, length=6, seed=1).expand(40, -1, -1)
    together = search(TableSteps(scores), SAMPLED, eos_id=EOS, pad_id=PAD)
    assert search(TableSteps(scores[:3]), SAMPLED, eos_id=EOS, pad_id=PAD, numbers=[7, 31, 2]) == [
        together[number] for number in (7, 31, 2)
    ]
    assert len({tuple(text) for text in together}) > 10


def test_each_seed_and_text_has_random_numbers_of_its_own():
    first = sampling.uniform_numbers(range(100), seed=1, count=50)
    other = sampling.uniform_numbers(range(100), seed=2, count=50)
    values = torch.cat((first, other)).flatten()
    assert values.unique().numel() == values.numel()
    assert 0.0 <= values.min() < 0.001
    assert 0.999 < values.max() < 1.0
    assert torch.equal(sampling.uniform_numbers([7], seed=2, count=20)[0], other[7, :20])


def test_more_new_tokens_continue_the_same_texts():
    longer = sampled(SAMPLED.model_copy(update={"max_new_tokens": 6}))
    assert [text[:5] for text in longer] == sampled()


def test_finished_texts_leave_the_batch_and_change_no_other_text(monkeypatch):
    scores = random_scores(texts=40, vocabulary=6, length=6, seed=1)
    leaving, staying = TableSteps(scores), TableSteps(scores)
    texts = search(leaving, SAMPLED, eos_id=EOS, pad_id=PAD)
    monkeypatch.setattr(sampling, "_SHARE_THAT_LEAVES", 0)
    assert search(staying, SAMPLED, eos_id=EOS, pad_id=PAD) == texts
    assert staying.batches == [40] * 5
    assert leaving.batches[-1] < 40


def test_top_k_of_one_is_greedy():
    one = SearchConfig(max_new_tokens=6, temperature=3.0, top_k=1)
    assert sampled(one) == sampled(SearchConfig(max_new_tokens=6))


def test_greedy_follows_the_largest_score_and_stops_at_the_end_token():
    # Histories of ids below 4: () is 0, (3,) is 4, (3, 1) is 18.
    scores = torch.zeros(1, 85, 4)
    scores[0, 0, 3] = scores[0, 4, 1] = scores[0, 18, EOS] = 1.0
    steps = TableSteps(scores)
    assert search(steps, SearchConfig(max_new_tokens=4), eos_id=EOS, pad_id=PAD) == [[3, 1]]
    assert steps.batches == [1, 1, 1]


def test_no_text_at_all_gives_no_text():
    scores = random_scores(texts=0, vocabulary=4, length=2, seed=1)
    for config in (SearchConfig(), SearchConfig(temperature=1.0), SearchConfig(num_beams=2)):
        assert search(TableSteps(scores), config, eos_id=EOS, pad_id=PAD) == []
