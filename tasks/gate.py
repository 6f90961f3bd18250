"""The gate: what a challenger must show before it replaces the champion. Pure; the checks bring the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from llm.config import Config
from llm.errors import ConfigError, GateError
from llm.families.base import Metric
from tasks.reload import ReloadResult


class GateConfig(Config):
    """How strict the gate is. Which baselines must be beaten is part of the evaluation's options."""

    repeat_tolerance: float = Field(
        1e-4,
        ge=0.0,
        le=0.1,
        description="how far a score may move when the logged model repeats its predictions; texts must be the same",
    )


@dataclass(frozen=True)
class ChampionScore:
    """The champion, scored on the challenger's test split."""

    version: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Check:
    """One thing that the gate looked at, as a sentence with both figures."""

    ok: bool
    sentence: str


@dataclass(frozen=True)
class Decision:
    """The verdict; `reasons` are the failed checks of a refusal, all checks of a promotion."""

    promote: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]


def decide(
    *,
    metric: Metric,
    challenger: Mapping[str, float],
    baselines: Mapping[str, Mapping[str, float]],
    must_beat: tuple[str, ...],
    champion: ChampionScore | None,
    reload: ReloadResult,
) -> Decision:
    """Promote a challenger that repeats its predictions, beats `must_beat` and is not worse than the champion.

    Raises ConfigError for a baseline that was not scored, GateError when a figure to compare is missing.
    """
    value = _figure(challenger, metric, of="the challenger")
    checks = [Check(reload.ok, reload.sentence)]
    for name in must_beat:
        if name not in baselines:
            raise ConfigError(
                f"evaluation.must_beat names the baseline {name!r}, which was not scored",
                remedy=f"name some of {', '.join(baselines) or 'none: this family has no baselines'}",
            )
        checks.append(_against_baseline(metric, value, name, _figure(baselines[name], metric, of=name)))
    checks.append(_against_champion(metric, value, champion))
    promote = all(check.ok for check in checks)
    return Decision(
        promote=promote,
        reasons=tuple(check.sentence for check in checks if promote or not check.ok),
        checks=tuple(checks),
    )


def _against_baseline(metric: Metric, value: float, name: str, other: float) -> Check:
    ok = metric.better(value, other)
    verb = "beats" if ok else "does not beat"
    return Check(ok, f"{verb} the baseline {name}: {metric.name} {_pair(metric, value, other)}")


def _against_champion(metric: Metric, value: float, champion: ChampionScore | None) -> Check:
    if champion is None:
        return Check(True, f"there is no champion yet: {metric.name} {value:.4g} is the first")
    other = _figure(champion.metrics, metric, of=f"champion version {champion.version}")
    ok = not metric.better(other, value)
    verb = "is not worse than" if ok else "is worse than"
    return Check(ok, f"{verb} champion version {champion.version}: {metric.name} {_pair(metric, value, other)}")


def _pair(metric: Metric, value: float, other: float) -> str:
    wanted = "higher" if metric.higher_is_better else "lower"
    return f"{value:.4g} against {other:.4g} ({wanted} is better)"


def _figure(metrics: Mapping[str, float], metric: Metric, *, of: str) -> float:
    if metric.name not in metrics:
        raise GateError(
            f"{of} has no {metric.name}, only {', '.join(metrics) or 'nothing'}",
            remedy="delete its evaluation stage and run again",
        )
    return metrics[metric.name]
