"""What `nightshift run` does: configurations first, so that a mistake costs no wait, then the flow, then a summary."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployments.leftovers import tag
from deployments.processes import terminable
from deployments.servers import embedded_prefect
from deployments.telling import tell
from flows.configuration import NightlyConfig, load_config
from llm.errors import RegistryError
from llm.families import FAMILIES
from llm.progress import waiting

_LONGEST_S = 10  # one request to an MLflow that may be away

log = logging.getLogger(__name__)


def run_families(names: Sequence[str], *, preset: str, overrides: Mapping[str, Any], file: Path | None) -> None:
    """Retrain the families in this order and print what came out.

    Raises NightshiftError when a configuration is wrong or a family fails.
    """
    started = time.monotonic()
    configs = [load_config(name, preset=preset, overrides=overrides, file=file) for name in names]
    with terminable(), embedded_prefect() as wait_for_prefect:
        with waiting("starting Prefect"):
            # Imported here, while the server starts: the flows import Prefect and MLflow, which takes seconds that a
            # wrong option should not cost, and Prefect reads its server's address when it is imported.
            from prefect import tags

            from flows.nightly import nightly
            from flows.retrain import retrain

            wait_for_prefect()
            _close_abandoned_runs()
        # So that whoever starts next can tell the runs of a process that was killed.
        with tags(tag()):
            one = len(configs) == 1
            summaries = [retrain(configs[0])] if one else nightly(NightlyConfig(families=configs))["families"]
    _print(summaries, started=started)


def _close_abandoned_runs() -> None:
    """Those of a command that was killed, whose flow runs were ended just now."""
    from tasks.registry.abandoned import close_abandoned_runs
    from tasks.registry.patience import impatient

    try:
        with impatient(timeout_s=_LONGEST_S):
            close_abandoned_runs(FAMILIES)
    except RegistryError as error:
        # The flows wait for an MLflow that is away; this is done again by whoever comes next.
        log.warning("%s", error.problem)


def _print(summaries: Sequence[Mapping[str, Any]], *, started: float) -> None:
    from deployments.champions import load_champion
    from deployments.summary import how_to_pull, samples_of, show_run
    from tasks.outcome import NOTHING_NEW

    pulled = []
    for summary in summaries:
        samples = []
        # A family whose first challenger was refused has no champion; one without news has said it all before.
        if summary["champion"] is not None and summary["decision"] != NOTHING_NEW:
            with waiting(f"asking the champion of {summary['family']}"):
                champion = load_champion(summary["family"])
                samples = samples_of(champion, summary)
            pulled.append((champion, samples[0].text))
        tell(f"\n{show_run(summary, samples)}")
    if pulled:
        tell(f"\n{how_to_pull(pulled)}")
    tell(f"\nDone in {time.monotonic() - started:.0f} s. Champions: nightshift models. Web pages: nightshift up.")
