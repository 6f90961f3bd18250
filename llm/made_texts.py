"""More texts than there are: new ones made of pieces of the training texts, labelled by an n-gram model.

The n-gram model is better than a small Transformer where texts are few. Its opinion on unlimited texts carries what it
knows over (Hinton et al. 2015, section 2); their own labels, on the real texts, add what it does not know.

Shapes: N texts, V vocabulary, L labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llm.errors import CorpusError
from llm.ngram_teacher import NgramTeacher
from llm.tokenizer import TextTokenizer
from llm.tokens import TokenColumn, TokenTable

_MADE = 3  # texts made of each training text, in each round
_TRUST = 0.5  # the teacher's share of a real text's target; the rest is its label
_SPLICED = 0.5  # share of made texts that begin as one text and end as another
_THINNED, _REPLACED = 0.4, 0.4  # shares of made texts that lose some tokens, or get others in their place
_MOST = 0.4  # of their tokens, at most
_ANY = 0.5  # share of the tokens put in another's place that are drawn from the vocabulary rather than from the texts
# Tells these random numbers from others of the same seed; any constant does.
_STREAM = 77


def with_made_texts(table: TokenTable, tokenizer: TextTokenizer, *, tokens: int, context: int, seed: int) -> TokenTable:
    """The texts of a classification table with three new ones each, and that again until there are `tokens` tokens.

    The number "label" becomes (rows, L) float32: a probability for each label. Texts are cut to `context` tokens. The
    same table and seed give the same rows. Raises CorpusError where all rows have one label.
    """
    labels, facts = table.numbers["label"], table.facts["labels"]
    if np.unique(labels).size < 2:
        raise CorpusError(
            f"all {len(labels)} training rows have the label {facts[labels[0]]!r}: an n-gram model needs two labels",
            remedy="set training.made_texts to 0, or give rows of more labels",
        )
    column = table.columns["text"]
    rounds = -(-tokens // ((1 + _MADE) * column.ids.size))
    teacher = NgramTeacher(column, labels, tokenizer, count=len(facts))
    texts = [column.row(row) for row in range(len(column))]
    random = np.random.default_rng([seed, _STREAM])
    written = np.asarray([piece != "" for piece in tokenizer.pieces()])
    vocabulary = np.flatnonzero(written).astype(np.int32)
    maker = _Maker(texts, starts_word=table.constants["word_starts"], vocabulary=vocabulary, random=random)
    made = TokenColumn.of(maker.make()[:context] for _ in range(_MADE * rounds * len(texts)))
    own = np.eye(len(facts), dtype=np.float32)[labels]
    targets = (1.0 - _TRUST) * own + _TRUST * teacher.probabilities(column)
    return TokenTable(
        columns={"text": _joined([column] * rounds + [made])},
        numbers={"label": np.concatenate([targets] * rounds + [teacher.probabilities(made)])},
        constants=table.constants,
        facts=table.facts,
    )


class _Maker:
    """Makes texts of pieces of others, which keep their frame.

    starts_word (V,): which tokens begin a word; `vocabulary` (at most V,): the tokens that are not control tokens.
    """

    def __init__(
        self,
        texts: list[NDArray[np.int32]],
        *,
        starts_word: NDArray[np.bool_],
        vocabulary: NDArray[np.int32],
        random: np.random.Generator,
    ) -> None:
        self._texts = texts
        # Where a text can be cut: before each word, and before the frame's end.
        self._cuts = [np.append(np.flatnonzero(starts_word[text]), text.size - 1) for text in texts]
        self._read = np.concatenate([text[1:-1] for text in texts])
        self._vocabulary = vocabulary
        self._random = random

    def make(self) -> NDArray[np.int32]:
        """A new text (length,)."""
        random = self._random
        first = int(random.integers(len(self._texts)))
        text = self._texts[first]
        if random.random() < _SPLICED:
            second = int(random.integers(len(self._texts)))
            text = np.concatenate([text[: self._cut(first)], self._texts[second][self._cut(second) :]])
        kind, share = random.random(), random.random() * _MOST
        changed = random.random(text.size) < share
        changed[0] = changed[-1] = False
        if kind < _THINNED:
            return text[~changed]
        if kind < _THINNED + _REPLACED and self._read.size:
            text = text.copy()
            text[changed] = self._others(int(np.count_nonzero(changed)))
        return text

    def _others(self, count: int) -> NDArray[np.int32]:
        """(count,): as often as texts have them or any, which the teacher knows by their letters."""
        random = self._random
        common = self._read[random.integers(self._read.size, size=count)]
        every = self._vocabulary[random.integers(self._vocabulary.size, size=count)]
        return np.where(random.random(count) < _ANY, every, common)

    def _cut(self, number: int) -> int:
        cuts = self._cuts[number]
        return int(cuts[self._random.integers(cuts.size)])


def _joined(columns: list[TokenColumn]) -> TokenColumn:
    lengths = np.concatenate([column.lengths for column in columns])
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    return TokenColumn(ids=np.concatenate([column.ids for column in columns]), offsets=offsets)
