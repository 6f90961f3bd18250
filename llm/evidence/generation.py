"""What a writer of texts shows: continuations, what they repeat, and the documents that it models worst and best.

N: test rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.evidence.base import Cell, Evidence, Table, worst_and_best
from llm.metrics.diversity import distinct, distinct_without_each, repeated
from llm.metrics.memorisation import Span, longest_spans
from llm.statistics.intervals import Interval, RowSums, interval, jackknife_interval, median_interval

_MOST_CHARACTERS = 20_000_000
# In a row; copies of so many words are hardly chance. The corpus's own check for leaks asks for as many.
_COPIED_WORDS = 13


@dataclass(frozen=True)
class Written:
    """A prompt out of a test document, what the model wrote after it, and what the document goes on with."""

    prompt: str
    continuation: str
    truth: str


def generation_evidence(
    texts: Sequence[str],
    bits: NDArray[np.float64],
    *,
    prompts: Sequence[str],
    documents: Sequence[str],
    continuations: Sequence[str],
    training: Iterable[str],
) -> Evidence:
    """N texts with (N,) bits a byte of each; prompts, each the beginning of one of `documents`, and continuations."""
    samples = [
        Written(prompt, continuation, _as_long(document[len(prompt) :], continuation))
        for prompt, document, continuation in zip(prompts, documents, continuations, strict=True)
    ]
    known, whole = _first(training)
    spans = longest_spans([one.continuation for one in samples], known)
    true_spans = longest_spans([one.truth for one in samples], known)
    summary = _summary(samples, spans, true_spans)
    ranges = _intervals([one.continuation for one in samples], [span.words for span in spans])
    head = ("bits a byte", "bytes", "text")

    def cells(row: int) -> tuple[Cell, ...]:
        return float(bits[row]), len(texts[row].encode()), texts[row]

    scope = "all training texts" if whole else f"the first {_MOST_CHARACTERS:,} characters of the training texts"
    return Evidence(
        figures={name: model for name, model, _ in summary},
        tables=[
            _memorisation_table(samples, spans, true_spans, scope=scope),
            _repetition_table(summary, ranges),
            worst_and_best(-bits, cells, head=head, by="bits a byte"),
        ],
        weaknesses=_weaknesses(spans, true_spans),
        data={
            "samples": [
                {
                    "prompt": one.prompt,
                    "continuation": one.continuation,
                    "truth": one.truth,
                    "memorised_words": span.words,
                    "memorised": span.text,
                    "truth_memorised_words": other.words,
                    "truth_memorised": other.text,
                }
                for one, span, other in zip(samples, spans, true_spans, strict=True)
            ],
            "memorisation_scope": scope,
            "intervals": {name: list(one) for name, one in ranges.items()},
        },
    )


def _as_long(truth: str, continuation: str) -> str:
    """The beginning of `truth` that has as many characters: a longer text repeats more by chance."""
    return truth[: len(continuation)]


def _first(training: Iterable[str]) -> tuple[list[str], bool]:
    """Training texts up to the most characters that are searched, and whether these are all."""
    known: list[str] = []
    left = _MOST_CHARACTERS
    for text in training:
        if left <= 0:
            return known, False
        known.append(text)
        left -= len(text)
    return known, True


def _summary(
    samples: Sequence[Written], spans: Sequence[Span], true_spans: Sequence[Span]
) -> list[tuple[str, float, float]]:
    """Figures by name: the model's, and those of the truth."""
    texts = [[one.continuation for one in samples], [one.truth for one in samples]]
    lengths = [[span.words for span in side] for side in (spans, true_spans)]
    figures = {
        "memorised_words_longest": [float(max(side, default=0)) for side in lengths],
        "memorised_words_median": [float(np.median(side)) if side else 0.0 for side in lengths],
        "distinct_1": [distinct(side, 1) for side in texts],
        "distinct_2": [distinct(side, 2) for side in texts],
        "repeated_4": [float(np.mean([repeated(text) for text in side])) if side else 0.0 for side in texts],
    }
    return [(name, model, truth) for name, (model, truth) in figures.items()]


def _intervals(texts: Sequence[str], words: Sequence[int]) -> dict[str, Interval]:
    """The 95 % interval of each of the model's figures that has one, over the samples; of fewer than two, of none."""
    if len(texts) < 2:
        return {}
    own = np.array([[repeated(text), 1.0] for text in texts])
    found = {"memorised_words_median": median_interval(words)}
    for order in (1, 2):
        low, high = jackknife_interval(distinct(texts, order), distinct_without_each(texts, order))
        found[f"distinct_{order}"] = max(0.0, low), min(100.0, high)
    return found | {"repeated_4": interval(RowSums(lambda sums: sums[..., 0] / sums[..., 1], own))}


def _memorisation_table(
    samples: Sequence[Written], spans: Sequence[Span], true_spans: Sequence[Span], *, scope: str
) -> Table:
    order = sorted(range(len(samples)), key=lambda place: -spans[place].words)
    rows = [
        (
            samples[place].prompt,
            samples[place].continuation,
            spans[place].words,
            spans[place].text,
            true_spans[place].words,
        )
        for place in order
    ]
    note = (
        f"{len(samples)} continuations of test documents drawn by seed, with the longest run of words that stands in "
        f"{scope} too; beside it, for what is normal, that of what the document really goes on with, cut as long."
    )
    head = ("prompt", "continuation", "words memorised", "these", "words in the truth")
    return Table("Samples, and what they repeat of the training texts", note, head, list(rows))


def _repetition_table(summary: Sequence[tuple[str, float, float]], ranges: Mapping[str, Interval]) -> Table:
    note = (
        "distinct_n: percent of n-grams that are different (Li et al. 2016); repeated_4: percent of 4-grams that stood "
        "in the same text before (Welleck et al. 2020). In brackets 95 % intervals over the samples; what is longest "
        "has none."
    )
    rows = [(name, _within(model, ranges.get(name)), truth) for name, model, truth in summary]
    return Table("Repetition", note, ("", "model", "truth, cut as long"), list(rows))


def _within(figure: float, range_: Interval | None) -> Cell:
    """The figure; with its interval where that has width: without, texts are all alike in it."""
    if range_ is None or range_[0] == range_[1]:
        return figure
    return f"{figure:.4g} ({range_[0]:.3g} to {range_[1]:.3g})"


def _weaknesses(spans: Sequence[Span], true_spans: Sequence[Span]) -> list[str]:
    copied = sum(span.words >= _COPIED_WORDS for span in spans)
    normal = sum(span.words >= _COPIED_WORDS for span in true_spans)
    if copied <= normal:
        return []
    return [
        f"{copied} of {len(spans)} samples repeat {_COPIED_WORDS} or more words in a row of a training text "
        f"({normal} of the true continuations do)."
    ]
