"""BLEU and chrF by hand and against sacrebleu's own front, placeholders by hand."""

from __future__ import annotations

import pytest
import sacrebleu

from llm.errors import InputError
from llm.metrics.translation import placeholders_kept, score


def test_bleu_matches_n_gram_precisions_counted_by_hand():
    found = score(["the cat sat on the mat"], ["the cat sat on a mat"], sources=["x"])
    # 1- to 4-gram precisions; the lengths are equal, so there is no brevity penalty.
    assert found.metrics["bleu"] == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)


def test_chrf_matches_character_n_grams_counted_by_hand():
    # Precisions of 1- and 2-grams 1 and 1, recalls 2/3 and 1/2; F with beta 2 of the means 1 and 7/12.
    precision, recall = 1.0, (2 / 3 + 1 / 2) / 2
    found = score(["ab"], ["abc"], sources=["x"])
    assert found.metrics["chrf"] == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))


def test_figures_are_those_of_sacrebleu_over_the_whole_corpus():
    hypotheses = ["Das Gerät ist bereits konfiguriert", "Verbindung fehlgeschlagen", "Unerwarteter Fehler im Gerät"]
    references = ["Das Gerät ist bereits eingerichtet", "Verbindung fehlgeschlagen", "Unerwarteter Fehler"]
    found = score(hypotheses, references, sources=["a", "b", "c"])
    assert found.metrics["bleu"] == pytest.approx(sacrebleu.corpus_bleu(hypotheses, [references]).score)
    assert found.metrics["chrf"] == pytest.approx(sacrebleu.corpus_chrf(hypotheses, [references]).score)


def test_signatures_tell_tokenizer_references_and_version():
    details = score(["a"], ["a"], sources=["a"]).details
    assert details["bleu_signature"] == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    assert "nc:6|nw:0" in details["chrf_signature"]


@pytest.mark.parametrize(
    ("hypothesis", "source", "percent"),
    [
        ("{host} nicht erreichbar", "Cannot reach {host}", 100.0),
        ("{Host} nicht erreichbar", "Cannot reach {host}", 0.0),
        ("{a} und {b}", "{a} and {b} or {c}", 200 / 3),
        ("nur {a}", "{a} with {a}", 50.0),
        ("{a} mit {b}", "{a}", 100.0),
        ("nichts", "nothing", 100.0),
    ],
)
def test_placeholders_are_counted_as_multisets(hypothesis, source, percent):
    assert placeholders_kept([hypothesis], [source]) == pytest.approx(percent)


def test_placeholders_are_pooled_over_the_corpus():
    # 1 of 1 and 1 of 3: 2 of 4, not the mean of 100 and 33.
    assert placeholders_kept(["{a}", "{a}"], ["{a}", "{a} {b} {c}"]) == pytest.approx(50.0)


@pytest.mark.parametrize(("count", "sources"), [(1, ["a", "b"]), (0, [])])
def test_lists_that_do_not_fit_are_refused(count, sources):
    with pytest.raises(InputError, match=f"{count} hypotheses, {count} references and {len(sources)} sources"):
        score(["a"] * count, ["a"] * count, sources=sources)
