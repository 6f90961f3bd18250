"""The gate: what a challenger must show before it replaces the champion. Pure; the checks bring the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from llm.config import Config
from llm.errors import ConfigError, GateError
from llm.stages import Stage
from llm.statistics.measures import Measure, is_better
from llm.statistics.verdict import PromotionPolicy, Verdict
from tasks.reload import ReloadResult

Outcome = Literal["promoted", "not promoted", "refused"]


class GateConfig(Config):
    """How strict the gate is. Which baselines must be beaten is part of the evaluation's options."""

    repeat_tolerance: float = Field(
        1e-4,
        ge=0.0,
        le=0.1,
        description="how far a score may move when the logged model repeats its predictions; texts must be the same",
    )
    replace_own_data: bool = Field(
        False,
        description="whether a model of a corpus that comes with Nightshift may replace a champion that was trained on "
        "data of your own; if not, such a retraining fails before it reads anything",
    )
    promotion: PromotionPolicy = Field(
        PromotionPolicy(), description="what a challenger must show against the champion, on the same test rows"
    )


@dataclass(frozen=True)
class ChampionScore:
    """The champion, scored on the challenger's test split: `evaluation` holds what it got for each row."""

    version: int
    metrics: Mapping[str, float]
    evaluation: Stage | None = None


@dataclass(frozen=True)
class Check:
    """One thing that the gate looked at, as a sentence with both figures."""

    ok: bool
    sentence: str


@dataclass(frozen=True)
class Decision:
    """`outcome`: promoted; refused (shown to be worse, or not fit to serve); not promoted (not shown to be better).

    `reasons` are the failed checks, all checks of a promotion; `verdict` holds the figures of the comparison with the
    champion, None where there is none.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    verdict: Verdict | None = None

    @property
    def promote(self) -> bool:
        """True when the challenger becomes champion."""
        return self.outcome == "promoted"


def decide(
    *,
    metric: Measure,
    challenger: Mapping[str, float],
    baselines: Mapping[str, Mapping[str, float]],
    must_beat: tuple[str, ...],
    verdict: Verdict | None,
    champion: int | None,
    reload: ReloadResult,
) -> Decision:
    """Promote a challenger that repeats its predictions, beats `must_beat` and is shown to be better than the champion.

    `verdict`: on the rows that both were scored on; `champion`: its version, None (as the verdict) where there is none.

    Raises ConfigError for a baseline that was not scored, GateError when a figure to compare is missing.
    """
    value = _figure(challenger, metric, of="the challenger")
    fit = [Check(reload.ok, reload.sentence)]
    for name in must_beat:
        if name not in baselines:
            raise ConfigError(
                f"evaluation.must_beat names the baseline {name!r}, which was not scored",
                remedy=f"name some of {', '.join(baselines) or 'none: this family has no baselines'}",
            )
        fit.append(_against_baseline(metric, value, name, _figure(baselines[name], metric, of=name)))
    checks = [*fit, *_against_champion(metric, value, champion, verdict)]
    outcome: Outcome = "promoted"
    if not all(check.ok for check in checks):
        serves = all(check.ok for check in fit)
        outcome = "not promoted" if serves and verdict is not None and verdict.outcome == "keep" else "refused"
    return Decision(
        outcome=outcome,
        reasons=tuple(check.sentence for check in checks if outcome == "promoted" or not check.ok),
        checks=tuple(checks),
        verdict=verdict,
    )


def _against_baseline(metric: Measure, value: float, name: str, other: float) -> Check:
    ok = is_better(metric, value, other)
    verb = "beats" if ok else "does not beat"
    return Check(ok, f"{verb} the baseline {name}: {metric.name} {_pair(metric, value, other)}")


def _against_champion(metric: Measure, value: float, champion: int | None, verdict: Verdict | None) -> list[Check]:
    if verdict is None:
        return [Check(True, f"there is no champion yet: {metric.name} {value:.4g} is the first")]
    told = [f"against champion version {champion}: {reason}" for reason in verdict.reasons]
    return [Check(verdict.outcome == "promote", sentence) for sentence in told]


def _pair(metric: Measure, value: float, other: float) -> str:
    wanted = "higher" if metric.higher_is_better else "lower"
    return f"{value:.4g} against {other:.4g} ({wanted} is better)"


def _figure(metrics: Mapping[str, float], metric: Measure, *, of: str) -> float:
    if metric.name not in metrics:
        raise GateError(
            f"{of} has no {metric.name}, only {', '.join(metrics) or 'nothing'}",
            remedy="delete its evaluation stage and run again",
        )
    return metrics[metric.name]
