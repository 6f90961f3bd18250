"""How a retraining ended for its family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm.stages import Stage
from llm.statistics.verdict import Verdict
from tasks.gate import ChampionScore
from tasks.registry.versions import Version
from tasks.stages import summary

NOTHING_NEW = "nothing new"


@dataclass(frozen=True)
class Outcome:
    """`decision` is promoted, not promoted, refused or nothing new; `champion_before`: the champion on the same split.

    `verdict` compares the two, where the night did.
    """

    version: Version
    decision: str
    reasons: tuple[str, ...]
    champion_before: ChampionScore | None
    verdict: Verdict | None = None

    @property
    def champion(self) -> int | None:
        """The version that is champion now."""
        if self.version.is_champion:
            return self.version.version
        return self.champion_before.version if self.champion_before else None

    @property
    def title(self) -> str:
        """`translation: version 2 refused`."""
        return title(self.version.family, version=self.version.version, decision=self.decision)

    @property
    def told(self) -> str:
        """In one line: the decision, then why."""
        return f"{self.decision}: {'; '.join(self.reasons)}"

    def summary(
        self,
        *,
        stages: Sequence[Stage],
        metrics: Mapping[str, float],
        baselines: Mapping[str, Mapping[str, float]],
        intervals: Mapping[str, Sequence[float]] | None = None,
    ) -> dict[str, Any]:
        """What the flow returns; `metrics` are the version's on the test split, beside the `baselines`' there.

        `before` is the champion that the version met, and what it scored on the same split.
        """
        before = self.champion_before
        champion = {"version": before.version, "metrics": dict(before.metrics)} if before else None
        if self.version.is_champion:
            champion = {"version": self.version.version, "metrics": dict(metrics)}
        return {
            "family": self.version.family,
            "stages": [summary(stage) for stage in stages],
            "metrics": dict(metrics),
            "intervals": {name: list(bounds) for name, bounds in (intervals or {}).items()},
            "before": {"version": before.version, "metrics": dict(before.metrics)} if before else None,
            "baselines": {name: dict(values) for name, values in baselines.items()},
            "decision": self.decision,
            "reasons": list(self.reasons),
            "version": self.version.version,
            "champion": champion,
            "mlflow_run_id": self.version.run_id,
        }


def title(family: str, *, version: int, decision: str) -> str:
    """A retraining in a few words; where there is nothing new, no version came out."""
    return f"{family}: {decision}" if decision == NOTHING_NEW else f"{family}: version {version} {decision}"


def nothing_new(version: Version, *, champion: ChampionScore | None = None) -> Outcome:
    """`version` came of the same corpus and options and was decided; `champion` is the one in force where it is not."""
    reason = f"version {version.version} was made from the same corpus with the same options; {_how_decided(version)}"
    if champion is not None:
        reason += f", and version {champion.version} is champion"
    return Outcome(version=version, decision=NOTHING_NEW, reasons=(reason,), champion_before=champion)


def _how_decided(version: Version) -> str:
    decided = version.decided or version.champion_since
    when = f" on {decided:%Y-%m-%d at %H:%M} UTC" if decided else ""
    if not version.is_champion:
        return f"it was {version.decision}{when}"
    if version.decision == "promoted":
        return f"it was promoted{when} and is champion"
    # Somebody moved the alias, against the decision or before there was one.
    return f"it was {version.decision or 'not decided'}{when} and made champion by hand"
