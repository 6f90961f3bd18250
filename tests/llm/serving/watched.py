"""A model that writes random text, whose calls a test can look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llm.config import Config
from llm.families.base import Answer
from llm.predictor import Predictor


@dataclass(frozen=True)
class Watched(Predictor):
    """A Predictor that remembers which requests it answered together, and fails at one that holds "poison"."""

    calls: list[list[list[str]]] = field(default_factory=list)

    def answer_together(self, requests: Sequence[Sequence[str]], config: Config) -> list[list[Answer]]:
        self.calls.append([list(request) for request in requests])
        if any("poison" in text for request in requests for text in request):
            raise RuntimeError("poisoned")
        return super().answer_together(requests, config)
