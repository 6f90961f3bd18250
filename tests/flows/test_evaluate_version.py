"""An evaluation of a registered version as a flow on a real Prefect server: its state, its page, and its form."""

from __future__ import annotations

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from toy_registry import register_folder

from flows.evaluate_version import EvaluateVersionConfig, evaluate_version
from tasks.registry.aliases import read_aliases
from tasks.registry.connection import client


@pytest.mark.slow
@pytest.mark.usefixtures("at_home")
def test_a_flow_scores_a_version_and_moves_nothing(prefect_server, home, toy_training, toy_rows):
    register_folder(toy_training.path / "model", "classification", "k1")
    corpus = {
        "source": "local_files",
        "format": "jsonl",
        "paths": [str(toy_rows)],
        "columns": {"text": "text", "label": "label"},
    }
    config = EvaluateVersionConfig.model_validate(
        {"family": "classification", "version": "challenger", "corpus": corpus, "threads": 1}
    )
    state = evaluate_version(config, return_state=True)
    result = state.result()
    assert state.message.startswith("classification version 1 on 400 rows of local_files: accuracy ")
    assert (result["version"], result["rows"]) == (1, 400)
    run = client().get_run(result["run_id"])
    assert run.data.metrics["evaluation/accuracy"] == result["metrics"]["accuracy"]
    assert run.data.tags["nightshift.flow_run_id"] == str(state.state_details.flow_run_id)
    assert read_aliases(client(), "classification").versions == {"challenger": 1}
    with get_client(sync_client=True) as prefect:
        key = ArtifactFilter(key=ArtifactFilterKey(any_=["evaluate-classification"]))
        artifact = prefect.read_artifacts(artifact_filter=key)[0]  # of two alike where the first reply was lost
    assert result["run_id"] in str(artifact.data)


def test_its_form_has_a_text_for_each_field():
    schema = EvaluateVersionConfig.model_json_schema()["properties"]
    assert all(field["title"] and field.get("description") for field in schema.values())
    assert EvaluateVersionConfig.model_validate({"family": "translation"}).corpus is None
