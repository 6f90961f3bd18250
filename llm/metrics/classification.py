"""Accuracy and macro-averaged F1, to the last bit as scikit-learn gives them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llm.errors import InputError
from llm.statistics.intervals import RowSums
from llm.statistics.measures import Accuracy


def score(predictions: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """`accuracy` and `macro_f1`, both in percent (0 to 100).

    predictions, labels: N each. accuracy = 100 * matches / N. macro_f1 = 100 * the unweighted mean over the classes of
    2 tp / (2 tp + fp + fn); the classes are those in `labels` or `predictions`, so a class that is predicted but never
    right counts as 0.

    Raises InputError when the lengths differ or are 0.
    """
    if len(predictions) != len(labels) or not labels:
        raise InputError(
            f"{len(predictions)} predictions for {len(labels)} labels",
            remedy="give one prediction for each label, and at least one",
        )
    # Not by scikit-learn: to import it takes a process of its own, as an evaluation is, longer than all the rest.
    numbers = {label: number for number, label in enumerate(sorted({*labels, *predictions}))}
    truth = np.array([numbers[label] for label in labels])
    found = np.array([numbers[label] for label in predictions])
    right = np.bincount(truth[truth == found], minlength=len(numbers))
    # tp + fn and tp + fp; each class has one of them at least.
    occurs = np.bincount(truth, minlength=len(numbers)) + np.bincount(found, minlength=len(numbers))
    return {
        "accuracy": 100.0 * float(np.mean(truth == found)),
        "macro_f1": 100.0 * float(np.mean(2 * right / occurs)),
    }


def row_sums(predictions: Sequence[str], labels: Sequence[str]) -> dict[str, RowSums]:
    """The metrics of `score` as sums over rows; rows with the same label and the same prediction are of one kind."""
    names = {label: number for number, label in enumerate(sorted({*labels, *predictions}))}
    pairs = np.array([[names[label], names[found]] for label, found in zip(labels, predictions, strict=True)])
    cells, kinds = np.unique(pairs, axis=0, return_inverse=True)
    truth, found = np.eye(len(names))[cells[:, 0]], np.eye(len(names))[cells[:, 1]]
    correct = (pairs[:, 0] == pairs[:, 1]).astype(np.float64)
    return {
        "accuracy": RowSums(Accuracy().value, np.stack([correct, np.ones(len(pairs))], axis=1)),
        "macro_f1": RowSums(_macro_f1, np.hstack([truth * found, truth, found]), kinds.reshape(-1)),
    }


def _macro_f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3 * classes) rows by class that are right, that have it and that are given it; classes without any count
    as little as they do in `score`."""
    right, truth, found = np.split(sums, 3, axis=-1)
    occurs = truth + found > 0
    each = np.divide(2 * right, truth + found, out=np.zeros_like(right), where=occurs)
    return np.asarray(100.0 * each.sum(axis=-1) / occurs.sum(axis=-1))
