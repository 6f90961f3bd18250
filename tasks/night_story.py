"""The morning's page of one night over all families: what became of each, how good it is, and what it cost."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llm.families import load_family
from tasks.figures import duration, within
from tasks.markdown import cell
from tasks.registry.connection import version_link

_HEAD = ("family", "outcome", "deciding figure", "version", "time", "CPU time", "flow run")
NO_TIME_LEFT: Literal["no time left"] = "no time left"
_BYTES = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts in


@dataclass(frozen=True)
class Spent:
    """What this process and those that it has waited for have used: seconds on the clock, and of processors."""

    seconds: float
    cpu_seconds: float

    @classmethod
    def now(cls) -> Spent:
        """Since whenever: only differences mean something."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(time.monotonic(), sum(one.ru_utime + one.ru_stime for one in used))

    def since(self, start: Spent) -> Spent:
        """What was used from `start` on."""
        return Spent(self.seconds - start.seconds, self.cpu_seconds - start.cpu_seconds)


def peak_megabytes() -> float:
    """The most memory that this process, or one that it waited for, has had."""
    used = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(used) * _BYTES / 1e6


@dataclass(frozen=True)
class FamilyNight:
    """One family's night: the summary that its retraining gave, or the error that ended it; neither: it had no time."""

    family: str
    spent: Spent
    summary: Mapping[str, Any] | None = None
    error: str | None = None

    @property
    def outcome(self) -> str:
        """The decision; failed, with the reason, where there is none."""
        if self.summary is not None:
            return str(self.summary["decision"])
        return NO_TIME_LEFT if self.error is None else f"failed: {self.error}"


def night_page(nights: Sequence[FamilyNight], *, flow_runs: Mapping[str, str]) -> str:
    """Markdown; `flow_runs` are the addresses of the families' flow runs, where there are pages."""
    return "\n".join(_lines(nights, flow_runs)) + "\n"


def _lines(nights: Sequence[FamilyNight], flow_runs: Mapping[str, str]) -> Iterator[str]:
    yield f"# {headline(nights)}"
    yield ""
    yield f"| {' | '.join(_HEAD)} |"
    yield f"|{' --- |' * len(_HEAD)}"
    for night in nights:
        address = flow_runs.get(night.family)
        cells = [
            night.family,
            cell(night.outcome, longest=300),
            _figure(night.summary) if night.summary else "",
            version_link(night.family, night.summary["version"]) if night.summary else "",
            duration(night.spent.seconds),
            duration(night.spent.cpu_seconds),
            f"[page]({address})" if address else "",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "In brackets 95 % bootstrap intervals. What a figure is compared with is the champion on the same test split."
    yield ""
    yield f"Most memory of one process: {peak_megabytes():,.0f} MB."


def headline(nights: Sequence[FamilyNight]) -> str:
    """`promoted: generation; nothing new: translation; failed: classification`."""
    families: dict[str, list[str]] = {}
    for night in nights:
        families.setdefault(night.outcome.partition(":")[0], []).append(night.family)
    return "; ".join(f"{outcome}: {', '.join(names)}" for outcome, names in families.items())


def _figure(summary: Mapping[str, Any]) -> str:
    """`bleu 21.34 to 24.1 (23.5 to 24.7)`; without a champion before, only what it is now."""
    name = load_family(summary["family"]).metric.name
    after = within(summary["metrics"][name], summary["intervals"].get(name))
    before = summary["before"]
    return f"{name} {before['metrics'][name]:.4g} → {after}" if before else f"{name} {after}"
