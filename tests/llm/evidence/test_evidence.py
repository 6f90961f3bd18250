"""What each family shows, on rows whose faults are planted."""

from __future__ import annotations

import numpy as np
import pytest

from llm.evidence.base import drawn, extremes
from llm.evidence.classification import classification_evidence
from llm.evidence.gather import by_slice
from llm.evidence.generation import generation_evidence
from llm.evidence.translation import translation_evidence
from llm.metrics import translation
from llm.statistics.intervals import RowSums
from llm.statistics.measures import Accuracy, BitsPerByte


def table(evidence, title: str):
    return next(one for one in evidence.tables if one.title.startswith(title))


def test_twenty_rows_are_drawn_and_the_same_ones_by_the_same_seed():
    rows = drawn(500)
    assert len(set(rows)) == 20
    assert rows == sorted(rows) == drawn(500)
    assert drawn(500, seed=1) != rows
    assert drawn(3) == [0, 1, 2]


def test_worst_and_best_share_no_row():
    assert extremes(np.array([3.0, 1.0, 2.0, 5.0, 4.0]), most=5) == ([1, 2], [3, 4])


@pytest.fixture(scope="module")
def classified():
    """100 texts: of the 20 Dutch ones half are taken for German with great confidence."""
    labels = ["en"] * 50 + ["de"] * 30 + ["nl"] * 20
    found = [*labels[:90], *["de"] * 10]
    answers = [{"label": one, "score": 0.97 if row >= 90 else 0.9 + row / 1000} for row, one in enumerate(found)]
    return classification_evidence([f"text {row}" for row in range(100)], labels, answers)


def test_the_most_confused_classes_are_named_and_the_whole_matrix_is_kept(classified):
    assert table(classified, "Most confused").rows == [("nl", "de", 10, "50 %")]
    assert classified.data["confusion"] == {
        "labels": ["de", "en", "nl"],
        "counts": [[30, 0, 0], [0, 50, 0], [10, 0, 10]],
    }
    assert "Most often takes nl for de (50 %)." in classified.weaknesses


def test_confident_mistakes_are_the_worst_rows(classified):
    worst = [row for row in table(classified, "Worst and best").rows if row[0] == "worst"]
    assert [row[1:] for row in worst] == [(f"text {row}", "de", "nl", 0.97) for row in range(90, 95)]


def test_scores_that_are_too_high_are_a_weakness(classified):
    assert classified.figures["calibration_error"] > 5
    assert any(
        told.startswith("Scores are higher than the share of right answers by") for told in classified.weaknesses
    )
    rows = [{"label": "a" if row % 10 else "b", "score": 0.9} for row in range(200)]
    calibrated = classification_evidence(["t"] * 200, ["a"] * 200, rows)
    assert not any(told.startswith("Scores") for told in calibrated.weaknesses)


def test_placeholders_lost_made_up_and_texts_left_alone_are_counted():
    sources = ["Open {name}", "Close {name}", "Delete {a} {b}", "Settings", "Settings now", "Go"]
    references = ["Öffne {name}", "Schließe {name}", "Lösche {a} {b}", "Settings", "Einstellungen", "Los"]
    written = ["Öffne {name}", "Schließe", "Lösche {a} {b} {c}", "Settings", "Settings now", ""]
    sums = translation.row_sums(written, references, sources=sources)
    found = translation_evidence(sources, written, references, sums)
    assert found.figures["placeholder_rows_exact"] == pytest.approx(100 / 3)
    assert found.figures["placeholders_made_up"] == 1
    assert [row[0] for row in table(found, "Placeholders").rows] == ["Close {name}", "Delete {a} {b}"]
    assert found.weaknesses == [
        "Loses or makes up a placeholder in 2 of 3 test rows that have some.",
        "Leaves 1 of 6 test rows as they are in the source language.",
        "Answers 1 of 6 test rows with nothing.",
    ]
    worst = table(found, "Worst and best").rows[0]
    assert (worst[0], worst[1], worst[2]) == ("worst", 0.0, "Go")


