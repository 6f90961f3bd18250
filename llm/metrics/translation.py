"""BLEU and chrF by sacrebleu, and the share of placeholders that a translation keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from llm.errors import InputError
from llm.placeholders import PLACEHOLDER


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


def placeholders_kept(hypotheses: Sequence[str], sources: Sequence[str]) -> float:
    """Percent of the sources' placeholders that occur in their hypotheses, pooled over all N pairs.

    A placeholder is `{...}` without braces inside. They are counted as multisets: a placeholder that stands twice in
    the source must stand twice in the hypothesis. Placeholders that only the hypothesis has do not count. 100.0 when no
    source has a placeholder.
    """
    wanted = kept = 0
    for hypothesis, source in zip(hypotheses, sources, strict=True):
        needed = Counter(PLACEHOLDER.findall(source))
        wanted += needed.total()
        kept += (needed & Counter(PLACEHOLDER.findall(hypothesis))).total()
    return 100.0 * kept / wanted if wanted else 100.0
