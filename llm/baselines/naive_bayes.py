"""Multinomial naive Bayes over character n-grams (1 to 4, within words, case kept).

Training needs only how often each n-gram occurs with each label, so the training texts are read in chunks and never
held as one matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.baselines.base import BaselineData, BaselineResult
from llm.character_ngrams import character_ngrams
from llm.errors import CorpusError
from llm.metrics import classification

if TYPE_CHECKING:
    from scipy import sparse
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.naive_bayes import MultinomialNB

# Additive smoothing; the best on the validation split is used, of equally good ones the first.
_ALPHAS = (1.0, 0.1, 0.01, 0.001, 0.0001)
_CHUNK_TEXTS = 20_000


def score(data: BaselineData) -> BaselineResult:
    """Accuracy and macro F1 (percent) on the test split.

    Raises CorpusError when every training text is blank.
    """
    train, validation, test = (_columns(data, split) for split in ("train", "validation", "test"))
    labels = np.unique(np.array(train[1]))
    numbers = np.searchsorted(labels, np.array(train[1]))
    vectorizer = _vectorizer(len(labels))
    counts = _count(vectorizer, train[0], numbers=numbers, labels=len(labels))
    # An n-gram that training lacks says nothing about the label; smoothed, it would speak for the rarest one.
    known = np.flatnonzero(counts.sum(axis=0))
    if not len(known):
        raise CorpusError(
            f"{data.corpus / 'train.jsonl'}: every text is blank", remedy="check which field the corpus reads as text"
        )
    counts = counts[:, known]
    shares = np.bincount(numbers) / len(numbers)
    vectors, truth = vectorizer.transform(validation[0])[:, known], np.array(validation[1])

    def accuracy(alpha: float) -> float:
        return float(np.mean(_fit(counts, labels, alpha=alpha, shares=shares).predict(vectors) == truth))

    model = _fit(counts, labels, alpha=max(_ALPHAS, key=accuracy), shares=shares)
    answers = [
        str(label) for chunk in _chunks(test[0]) for label in model.predict(vectorizer.transform(chunk)[:, known])
    ]
    return BaselineResult(metrics=classification.score(answers, test[1]), answers=answers)


def _fit(
    counts: sparse.csr_matrix, labels: np.ndarray[Any, Any], *, alpha: float, shares: np.ndarray[Any, Any]
) -> MultinomialNB:
    # Imported here, so that a predictor, which loads its family's file, does not need scikit-learn.
    from sklearn.naive_bayes import MultinomialNB

    # One row of counts a label is a sufficient statistic; the priors would be lost in it, hence `class_prior`.
    return MultinomialNB(alpha=alpha, class_prior=shares).fit(counts, labels)


def _columns(data: BaselineData, split: str) -> tuple[list[str], list[str]]:
    rows = data.rows(split)
    return [row["text"] for row in rows], [row["label"] for row in rows]


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), _CHUNK_TEXTS):
        yield texts[start : start + _CHUNK_TEXTS]


def _vectorizer(labels: int) -> HashingVectorizer:
    return character_ngrams(analyzer="char_wb", shortest=1, longest=4, labels=labels)


def _count(
    vectorizer: HashingVectorizer, texts: Sequence[str], *, numbers: np.ndarray[Any, Any], labels: int
) -> sparse.csr_matrix:
    """(labels, buckets) how often each n-gram bucket occurs with each label; `numbers` holds each text's label."""
    from scipy import sparse

    total = sparse.csr_matrix((labels, vectorizer.n_features))
    start = 0
    for chunk in _chunks(texts):
        rows = numbers[start : start + len(chunk)]
        start += len(chunk)
        members = sparse.csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(labels, len(rows)))
        total = total + members @ vectorizer.transform(chunk)
    return total
