"""A registered version without a registry."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.registry.versions import Measured, Version

NIGHT = datetime(2026, 5, 1, 2, 41, tzinfo=UTC)

MEASURED = Measured(metrics={"bleu": 21.5}, baselines={"copy_source": {"bleu": 3.0}}, test_split="c0ffee")


def version_of(decision: str, *, aliases: tuple[str, ...] = (), decided: datetime | None = NIGHT) -> Version:
    return Version(
        family="translation",
        version=2,
        training_key="k2",
        run_id="r",
        test_split="c0ffee",
        metrics={"bleu": 21.5},
        baselines={"copy_source": {"bleu": 3.0}},
        files={},
        decision=decision,
        reasons=(),
        decided=decided,
        created=NIGHT,
        champion_since=None,
        aliases=aliases,
    )
