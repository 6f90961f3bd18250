"""How far a training is, on the page of its run while it trains; the training neither waits for it nor fails by it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from types import TracebackType
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from llm.training.budget import BUDGET_USED, SECONDS_LEFT
from llm.training.config import TrainingConfig
from tasks.figures import duration

# (percent, markdown) -> on the page.
Show = Callable[[float, str], None]

# Each time costs the server 20 ms, which the training beside it feels.
_EVERY_S = 10.0
# The last state is worth so long a wait; the training is over by then.
_PATIENCE_S = 5.0

log = logging.getLogger(__name__)


class LiveProgress:
    """`report(step, values)` is the trainer's callback, as a metric buffer's is; used as a context manager.

    It only notes what it is told. A thread shows it every `every_seconds`, and once more at the end, with how it ended.
    """

    def __init__(self, config: TrainingConfig, show: Show, *, every_seconds: float = _EVERY_S) -> None:
        self._config = config
        self._show = show
        self._every_seconds = every_seconds
        self._known: dict[str, float] = {}
        self._step: int | None = None
        self._news: tuple[float, str] | None = None
        self._silent = False
        self._over = threading.Event()
        # Artifacts belong to the run that the context names.
        target = copy_context().run
        self._thread = threading.Thread(target=target, args=(self._keep_showing,), name="live progress", daemon=True)

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """Take the metrics of one step."""
        self._known |= values
        self._step = step
        where = f"step {step:,} of {self._config.steps:,}"
        self._news = self._percent(), progress_text(where, self._known, seconds_left=self._known.get(SECONDS_LEFT))

    def _percent(self) -> float:
        return 100.0 * self._known.get(BUDGET_USED, 0.0)

    def __enter__(self) -> LiveProgress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._step is not None:
            # Whatever share of its budget it used: a training that ended well has nothing before it.
            percent = 100.0 if kind is None else self._percent()
            self._news = percent, progress_text(self._end(kind, self._step), self._known)
        self._over.set()
        # Who cancels a run must not wait for a server that may be gone.
        self._thread.join(_PATIENCE_S if kind is None or issubclass(kind, Exception) else 0.0)

    def _end(self, kind: type[BaseException] | None, step: int) -> str:
        if kind is None:
            return f"done after {step:,} of {self._config.steps:,} steps"
        return f"{'failed' if issubclass(kind, Exception) else 'stopped'} after step {step:,} of {self._config.steps:,}"

    def _keep_showing(self) -> None:
        while not self._over.wait(self._every_seconds):
            self._show_news()
        self._show_news()

    def _show_news(self) -> None:
        news, self._news = self._news, None
        if news is None:
            return
        try:
            self._show(*news)
            self._silent = False
        except Exception as error:  # whatever it is, the training is not to suffer for a display
            if not self._silent:
                log.warning("the progress of the training is not shown: %s", " ".join(str(error).split()))
            self._silent = True


def progress_text(where: str, values: Mapping[str, float], *, seconds_left: float | None = None) -> str:
    """`step 1,200 of 14,000, loss 2.310 (validation 2.401), 41,000 targets a second, about 12 min left`."""
    parts = [where]
    if "training_loss" in values:
        validation = f" (validation {values['validation_loss']:.3f})" if "validation_loss" in values else ""
        parts.append(f"loss {values['training_loss']:.3f}{validation}")
    if "targets_per_second" in values:
        parts.append(f"{values['targets_per_second']:,.0f} targets a second")
    if seconds_left is not None:
        parts.append(f"about {duration(seconds_left)} left")
    return ", ".join(parts)


class ProgressArtifact:
    """Shows on Prefect's pages: an artifact of the run that is current where it is first called, under `key`."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._id: UUID | None = None
        self._prefect: Any = None

    def __call__(self, percent: float, markdown: str) -> None:
        """Create the artifact, or bring it up to date."""
        if self._id is None:
            made = create_progress_artifact(percent, key=self._key, description=markdown)
            assert isinstance(made, UUID)  # a coroutine in async code only
            self._id = made
            # One client for all updates: making one costs more than an update.
            self._prefect = get_client(sync_client=True)
            return
        self._prefect.update_artifact(self._id, ArtifactUpdate(data=percent, description=markdown))
