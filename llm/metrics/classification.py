"""Accuracy and macro-averaged F1, by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

from llm.errors import InputError


def score(predictions: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """`accuracy` and `macro_f1`, both in percent (0 to 100).

    predictions, labels: N each. accuracy = 100 * matches / N. macro_f1 = 100 * the unweighted mean over the classes of
    2 tp / (2 tp + fp + fn); the classes are those in `labels` or `predictions`, so a class that is predicted but never
    right counts as 0.

    Raises InputError when the lengths differ or are 0.
    """
    # Imported here, so that a predictor, which loads its family's file, does not need scikit-learn.
    from sklearn.metrics import accuracy_score, f1_score

    if len(predictions) != len(labels) or not labels:
        raise InputError(
            f"{len(predictions)} predictions for {len(labels)} labels",
            remedy="give one prediction for each label, and at least one",
        )
    # Class numbers, since scikit-learn guesses what kind of target it has from the values and warns about rare strings.
    numbers = {label: number for number, label in enumerate(sorted({*labels, *predictions}))}
    truth = [numbers[label] for label in labels]
    found = [numbers[label] for label in predictions]
    return {
        "accuracy": 100.0 * float(accuracy_score(truth, found)),
        "macro_f1": 100.0 * float(f1_score(truth, found, labels=list(numbers.values()), average="macro")),
    }
