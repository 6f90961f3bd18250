"""Beam search against enumeration of every text that a toy model can write."""

import pytest
import torch
from table_steps import TableSteps, enumerate_texts, random_scores

from llm.decoding import beam
from llm.decoding.config import SearchConfig
from llm.decoding.search import search

PAD, EOS, VOCABULARY, LENGTH = 0, 2, 4, 4
# Enough beams to hold every text: 1 + 3 + 9 that end early, 27 * 4 of full length.
ALL = 128


def beam_search(scores, *, num_beams, length_penalty=1.0, length=LENGTH):
    config = SearchConfig(max_new_tokens=length, num_beams=num_beams, length_penalty=length_penalty)
    return search(TableSteps(scores), config, eos_id=EOS, pad_id=PAD)


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 0.6, 1.0, 2.0])
def test_with_a_beam_for_every_text_the_best_of_all_texts_is_found(length_penalty):
    scores = random_scores(texts=20, vocabulary=VOCABULARY, length=LENGTH, seed=2)
    expected = []
    for table in scores:
        texts = enumerate_texts(table, length=LENGTH, eos_id=EOS)
        best = max(texts, key=lambda ids: texts[ids] / len(ids) ** length_penalty)
        expected.append([id_ for id_ in best if id_ != EOS])
    assert beam_search(scores, num_beams=ALL, length_penalty=length_penalty) == expected
    assert len({len(text) for text in expected}) > 1


def test_two_beams_see_behind_a_first_step_that_misleads_greedy_search():
    scores = torch.full((1, 21, VOCABULARY), -20.0)
    # () -> 0 with 0.6, 1 with 0.4; (0,) -> 0 or 1 with 0.5 each, (1,) -> 3 with 1.0: 0.3, 0.3 and 0.4.
    scores[0, 0, 0], scores[0, 0, 1] = torch.tensor(0.6).log(), torch.tensor(0.4).log()
    scores[0, 1, 0] = scores[0, 1, 1] = torch.tensor(0.5).log()
    scores[0, 2, 3] = 0.0
    assert search(TableSteps(scores), SearchConfig(max_new_tokens=2), eos_id=EOS, pad_id=PAD) == [[0, 0]]
    assert beam_search(scores, num_beams=2, length=2) == [[1, 3]]


def test_beams_that_end_are_replaced_by_as_many_that_go_on():
    vocabulary = 5
    # Probabilities of the next id after each history; histories are numbered as TableSteps does.
    after = {
        (): {0: 0.36, 1: 0.33, 3: 0.31},
        (0,): {EOS: 0.8, 3: 0.2},
        (1,): {EOS: 0.9, 3: 0.1},
        (3,): {3: 0.6, 0: 0.4},
        (0, 3): {0: 1.0},
    }
    scores = torch.zeros(1, 31, vocabulary)
    for history, probabilities in after.items():
        number = 0
        for id_ in history:
            number = number * vocabulary + 1 + id_
        scores[0, number] = -30.0
        for id_, probability in probabilities.items():
            scores[0, number, id_] = torch.tensor(probability).log()
    # After two ids the order is (1, EOS) 0.297, (0, EOS) 0.288, (3, 3) 0.186, (3, 0) 0.124, (0, 3) 0.072: with three
    # beams, the fifth must go on. It ends with 0.072; (3, 3) and (3, 0) spread over five ids, at most 0.0372 each.
    assert beam_search(scores, num_beams=3, length=3, length_penalty=4.0) == [[0, 3, 0]]


def test_a_larger_length_penalty_prefers_longer_texts():
    scores = random_scores(texts=50, vocabulary=VOCABULARY, length=LENGTH, seed=4)
    lengths = [
        sum(map(len, beam_search(scores, num_beams=ALL, length_penalty=penalty))) for penalty in (-2.0, 0.0, 1.0, 4.0)
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


@pytest.mark.parametrize("num_beams", [2, 3, 5, 9])
def test_a_text_does_not_depend_on_its_batch(num_beams):
    scores = random_scores(texts=30, vocabulary=VOCABULARY, length=6, seed=8)
    together = beam_search(scores, num_beams=num_beams, length=6)
    alone = [beam_search(table.unsqueeze(0), num_beams=num_beams, length=6)[0] for table in scores]
    assert together == alone


def test_decided_texts_leave_the_batch_and_the_search_ends_when_all_are():
    ends_at_once = torch.zeros(85, VOCABULARY)
    ends_at_once[:, EOS] = 20.0
    goes_on = torch.zeros(85, VOCABULARY)
    goes_on[:, EOS] = -20.0
    steps = TableSteps(torch.stack((ends_at_once, goes_on)))
    texts = search(steps, SearchConfig(max_new_tokens=4, num_beams=2), eos_id=EOS, pad_id=PAD)
    assert (texts[0], len(texts[1])) == ([], 4)
    assert steps.batches == [2, 4, 2, 2]
    steps = TableSteps(ends_at_once.unsqueeze(0))
    assert search(steps, SearchConfig(max_new_tokens=4, num_beams=2), eos_id=EOS, pad_id=PAD) == [[]]
    assert steps.batches == [1, 2]


@pytest.mark.parametrize("shape", [(3, 4096), (1, 40000), (2, 1000), (2, 4100)], ids=str)
def test_the_largest_scores_of_many_are_those_of_a_full_sort(shape):
    scores = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    scores[0, 64:72] = scores.max() + 1 + torch.arange(8.0)  # several in one piece
    values, places = beam._largest(scores, 10)
    expected, order = scores.sort(dim=-1, descending=True)
    assert torch.equal(values, expected[:, :10])
    assert torch.equal(places, order[:, :10])
