"""A linear classifier over n-grams of tokens and of letters, whose probabilities a small data set's model learns from.

A few thousand texts show a linear model which words and pairs of words decide; a Transformer that sees the texts alone
learns them by heart instead.

Shapes: N texts, V vocabulary, L labels, G n-grams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llm.character_ngrams import character_ngrams
from llm.tokenizer import WORD_END, TextTokenizer
from llm.tokens import TokenColumn

if TYPE_CHECKING:
    from scipy import sparse

_SHORTEST, _LONGEST = 2, 5  # letters of an n-gram
_STRENGTH = 10.0  # inverse of the regularisation
_ITERATIONS = 300
_TOLERANCE = 1e-3
_ROWS = 4096  # texts that are judged together: one of 50 words has a thousand features
# One letter, outside the byte alphabet, in place of four: an ending is then as long an n-gram as a beginning.
_END = "\ue000"


class NgramTeacher:
    """Logistic regression over TF-IDF: of tokens and pairs of neighbours, and of the letters' n-grams in each token.

    Fitted once, on texts (N rows) with the numbers of their labels (N,), of which there are at least two; `count` is L.
    """

    def __init__(self, texts: TokenColumn, labels: NDArray[np.int64], tokenizer: TextTokenizer, *, count: int) -> None:
        # Imported here: a pulled model must run where scikit-learn is not installed.
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.linear_model import LogisticRegression

        self._labels = count
        self._vocabulary = tokenizer.size
        self._known = np.unique(self._grams(texts)[1])
        letters = character_ngrams(analyzer="char", shortest=_SHORTEST, longest=_LONGEST, labels=count)
        spelling = letters.transform(piece.replace(WORD_END, _END) for piece in tokenizer.pieces())
        # n-grams that no text has would only make the matrices larger.
        read = np.unique((_counts(*_tokens(texts), shape=(len(texts), tokenizer.size)) @ spelling).indices)
        self._spelling = spelling[:, read]
        parts = self._parts(texts)
        self._weighings = [TfidfTransformer(sublinear_tf=True).fit(part) for part in parts]
        self._model: Any = LogisticRegression(C=_STRENGTH, max_iter=_ITERATIONS, tol=_TOLERANCE)
        self._model.fit(self._features(parts), labels)

    def probabilities(self, texts: TokenColumn) -> NDArray[np.float32]:
        """(N, L), each row summing to 1; 0 for a label that no text had which the model was fitted on."""
        result = np.zeros((len(texts), self._labels), dtype=np.float32)
        for start in range(0, len(texts), _ROWS):
            some = texts.slice(start, min(start + _ROWS, len(texts)))
            likely = self._model.predict_proba(self._features(self._parts(some)))
            result[start : start + _ROWS, self._model.classes_] = likely
        return result

    def _features(self, parts: list[sparse.csr_matrix]) -> sparse.csr_matrix:
        from scipy import sparse

        weighed = [weigh.transform(part) for weigh, part in zip(self._weighings, parts, strict=True)]
        return sparse.hstack(weighed, format="csr")

    def _parts(self, texts: TokenColumn) -> list[sparse.csr_matrix]:
        """Counts (N, G) of tokens and pairs, and of n-grams of letters."""
        owners, grams = self._grams(texts)
        places = np.searchsorted(self._known, grams).clip(max=self._known.size - 1)
        found = self._known[places] == grams
        words = _counts(owners[found], places[found], shape=(len(texts), self._known.size))
        tokens = _counts(*_tokens(texts), shape=(len(texts), self._vocabulary))
        return [words, tokens @ self._spelling]

    def _grams(self, texts: TokenColumn) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and number of each token and of each pair: a token's number is its id, a pair's is V or more."""
        owners, ids = _tokens(texts)
        together = owners[:-1] == owners[1:]
        pairs = (ids[:-1] + 1) * self._vocabulary + ids[1:]
        return np.concatenate([owners, owners[:-1][together]]), np.concatenate([ids, pairs[together]])


def _tokens(texts: TokenColumn) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.repeat(np.arange(len(texts)), texts.lengths), texts.ids.astype(np.int64)


def _counts(rows: NDArray[np.int64], columns: NDArray[np.int64], *, shape: tuple[int, int]) -> sparse.csr_matrix:
    from scipy import sparse

    return sparse.csr_matrix((np.ones(rows.size), (rows, columns)), shape=shape)
