"""The n-gram model against the same features made by scikit-learn from words, and what pairs and letters add."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression

from llm.ngram_teacher import NgramTeacher
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer
from llm.tokens import TokenColumn

# The label is told by the order of two words, which no single word tells.
TEXTS = ["dog bites man", "man bites dog", "cat bites man", "man bites cat", "dog eats man", "man eats dog"] * 3
LABELS = np.array([0, 2] * 9)


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    config = TokenizerConfig(vocabulary=700, prefix_space=True, word_ends=True)
    return TextTokenizer(train_tokenizer(TEXTS, config, template="<s> $A </s>"))


def column(tokenizer: TextTokenizer, texts: list[str]) -> TokenColumn:
    return TokenColumn.encoded(texts, tokenizer)


def test_pairs_of_words_tell_what_words_alone_do_not(tokenizer: TextTokenizer) -> None:
    teacher = NgramTeacher(column(tokenizer, TEXTS), LABELS, tokenizer, count=3)
    found = teacher.probabilities(column(tokenizer, ["cat eats man", "man eats cat"]))
    assert found.argmax(axis=1).tolist() == [0, 2]
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)


def test_a_label_that_no_text_has_is_impossible(tokenizer: TextTokenizer) -> None:
    teacher = NgramTeacher(column(tokenizer, TEXTS), LABELS, tokenizer, count=3)
    assert not teacher.probabilities(column(tokenizer, TEXTS))[:, 1].any()


def test_a_word_that_was_never_read_is_judged_by_its_letters(tokenizer: TextTokenizer) -> None:
    texts = ["licht", "nacht", "light", "night"] * 4
    words = TextTokenizer(
        train_tokenizer([*texts, "macht", "macht"], TokenizerConfig(vocabulary=700), template="<s> $A </s>")
    )
    teacher = NgramTeacher(column(words, texts), np.array([0, 0, 1, 1] * 4), words, count=2)
    assert teacher.probabilities(column(words, ["macht"]))[0, 0] > 0.5


def test_its_probabilities_are_those_of_the_same_model_over_words_and_letters(tokenizer: TextTokenizer) -> None:
    texts = [f"<s> {text} </s>" for text in TEXTS]
    pieces = {
        text: " ".join(tokenizer.pieces()[i].replace("</w>", "\ue000") for i in tokenizer.encode(text))
        for text in TEXTS
    }
    words = CountVectorizer(ngram_range=(1, 2), tokenizer=str.split, token_pattern=None, lowercase=False)
    letters = CountVectorizer(analyzer=_letters, lowercase=False)
    blocks = [words.fit_transform(texts), letters.fit_transform([pieces[text] for text in TEXTS])]
    features = np.hstack([TfidfTransformer(sublinear_tf=True).fit_transform(block).toarray() for block in blocks])
    expected = LogisticRegression(C=10.0, max_iter=300, tol=1e-3).fit(features, LABELS).predict_proba(features)
    teacher = NgramTeacher(column(tokenizer, TEXTS), LABELS, tokenizer, count=3)
    np.testing.assert_allclose(teacher.probabilities(column(tokenizer, TEXTS))[:, [0, 2]], expected, atol=1e-4)


def _letters(text: str) -> list[str]:
    return [word[i : i + n] for word in text.split() for n in range(2, 6) for i in range(len(word) - n + 1)]


def test_many_texts_are_judged_as_each_alone(tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = NgramTeacher(column(tokenizer, TEXTS), LABELS, tokenizer, count=3)
    together = teacher.probabilities(column(tokenizer, TEXTS))
    monkeypatch.setattr("llm.ngram_teacher._ROWS", 5)
    np.testing.assert_array_equal(teacher.probabilities(column(tokenizer, TEXTS)), together)
