"""Naive Bayes against the plain scikit-learn pipeline over exact n-grams."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from llm.baselines import naive_bayes
from llm.errors import CorpusError

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LABELS = {"de": 0, "en": 1, "fr": 2}


def random_rows(seed: int, count: int) -> list[dict[str, str]]:
    """Words over letters whose frequencies depend on the label, too alike to be told apart without error."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        # Unequal shares, so that the priors matter.
        label = str(generator.choice(list(LABELS), p=[0.6, 0.3, 0.1]))
        weights = np.roll(np.linspace(1.0, 3.0, 26), 8 * LABELS[label])
        letters = generator.choice(list(LETTERS), size=generator.integers(2, 9), p=weights / weights.sum())
        rows.append({"text": "".join(letters).capitalize() + " x", "label": label})
    return rows


@pytest.fixture
def splits():
    return {"train": random_rows(1, 400), "validation": random_rows(2, 200), "test": random_rows(3, 200)}


def plain_pipeline(splits, *, alpha, split):
    vectorizer = CountVectorizer(analyzer="char_wb", ngram_range=(1, 4), lowercase=False)
    vectors = vectorizer.fit_transform([row["text"] for row in splits["train"]])
    model = MultinomialNB(alpha=alpha).fit(vectors, [row["label"] for row in splits["train"]])
    predictions = model.predict(vectorizer.transform([row["text"] for row in splits[split]]))
    truth = np.array([row["label"] for row in splits[split]])
    return predictions.tolist(), float(np.mean(predictions == truth))


def test_chunks_of_counts_hold_what_one_matrix_holds(splits, monkeypatch):
    monkeypatch.setattr(naive_bayes, "_CHUNK_TEXTS", 7)
    texts = [row["text"] for row in splits["train"]]
    numbers = np.array([LABELS[row["label"]] for row in splits["train"]])
    vectorizer = naive_bayes._vectorizer(3)
    found = naive_bayes._count(vectorizer, texts, numbers=numbers, labels=3)
    whole = vectorizer.transform(texts)
    for label in range(3):
        assert (found[label].toarray() == whole[numbers == label].sum(axis=0)).all()


def test_class_counts_give_the_probabilities_of_a_model_trained_on_every_text(splits):
    texts, labels = ([row[field] for row in splits["train"]] for field in ("text", "label"))
    numbers = np.array([LABELS[label] for label in labels])
    vectorizer = naive_bayes._vectorizer(3)
    counts = naive_bayes._count(vectorizer, texts, numbers=numbers, labels=3)
    shares = np.bincount(numbers) / len(numbers)
    found = naive_bayes._fit(counts, np.array(list(LABELS)), alpha=0.1, shares=shares)
    expected = MultinomialNB(alpha=0.1).fit(vectorizer.transform(texts), labels)
    test = vectorizer.transform([row["text"] for row in splits["test"]])
    np.testing.assert_allclose(found.predict_log_proba(test), expected.predict_log_proba(test), rtol=1e-9, atol=1e-9)


def test_the_smoothing_is_the_best_on_the_validation_split_and_the_figures_are_the_test_splits(splits, make_data):
    result = naive_bayes.score(make_data(splits))
    accuracies = {alpha: plain_pipeline(splits, alpha=alpha, split="validation")[1] for alpha in naive_bayes._ALPHAS}
    assert len(set(accuracies.values())) > 1, "the test must tell the choices apart"
    answers, accuracy = plain_pipeline(splits, alpha=max(accuracies, key=accuracies.get), split="test")
    # The few n-grams that share a bucket could turn a text or two.
    assert np.mean([ours == theirs for ours, theirs in zip(result.answers, answers, strict=True)]) >= 0.99
    assert result.metrics["accuracy"] == pytest.approx(100 * accuracy, abs=1.0)


def test_case_is_kept_since_languages_differ_in_it(make_data):
    rows = [{"text": "Xyx Yxy", "label": "upper"}, {"text": "xyx yxy", "label": "lower"}]
    result = naive_bayes.score(make_data({"train": rows, "validation": rows, "test": rows}))
    assert result.answers == ["upper", "lower"]
    assert result.metrics == {"accuracy": 100.0, "macro_f1": 100.0}


def test_a_label_that_training_lacks_is_an_error_and_not_a_crash(make_data):
    known = [{"text": "ab", "label": "a"}, {"text": "cd", "label": "c"}]
    result = naive_bayes.score(
        make_data({"train": known, "validation": known, "test": [*known, {"text": "ef", "label": "e"}]})
    )
    assert result.metrics["accuracy"] == pytest.approx(100 * 2 / 3)


def test_training_texts_that_are_all_blank_are_refused_with_a_remedy(make_data):
    blank = [{"text": "", "label": "a"}, {"text": " ", "label": "b"}]
    with pytest.raises(CorpusError, match=r"train\.jsonl: every text is blank\n.*remedy"):
        naive_bayes.score(make_data({"train": blank, "validation": blank, "test": blank}))
