"""What a training's MLflow run says from the start: options, data, code and the Prefect flow run."""

from __future__ import annotations

from prefect.runtime import flow_run
from prefect.settings import get_current_settings

from llm.environment import git_state
from llm.files import canonical_json
from llm.recipe import Recipe
from llm.splits import SPLITS
from llm.stages import Stage
from llm.training.stage import training_spec
from llm.training.start import Start
from tasks.registry.runs import (
    FLOW_RUN_ID,
    FLOW_RUN_URL,
    GIT_COMMIT,
    ROOT_FLOW_RUN_ID,
    UNCOMMITTED_CHANGES,
    DatasetRecord,
    TrainingIdentity,
)

# Options of the judging, not of the model: they may change while the training stays the same.
_NOT_PARAMS = {"evaluation"}


def training_identity(
    recipe: Recipe, *, corpus: Stage, tokens: Stage, tokenizer: Stage, start: Start | None
) -> TrainingIdentity:
    """The identity of the training that these stages feed."""
    return TrainingIdentity(
        family=recipe.family,
        training_key=training_spec(recipe, tokens=tokens, tokenizer=tokenizer, start=start).key,
        params=recipe.model_dump(mode="json", exclude=_NOT_PARAMS),
        datasets=datasets(corpus),
        tags=flow_run_tags() | git_tags(),
    )


def datasets(corpus: Stage) -> tuple[DatasetRecord, ...]:
    """The splits of a corpus stage, its key as their digest."""
    facts = corpus.facts
    origin = canonical_json(facts["origin"])
    return tuple(
        DatasetRecord(
            name=f"{facts['source']}/{split}",
            digest=corpus.key,
            source=origin,
            context=split,
            facts={"rows": facts["splits"][split]["rows"]},
        )
        for split in SPLITS
    )


def flow_run_url() -> str | None:
    """The flow run's page; None on the embedded server, whose pages end with the run."""
    if not get_current_settings().api.url:
        return None
    url: str | None = flow_run.ui_url
    return url


def this_flow_run() -> str | None:
    """Who acts, as the ledger names it: this flow run; None where code runs outside of one."""
    return f"flow run {flow_run.id}" if flow_run.id else None


def flow_run_tags() -> dict[str, str]:
    """Ids of this flow run and of the one that everything started with, and the page where there is one."""
    tags = {FLOW_RUN_ID: flow_run.id, ROOT_FLOW_RUN_ID: flow_run.root_flow_run_id, FLOW_RUN_URL: flow_run_url()}
    return {name: str(value) for name, value in tags.items() if value}


def git_tags() -> dict[str, str]:
    """The commit of the code that runs, and whether files differ from it; nothing where the code is not under git."""
    state = git_state()
    if not state:
        return {}
    return {GIT_COMMIT: state["commit"], UNCOMMITTED_CHANGES: str(state["uncommitted_changes"]).lower()}
