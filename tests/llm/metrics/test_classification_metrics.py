"""Accuracy and macro F1 against a confusion table worked out by hand."""

from __future__ import annotations

import random

import pytest
from sklearn.metrics import accuracy_score, f1_score

from llm.errors import InputError
from llm.metrics.classification import score


def test_figures_match_a_confusion_table_worked_out_by_hand():
    labels = ["de", "de", "de", "de", "en", "en", "fr"]
    predictions = ["de", "de", "de", "en", "en", "fr", "fr"]
    # F1: de 2*3/(2*3+0+1) = 6/7, en 2*1/(2*1+1+1) = 1/2, fr 2*1/(2*1+1+0) = 2/3.
    found = score(predictions, labels)
    assert found == {
        "accuracy": pytest.approx(100 * 5 / 7),
        "macro_f1": pytest.approx(100 * (6 / 7 + 1 / 2 + 2 / 3) / 3),
    }


def test_macro_f1_weighs_a_rare_class_like_a_frequent_one():
    labels = ["de"] * 9 + ["en"]
    found = score(["de"] * 10, labels)
    assert found["accuracy"] == pytest.approx(90.0)
    assert found["macro_f1"] == pytest.approx(100 * (18 / 19) / 2)


def test_a_class_that_is_only_predicted_counts_as_zero():
    assert score(["de", "fr"], ["de", "de"])["macro_f1"] == pytest.approx(100 * (2 / 3 + 0) / 2)


@pytest.mark.parametrize("seed", range(20))
def test_figures_are_those_of_scikit_learn_to_the_last_bit(seed):
    draw = random.Random(seed)
    classes = draw.sample(range(40), k=draw.randint(1, 20))
    rows = draw.randint(1, 500)
    labels, predictions = ([f"class {number}" for number in draw.choices(classes, k=rows)] for _ in range(2))
    # Some are right for sure, and some classes are only predicted.
    predictions = [draw.choice([label, found, "another"]) for label, found in zip(labels, predictions, strict=True)]
    expected = {
        "accuracy": 100.0 * accuracy_score(labels, predictions),
        "macro_f1": 100.0 * f1_score(labels, predictions, average="macro"),
    }
    assert score(predictions, labels) == expected


def test_all_right_is_100():
    assert score(["a", "b"], ["a", "b"]) == {"accuracy": 100.0, "macro_f1": 100.0}


@pytest.mark.parametrize(("predictions", "labels"), [(["a"], ["a", "b"]), ([], [])])
def test_lists_that_do_not_fit_are_refused(predictions, labels):
    with pytest.raises(InputError, match=f"{len(predictions)} predictions for {len(labels)} labels"):
        score(predictions, labels)
