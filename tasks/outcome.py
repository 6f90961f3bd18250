"""How a retraining ended for its family."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.gate import ChampionScore
from tasks.registry.versions import Version


@dataclass(frozen=True)
class Outcome:
    """`decision` is promoted, refused or unchanged; `champion_before` is the champion on the same test split."""

    version: Version
    decision: str
    reasons: tuple[str, ...]
    champion_before: ChampionScore | None


def unchanged(champion: Version) -> Outcome:
    """The same recipe over the same corpus is the champion already."""
    since = champion.champion_since
    when = f", champion since {since:%Y-%m-%d %H:%M} UTC" if since else ""
    sentence = f"already registered as {champion.family} version {champion.version}{when}: nothing to do"
    return Outcome(version=champion, decision="unchanged", reasons=(sentence,), champion_before=None)
