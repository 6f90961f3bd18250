"""A model that writes random text, whose calls a test can look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event

from llm.config import Config
from llm.families.base import Answer
from llm.predictor import Predictor


def _open() -> Event:
    gate = Event()
    gate.set()
    return gate


@dataclass(frozen=True)
class Watched(Predictor):
    """A Predictor that remembers which requests it answered together, and fails at one that holds "poison".

    It answers when `gate` is open, as it is unless a test closes it.
    """

    calls: list[list[list[str]]] = field(default_factory=list)
    gate: Event = field(default_factory=_open)

    def answer_together(self, requests: Sequence[Sequence[str]], config: Config) -> list[list[Answer]]:
        assert self.gate.wait(60)
        self.calls.append([list(request) for request in requests])
        if any("poison" in text for request in requests for text in request):
            raise RuntimeError("poisoned")
        return super().answer_together(requests, config)
