"""What tokens say about labels before training, against counts by hand and naive Bayes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from llm import label_evidence as module
from llm.label_evidence import label_evidence, start_from
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer
from llm.tokens import TokenColumn

TEXTS = ["licht an", "licht aus", "light on", "light off", "lys på", "lys av"] * 4
LABELS = np.array([0, 0, 1, 1, 2, 2] * 4)


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    config = TokenizerConfig(vocabulary=600, prefix_space=True, word_ends=True)
    return TextTokenizer(train_tokenizer(TEXTS, config, template="<s> $A </s>"))


def column(tokenizer: TextTokenizer, texts: list[str]) -> TokenColumn:
    return TokenColumn.encoded(texts, tokenizer)


def test_a_token_speaks_for_the_label_it_stands_under(tokenizer: TextTokenizer) -> None:
    evidence = label_evidence(column(tokenizer, TEXTS), LABELS, tokenizer, labels=3)
    assert evidence.shape == (tokenizer.size, 3)
    for text, label in zip(TEXTS, LABELS, strict=True):
        assert evidence[tokenizer.encode(text)].sum(axis=0).argmax() == label
    assert np.abs(evidence.sum(axis=1)).max() < 1e-4
    assert not evidence[:4].any(), "control tokens say nothing"


def only(monkeypatch: pytest.MonkeyPatch, *, weight: float, prior: float) -> None:
    monkeypatch.setattr(module, "_NGRAM_WEIGHTS", (weight,))
    monkeypatch.setattr(module, "_PRIORS", (prior,))


def test_with_an_even_prior_the_evidence_is_the_log_count_ratio_by_hand(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, weight=0.0, prior=0.5)
    texts, numbers = ["licht an", "licht", "an an an an an an"], np.array([0, 0, 1])
    licht, an = (tokenizer.encode(word)[1] for word in ("licht", "an"))
    found = label_evidence(column(tokenizer, texts), numbers, tokenizer, labels=2)
    # Label 0 wrote 3 words, label 1 wrote 6: scaled to 4.5 each. The frames count for nothing.
    for token, counts in ((licht, (2, 0)), (an, (1, 6))):
        scaled = np.log(np.array(counts) * 4.5 / np.array([3, 6]) + 0.25)
        np.testing.assert_allclose(found[token], scaled - scaled.mean(), rtol=1e-5)


def test_a_token_that_was_never_read_is_judged_by_its_letters(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, weight=0.3, prior=5.0)
    seen = column(tokenizer, ["licht", "light"] * 3)
    evidence = label_evidence(seen, np.array([0, 1] * 3), tokenizer, labels=2)
    unread = [i for i, piece in enumerate(tokenizer.pieces()) if "cht" in piece and i not in seen.ids]
    assert unread
    assert all(evidence[i, 0] > evidence[i, 1] for i in unread)


def test_a_word_read_once_says_much_where_words_foretell_the_label_and_little_where_they_do_not(
    tokenizer: TextTokenizer,
) -> None:
    draw = np.random.default_rng(1)
    words = [f"{chr(97 + a)}{chr(97 + b)}" for a in range(26) for b in range(26)]
    texts = [words[number] for number in np.concatenate([draw.integers(1, 676, size=1500), [0]])]
    byword = np.array([words.index(text) % 2 for text in texts])
    config = TokenizerConfig(vocabulary=3000, word_ends=True, minimum_frequency=1)
    fresh = TextTokenizer(train_tokenizer(texts, config, template="<s> $A </s>"))
    _, once, _ = fresh.encode("aa")
    for labels, lowest, highest in ((byword, 1.0, 99.0), (draw.integers(0, 2, size=1501), 0.0, 0.1)):
        evidence = label_evidence(column(fresh, texts), labels, fresh, labels=2)
        assert lowest <= abs(evidence[once, 0] - evidence[once, 1]) <= highest


def test_too_many_labels_for_the_vocabulary_are_not_counted_but_told(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_MAX_CELLS", tokenizer.size)
    with caplog.at_level("INFO"):
        evidence = label_evidence(column(tokenizer, TEXTS), LABELS, tokenizer, labels=3)
    assert not evidence.any()
    assert "too many" in caplog.text


def test_a_label_without_training_rows_is_nobodys_choice(tokenizer: TextTokenizer) -> None:
    evidence = label_evidence(column(tokenizer, ["licht", "light"]), np.array([0, 2]), tokenizer, labels=3)
    assert np.isfinite(evidence).all()
    assert (evidence[tokenizer.encode("licht")].sum(axis=0)).argmax() == 0


def test_words_are_counted_whole_and_by_label(tokenizer: TextTokenizer) -> None:
    pieces = [piece.replace("</w>", "\ue000") for piece in tokenizer.pieces()]
    words, counts = module._words(column(tokenizer, ["licht an", "an, an"]), np.array([0, 1]), pieces, labels=2)
    found = dict(zip(words, counts.toarray().tolist(), strict=True))
    assert found["\u0120licht\ue000"] == [1, 0]
    assert found["\u0120an\ue000"] == [1, 2]
    assert found[",\ue000"] == [0, 1]


@pytest.mark.parametrize("labels", [2, 3, 40])
def test_the_start_keeps_what_can_be_told_apart(labels: int) -> None:
    torch.manual_seed(1)
    evidence = np.random.default_rng(2).normal(size=(500, labels)).astype(np.float32)
    evidence -= evidence.mean(axis=1, keepdims=True)
    embedding = nn.Embedding(500, 32)
    nn.init.zeros_(embedding.weight)
    start_from(embedding, evidence)
    rows = embedding.weight.detach()
    # Inner products of differences are those of the evidence, up to one scale, where all its axes fit.
    centred = rows - rows.mean(dim=0)
    exact = torch.from_numpy(evidence - evidence.mean(axis=0))
    one, other = (centred @ centred.T).flatten(), (exact @ exact.T).flatten()
    similarity = torch.corrcoef(torch.stack((one, other)))[0, 1].item()
    assert similarity > (0.999 if labels <= 17 else 0.6)
    shared = rows.mean(dim=0)
    assert shared.norm().item() == pytest.approx(1.0, abs=0.2)
