"""BLEU and chrF by sacrebleu, and the share of placeholders that a translation keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.errors import InputError
from llm.placeholders import PLACEHOLDER
from llm.statistics.intervals import RowSums
from llm.statistics.measures import CorpusBleu, bleu_columns

_CHRF_BETA = 2  # how much more recall weighs than precision


@dataclass(frozen=True)
class TranslationScore:
    """`metrics`: bleu, chrf, placeholders_kept (percent); `details`: bleu_signature, chrf_signature."""

    metrics: dict[str, float]
    details: dict[str, str]


def score(hypotheses: Sequence[str], references: Sequence[str], *, sources: Sequence[str]) -> TranslationScore:
    """Corpus BLEU and chrF of N hypotheses against one reference each, and the share of placeholders kept.

    BLEU: Papineni et al. 2002 (tokenizer 13a, exponential smoothing); chrF: Popović 2015 (chrF2, character 6-grams);
    both with sacrebleu's defaults (Post 2018), from 0 to 100. The signatures name the settings and the version.

    Raises InputError when the lengths differ or are 0.
    """
    # Imported here, so that a predictor, which loads its family's file, does not need sacrebleu.
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if not len(hypotheses) == len(references) == len(sources) or not sources:
        raise InputError(
            f"{len(hypotheses)} hypotheses, {len(references)} references and {len(sources)} sources",
            remedy="give one hypothesis and one reference for each source, and at least one",
        )
    bleu, chrf = BLEU(), CHRF()
    metrics = {
        "bleu": float(bleu.corpus_score(list(hypotheses), [list(references)]).score),
        "chrf": float(chrf.corpus_score(list(hypotheses), [list(references)]).score),
        "placeholders_kept": placeholders_kept(hypotheses, sources),
    }
    # The signature knows the number of references only after a score.
    details = {"bleu_signature": str(bleu.get_signature()), "chrf_signature": str(chrf.get_signature())}
    return TranslationScore(metrics=metrics, details=details)


def row_sums(hypotheses: Sequence[str], references: Sequence[str], *, sources: Sequence[str]) -> dict[str, RowSums]:
    """The metrics of `score` as sums over rows."""
    from sacrebleu.metrics.chrf import CHRF

    # sacrebleu's own entry for significance tests, as for BLEU.
    chrf = CHRF()._extract_corpus_statistics(list(hypotheses), [list(references)])
    kept = [_placeholders(hypothesis, source) for hypothesis, source in zip(hypotheses, sources, strict=True)]
    return {
        "bleu": RowSums(CorpusBleu().value, bleu_columns(hypotheses, references)),
        "chrf": RowSums(chrf_of_sums, np.asarray(chrf, dtype=np.float64)),
        "placeholders_kept": RowSums(_share_kept, np.asarray(kept, dtype=np.float64)),
    }


def chrf_of_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 18) character n-grams of the hypotheses, of the references and of both, order by order -> (...) chrF.

    Popović 2015; as sacrebleu, precision and recall are means over the orders that both sides have.
    """
    written, wanted, both = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    counts = (written > 0) & (wanted > 0)
    orders = np.maximum(counts.sum(axis=-1), 1)
    precision = np.divide(both, written, out=np.zeros_like(both), where=counts).sum(axis=-1) / orders
    recall = np.divide(both, wanted, out=np.zeros_like(both), where=counts).sum(axis=-1) / orders
    below = _CHRF_BETA**2 * precision + recall
    above = 100.0 * (1 + _CHRF_BETA**2) * precision * recall
    return np.asarray(np.divide(above, below, out=np.zeros(np.shape(below)), where=below > 0))


def placeholders_kept(hypotheses: Sequence[str], sources: Sequence[str]) -> float:
    """Percent of the sources' placeholders that occur in their hypotheses, pooled over all N pairs.

    A placeholder is `{...}` without braces inside. They are counted as multisets: a placeholder that stands twice in
    the source must stand twice in the hypothesis. Placeholders that only the hypothesis has do not count. 100.0 when no
    source has a placeholder.
    """
    pairs = [_placeholders(hypothesis, source) for hypothesis, source in zip(hypotheses, sources, strict=True)]
    return float(_share_kept(np.sum(np.asarray(pairs, dtype=np.float64).reshape(-1, 2), axis=0)))


def _placeholders(hypothesis: str, source: str) -> tuple[int, int]:
    """How many of the source's placeholders are kept, and how many there are."""
    wanted = Counter(PLACEHOLDER.findall(source))
    return (wanted & Counter(PLACEHOLDER.findall(hypothesis))).total(), wanted.total()


def _share_kept(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    kept, wanted = sums[..., 0], sums[..., 1]
    none = np.full(np.shape(wanted), 100.0)
    return np.asarray(np.divide(100.0 * kept, wanted, out=none, where=np.asarray(wanted) > 0))
