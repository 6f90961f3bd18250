"""Undoing merges changes the tokens, never the text."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from llm.subwords import crop_words, undo_merges
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer

TEXTS = ["Einstellungen speichern", "a", "die Einstellung der Stellung", "Größe 😀 ändern"]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(train_tokenizer(TEXTS * 9, TokenizerConfig(vocabulary=330), template="<s> $A </s>"))


def rows_of(tokenizer: TextTokenizer) -> list[np.ndarray]:
    return [np.asarray(ids, dtype=np.int32) for ids in tokenizer.encode_batch(TEXTS)]


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.99])
def test_every_row_spells_the_same_text_and_keeps_its_frame(tokenizer: TextTokenizer, probability: float) -> None:
    rows = rows_of(tokenizer)
    found = undo_merges(rows, tokenizer.merged_parts(), probability=probability, random=np.random.default_rng(4))
    assert tokenizer.decode_batch(found) == TEXTS
    assert [(row[0], row[-1]) for row in found] == [(row[0], row[-1]) for row in rows]
    assert (sum(map(len, found)) > sum(map(len, rows))) == (probability > 0)


def test_probability_zero_changes_nothing(tokenizer: TextTokenizer) -> None:
    rows = rows_of(tokenizer)
    found = undo_merges(rows, tokenizer.merged_parts(), probability=0.0, random=np.random.default_rng(4))
    assert [row.tolist() for row in found] == [row.tolist() for row in rows]


def test_a_token_is_replaced_by_its_two_parts_by_hand() -> None:
    # 5 = (3, 4), 6 = (5, 3); certain undoing in three rounds takes both apart to the bottom.
    parts = np.array([[-1, -1]] * 5 + [[3, 4], [5, 3]], dtype=np.int32)
    rows = [np.array([1, 6, 2], dtype=np.int32), np.array([5, 5], dtype=np.int32)]
    found = undo_merges(rows, parts, probability=1.0, random=np.random.default_rng(0))
    assert [row.tolist() for row in found] == [[1, 3, 4, 3, 2], [3, 4, 3, 4]]


def test_bytes_and_control_tokens_have_no_parts(tokenizer: TextTokenizer) -> None:
    parts = tokenizer.merged_parts()
    assert parts.shape == (tokenizer.size, 2)
    assert (parts[:260] == -1).all()
    assert (parts[260:] >= 4).all()


def test_cropping_keeps_a_run_of_whole_words_within_the_frame() -> None:
    # Tokens 10 and 20 begin words, 11 and 21 continue them.
    starts = np.zeros(30, dtype=bool)
    starts[[10, 20]] = True
    row = np.array([1, 10, 11, 20, 21, 10, 20, 21, 2], dtype=np.int32)
    words = [[10, 11], [20, 21], [10], [20, 21]]
    runs = {tuple(chain.from_iterable(words[first : first + count])) for count in (1, 2) for first in range(5 - count)}
    random = np.random.default_rng(0)
    found = set()
    for _ in range(200):
        (cropped,) = crop_words([row], starts, probability=1.0, longest=2, random=random)
        assert (cropped[0], cropped[-1]) == (1, 2)
        found.add(tuple(cropped[1:-1].tolist()))
    assert found == runs


def test_a_text_of_one_word_is_never_cropped() -> None:
    starts = np.zeros(30, dtype=bool)
    starts[10] = True
    row = np.array([1, 10, 11, 2], dtype=np.int32)
    (cropped,) = crop_words([row], starts, probability=1.0, longest=2, random=np.random.default_rng(0))
    assert cropped.tolist() == row.tolist()


def test_with_a_prefix_space_the_first_word_is_the_same_tokens_as_elsewhere() -> None:
    config = TokenizerConfig(vocabulary=330, prefix_space=True)
    tokenizer = TextTokenizer(train_tokenizer(TEXTS * 9, config, template="<s> $A </s>"))
    alone, after = tokenizer.encode("Stellung")[1:-1], tokenizer.encode("a Stellung")[1:-1]
    assert after[-len(alone) :] == alone
    assert tokenizer.word_starts()[alone].tolist() == [True] + [False] * (len(alone) - 1)
