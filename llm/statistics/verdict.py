"""The verdict on a challenger: promoted if shown to be better, refused if shown to be worse, else not promoted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import ArrayLike
from pydantic import Field

from llm.config import Config
from llm.statistics.comparison import LEVEL, Comparison, can_be_shown
from llm.statistics.measures import Measure
from llm.statistics.slices import SLICE_LEVEL, SliceRegression, Slices, slice_regressions, too_small

Outcome = Literal["promote", "keep", "refuse"]


class RefreshPolicy(Config):
    """Promote a challenger that was trained on newer data and is shown not to be worse by `margin` or more."""

    margin: float = Field(
        gt=0.0,
        description="how much worse is still good enough, in the metric's unit: points of accuracy or of BLEU, bits a "
        "byte",
    )


class PromotionPolicy(Config):
    """What a challenger must show."""

    level: float = Field(
        LEVEL,
        ge=0.001,  # 2,000 random swaps give no p-value below 0.0005
        le=0.1,
        description="highest one-sided p-value that shows a difference over the whole test split: the share of the "
        "nights on which a challenger that is only as good is promoted",
    )
    slice_level: float = Field(
        SLICE_LEVEL,
        ge=0.001,
        le=0.2,
        description="highest p-value, corrected for the number of slices, that shows a regression in a slice: the "
        "share of the nights on which a challenger that is worse in no slice is refused because of one",
    )
    refresh: RefreshPolicy | None = Field(
        None, description="also promote a challenger on newer data that is shown to be not much worse; off by default"
    )


@dataclass(frozen=True)
class Verdict:
    """What is to be done with the challenger, `reasons` as sentences for a person, and the figures behind them."""

    outcome: Outcome
    reasons: tuple[str, ...]
    overall: Comparison
    slices: tuple[SliceRegression, ...]  # worst first

    def facts(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "outcome": self.outcome,
            "reasons": list(self.reasons),
            "overall": self.overall.facts(),
            "slices": [one.facts() for one in self.slices],
        }


def decide(
    measure: Measure,
    champion: ArrayLike,
    challenger: ArrayLike,
    *,
    slices: Slices,
    policy: PromotionPolicy,
    newer_data: bool,
    seed: int = 0,
) -> Verdict:
    """The verdict on the (N, K) columns of both models on the same test rows, and on slices of them.

    newer_data: the challenger was trained on data that the champion has not seen. seed: of what is drawn at random.

    Raises InputError as `measure.compare` and `slice_regressions` do.
    """
    overall = measure.compare(champion, challenger, level=policy.level, seed=seed)
    regressions = slice_regressions(measure, champion, challenger, slices=slices, level=policy.slice_level, seed=seed)
    return judge(measure, overall, regressions, policy=policy, newer_data=newer_data, not_judged=too_small(slices))


def judge(
    measure: Measure,
    overall: Comparison,
    slices: Sequence[SliceRegression],
    *,
    policy: PromotionPolicy,
    newer_data: bool,
    not_judged: Sequence[str] = (),
) -> Verdict:
    """The verdict on figures that are known; `not_judged` names slices that were too small to be judged."""
    ordered = tuple(sorted(slices, key=lambda one: (one.adjusted_p_worse, one.comparison.p_worse)))
    blocking = [one for one in ordered if one.blocks]
    outcome: Outcome
    if overall.p_worse <= policy.level or blocking:
        outcome = "refuse"
        reasons = [_overall_worse(measure, overall, policy)] if overall.p_worse <= policy.level else []
        reasons += [_slice_worse(measure, one, policy, count=len(ordered)) for one in blocking]
    elif overall.p_better <= policy.level:
        outcome, reasons = "promote", [_better(measure, overall, policy), *_slices_clear(ordered)]
    elif policy.refresh is not None and newer_data and worst(measure, overall) < policy.refresh.margin:
        outcome, reasons = "promote", [_refreshed(measure, overall, policy.refresh), *_slices_clear(ordered)]
    else:
        outcome, reasons = "keep", [_not_shown(measure, overall, policy)]
    if not_judged:
        reasons.append(f"Slices with too few rows to be judged: {', '.join(not_judged)}.")
    return Verdict(outcome=outcome, reasons=tuple(reasons), overall=overall, slices=ordered)


def worst(measure: Measure, comparison: Comparison) -> float:
    """How much worse the challenger may be, in the metric's unit: the bad end of the interval; negative if better."""
    return -comparison.low if measure.higher_is_better else comparison.high


def _overall_worse(measure: Measure, found: Comparison, policy: PromotionPolicy) -> str:
    return f"The challenger is worse: {_effect(measure, found)}; {_evidence(found, found.p_worse, policy.level)}."


def _slice_worse(measure: Measure, found: SliceRegression, policy: PromotionPolicy, *, count: int) -> str:
    evidence = _evidence(found.comparison, found.adjusted_p_worse, policy.slice_level)
    effect = _effect(measure, found.comparison)
    return f"The challenger is worse in the slice {found.name}: {effect}; {evidence}, corrected for {count} slices."


def _better(measure: Measure, found: Comparison, policy: PromotionPolicy) -> str:
    return f"The challenger is better: {_effect(measure, found)}; {_evidence(found, found.p_better, policy.level)}."


def _refreshed(measure: Measure, found: Comparison, refresh: RefreshPolicy) -> str:
    return (
        f"The challenger has seen newer data and is not worse by {refresh.margin:.4g} {measure.unit} or more: "
        f"{_effect(measure, found)}; {found.rows:,} rows, {found.method}."
    )


def _not_shown(measure: Measure, found: Comparison, policy: PromotionPolicy) -> str:
    return (
        f"The challenger is not shown to be better: {_effect(measure, found)}; "
        f"{_evidence(found, found.p_better, policy.level)}. {_reach(measure, found, policy)}"
    )


def _reach(measure: Measure, found: Comparison, policy: PromotionPolicy) -> str:
    """What these rows could have shown."""
    if not can_be_shown(found.rows, policy.level):
        return f"So few rows can never show a difference at a level of {policy.level:.4g}: hold out more."
    if found.p_better == found.p_worse == 1.0:
        return "On these rows both models are alike."
    if found.detectable is None:
        return "A few rows outweigh all others, so that no size can be named that would show: hold out more."
    return (
        f"So many rows show a true gain of {found.detectable:.3g} {measure.unit} in four nights of five; a smaller one "
        "needs more rows."
    )


def _slices_clear(slices: Sequence[SliceRegression]) -> list[str]:
    if not slices:
        return []
    lowest = slices[0]
    return [
        f"None of {len(slices)} slices is shown to be worse; the likeliest is {lowest.name} "
        f"(corrected p = {lowest.adjusted_p_worse:.3g})."
    ]


def _effect(measure: Measure, found: Comparison) -> str:
    wanted = "higher" if measure.higher_is_better else "lower"
    return (
        f"{measure.name} {found.challenger:.4g} against {found.champion:.4g} ({wanted} is better), a difference of "
        f"{found.difference:+.3g} {measure.unit} (95 % interval {found.low:+.3g} to {found.high:+.3g})"
    )


def _evidence(found: Comparison, p: float, level: float) -> str:
    relation = "at most" if p <= level else "above"
    return f"p = {p:.3g}, {relation} {level:.4g}, over {found.rows:,} rows, {found.method}"