def test_a_translator_without_placeholders_or_faults_has_no_weakness():
    texts = ["Tür öffnen bitte", "Fenster schließen"]
    found = translation_evidence(["a", "b"], texts, texts, translation.row_sums(texts, texts, sources=["a", "b"]))
    assert found.weaknesses == []
    assert "placeholder_rows_exact" not in found.figures


SPEECH = "now is the winter of our discontent made glorious summer by this sun of york"


def generated(continuations: list[str]):
    documents = [f"GLOUCESTER\nact {row}: a horse, a horse, my kingdom for it, number {row}" for row in range(3)]
    return generation_evidence(
        documents,
        np.array([2.0, 1.0, 3.0]),
        prompts=["GLOUCESTER\n"] * 3,
        documents=documents,
        continuations=continuations,
        training=[SPEECH, "my kingdom for it"],
    )


def test_a_text_copied_from_the_training_texts_is_found_beside_what_is_normal():
    found = generated([f"And lo: {SPEECH.upper()}!", "a new line", "my kingdom for a horse for it"])
    assert found.figures["memorised_words_longest"] == 15
    first = table(found, "Samples").rows[0]
    assert first[2:4] == (15, SPEECH.upper())
    assert found.data["samples"][2]["memorised"] == "my kingdom for"
    assert found.data["samples"][2]["truth"] == "act 2: a horse, a horse, my k"
    assert found.weaknesses == [
        "1 of 3 samples repeat 13 or more words in a row of a training text (0 of the true continuations do)."
    ]
    assert [row[1] for row in table(found, "Worst and best").rows] == [3.0, 1.0]


def test_nothing_written_is_no_error():
    found = generated(["", "", ""])
    assert found.figures["memorised_words_longest"] == 0
    assert found.weaknesses == []


def test_repetition_within_a_text_is_shown_beside_the_truth():
    found = generated(["the end the end the end the end", "one two three four five", "six"])
    row = {row[0]: row[1:] for row in table(found, "Repetition").rows}["repeated_4"]
    # 5 4-grams of two kinds, 2 different ones and none: the mean of 60 %, 0 and 0.
    assert row[1] == 0.0
    assert row[0].startswith("20 (0 to ")


def test_figures_of_samples_have_intervals_and_what_is_longest_has_none():
    found = generated(["my kingdom for d e", "my kingdom for f g", "my kingdom for it"])
    rows = {row[0]: row[1] for row in table(found, "Repetition").rows}
    # 8 of 14 words are different; without one of the texts 6 of 9, 6 of 9 and 7 of 10 are.
    without = np.array([6 / 9, 6 / 9, 7 / 10])
    reach = 4.302653 * 100 * np.sqrt(2 * without.var())
    assert reach == pytest.approx(9.5614, abs=1e-3)
    assert found.data["intervals"]["distinct_1"] == pytest.approx([800 / 14 - reach, 800 / 14 + reach], abs=1e-4)
    assert rows["distinct_1"] == "57.14 (47.6 to 66.7)"
    assert found.data["intervals"]["memorised_words_median"] == [3.0, 4.0]
    assert rows["memorised_words_median"] == "3 (3 to 4)"
    assert rows["memorised_words_longest"] == 4.0
    assert "memorised_words_longest" not in found.data["intervals"]
    # Nothing repeats itself: no width, so no brackets.
    assert rows["repeated_4"] == 0.0


def test_slices_are_sorted_by_what_is_worse_in_the_metric_and_small_ones_left_out():
    right = np.repeat([1.0, 0.0], [70, 30])
    columns = np.stack([right, np.ones(100)], axis=1)
    first = np.arange(100) < 50
    slices = {"first": first, "second": ~first, "few": np.arange(100) < 9}
    accuracy = by_slice(RowSums(Accuracy().value, columns), slices, higher_is_better=True)
    assert [(one["name"], one["rows"], one["value"]) for one in accuracy] == [
        ("second", 50, 40.0),
        ("first", 50, 100.0),
    ]
    assert accuracy[0]["low"] < 40.0 < accuracy[0]["high"]
    bits = by_slice(RowSums(BitsPerByte().value, columns), slices, higher_is_better=False)
    assert [one["name"] for one in bits] == ["first", "second"]
