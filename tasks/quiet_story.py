"""The story of a night that had nothing new to do, in the two forms of `tasks.story`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llm.stages import Stage
from tasks.outcome import Outcome
from tasks.registry.connection import version_link
from tasks.stages import how


@dataclass(frozen=True)
class QuietStory:
    """The corpus that was read, and the version that was made from it and decided before."""

    corpus: Stage
    outcome: Outcome
    flow_run_url: str | None

    def summary(self) -> dict[str, Any]:
        """What the flow returns; the figures are those that the version was registered with, on this test split."""
        version = self.outcome.version
        return self.outcome.summary(stages=[self.corpus], metrics=version.metrics, baselines=version.baselines)

    def markdown(self) -> str:
        """The page."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        version = self.outcome.version
        yield f"# {self.outcome.title}"
        yield ""
        yield from (f"- {reason}" for reason in self.outcome.reasons)
        yield ""
        yield "`when_nothing_new: continue` runs every stage and decides all the same."
        yield ""
        yield f"- Corpus: {how(self.corpus)}"
        model = version_link(version.family, version.version)
        yield f"- Model: {model}, training key `{version.training_key}`, MLflow run `{version.run_id}`"
        if self.flow_run_url:
            yield f"- Prefect flow run: [{self.flow_run_url}]({self.flow_run_url})"
