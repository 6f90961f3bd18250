"""One real story on a toy corpus: a first champion, a second run, a refused challenger, failures."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry, Running

from flows.configuration import NightlyConfig, RetrainConfig
from flows.nightly import nightly
from flows.retrain import retrain
from llm.errors import ConfigError, CorpusError, NightshiftError
from llm.files import sha256_of
from llm.stages import open_stage
from llm.training.stage import training_spec
from tasks.registry.connection import client
from tasks.registry.versions import champion, find_version

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server", "at_home")]


def config_of(recipe, **changes) -> RetrainConfig:
    values = recipe.model_dump(mode="json")
    for name, change in changes.items():
        values[name] |= change
    return RetrainConfig.model_validate(values)


@pytest.fixture(scope="module")
def first(prefect_server, home, toy_recipe):
    """What the first run gave; it has a tag, as those of `nightshift run` have."""
    with tags("of-the-run"):
        return retrain(config_of(toy_recipe))


def mlflow_run(summary):
    return client().get_run(summary["mlflow_run_id"])


def artifact(key: str) -> dict[str, Any]:
    """The newest of this key."""
    wanted = ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=[key]))
    with get_client(sync_client=True) as prefect:
        return prefect.request(
            "POST", "/artifacts/latest/filter", json={"artifacts": wanted.model_dump(mode="json")}
        ).json()[0]


def test_the_first_challenger_becomes_champion(first):
    assert (first["family"], first["decision"], first["version"]) == ("classification", "promoted", 1)
    assert first["champion"] == {"version": 1, "metrics": first["metrics"]}
    assert set(first["metrics"]) == {"accuracy", "macro_f1"}
    assert set(first["baselines"]) == {"naive_bayes"}
    assert [stage["name"] for stage in first["stages"]] == [
        "corpus",
        "tokenizer",
        "tokens",
        "baselines",
        "training",
        "evaluation",
    ]
    assert not any(stage["reused"] for stage in first["stages"])
    assert json.loads(json.dumps(first)) == first


def test_its_tasks_have_no_tags_for_each_of_which_prefect_would_ask_about_a_limit(first):
    with get_client(sync_client=True) as prefect:
        [run] = prefect.request(
            "POST", "/flow_runs/filter", json={"flow_runs": {"tags": {"all_": ["of-the-run"]}}}
        ).json()
        body = {"task_runs": {"flow_run_id": {"any_": [run["id"]]}}}
        tasks = prefect.request("POST", "/task_runs/filter", json=body).json()
    assert len(tasks) >= 10
    assert {task["name"]: task["tags"] for task in tasks if task["tags"]} == {}


def test_the_mlflow_run_holds_the_whole_training(first, home):
    run = mlflow_run(first)
    assert run.info.status == "FINISHED"
    assert run.data.params["training.steps"] == "40"
    assert {"training_loss", "validation_loss", "test/accuracy", "baseline/naive_bayes/accuracy"} <= set(
        run.data.metrics
    )
    assert len(client().get_metric_history(run.info.run_id, "training_loss")) == 40
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {
        "local_files/train",
        "local_files/validation",
        "local_files/test",
    }
    assert run.data.tags["nightshift.flow_run_id"]
    assert "promoted:" in run.data.tags["mlflow.note.content"]
    assert not list(home.rglob("*.pkl"))


def test_the_run_holds_what_the_training_took_of_the_machine(first):
    metrics = mlflow_run(first).data.metrics
    assert metrics["system/process_memory_megabytes"] > 50
    assert metrics["system/process_cpu_seconds"] > 0


def test_the_page_of_the_training_shows_how_far_it_came(first):
    shown = artifact("progress-classification")
    assert (shown["type"], shown["data"]) == ("progress", 100.0)
    assert shown["description"].startswith("done after 40 of 40 steps, loss ")
    assert shown["task_run_id"]


def test_the_run_holds_intervals_and_the_evidence_with_its_pictures(first, tmp_path):
    metrics = mlflow_run(first).data.metrics
    assert metrics["test/accuracy_low"] <= metrics["test/accuracy"] <= metrics["test/accuracy_high"]
    folder = Path(client().download_artifacts(first["mlflow_run_id"], "evidence", str(tmp_path)))
    names = {path.name for path in folder.iterdir()}
    pictures = {"attention_self.png", "reliability.png", "confusion.png", "length.png", "loss.png"}
    assert {"evidence.json", "attention.jsonl", *pictures} == names


def test_the_card_is_the_description_of_the_registered_version(first):
    card = client().get_model_version("classification", "1").description
    assert card.startswith("# classification, version 1: promoted\n")
    assert "## Where it is weak" in card


def test_the_lineage_reaches_from_the_evaluation_to_the_corpus(first, tmp_path):
    path = client().download_artifacts(first["mlflow_run_id"], "lineage.json", str(tmp_path))
    with open(path) as file:
        names = [name.split("/")[0] for name in json.load(file)]
    assert names[0] == "evaluation"
    assert sorted(names) == ["corpus", "evaluation", "shard", "tokenizer", "tokens", "training"]


def test_the_report_tells_the_story(first):
    text = artifact("retrain-classification")["data"]
    for wanted in (
        "# classification: version 1 promoted",
        "naive_bayes",
        "400 records read, 400 kept",
        "▁",
        "## Evidence",
        "### Calibration",
        "95 % bootstrap intervals",
        first["mlflow_run_id"],
        "models:/classification/1",
    ):
        assert wanted in text


def test_a_second_run_reuses_every_stage_and_registers_nothing(first, toy_recipe):
    before = mlflow_run(first).info
    second = retrain(config_of(toy_recipe).model_copy(update={"when_nothing_new": "continue"}))
    assert [stage["name"] for stage in second["stages"]] == [stage["name"] for stage in first["stages"]]
    assert all(stage["reused"] for stage in second["stages"])
    assert second["decision"] == "nothing new"
    assert second["reasons"][0].startswith("version 1 was made from the same corpus with the same options; it was prom")
    assert (second["version"], second["champion"]) == (1, first["champion"])
    assert len(client().search_model_versions("name = 'classification'")) == 1
    after = mlflow_run(second).info
    assert (after.run_id, after.end_time, after.status) == (before.run_id, before.end_time, "FINISHED")


def test_a_worse_challenger_is_refused_with_reasons_and_the_champion_stays(first, toy_recipe):
    worse = retrain(config_of(toy_recipe, training={"steps": 1, "warmup": 0, "learning_rate": 1e-9}))
    assert worse["decision"] == "refused"
    assert any("against champion version 1: The challenger is worse: accuracy" in reason for reason in worse["reasons"])
    assert worse["champion"]["version"] == 1
    assert worse["before"] == {"version": 1, "metrics": first["metrics"]}
    version = find_version("classification", worse["stages"][4]["key"])
    assert version.aliases == ("challenger",)
    assert list(version.reasons) == worse["reasons"]
    assert champion("classification").version == 1
    assert mlflow_run(worse).info.status == "FINISHED"


def test_an_error_closes_the_mlflow_run_as_failed_and_leaves_the_champion(first, home, toy_recipe):
    config = config_of(toy_recipe, training={"steps": 2, "warmup": 0})
    tokenizer, tokens = (
        open_stage(home / "stages" / first["stages"][i]["name"] / first["stages"][i]["key"]) for i in (1, 2)
    )
    key = training_spec(config.recipe, tokens=tokens, tokenizer=tokenizer).key
    # The training finds a file where its folder should be.
    (home / "stages" / "training" / f".partial-{key}").touch()
    with pytest.raises(NotADirectoryError):
        retrain(config)
    experiment = client().get_experiment_by_name("classification").experiment_id
    newest = client().search_runs([experiment], order_by=["attributes.start_time DESC"])[0]
    assert (newest.info.status, newest.data.tags["nightshift.training_key"]) == ("FAILED", key)
    assert find_version("classification", key) is None
    assert champion("classification").version == 1


def test_a_time_to_end_at_that_is_over_is_refused_but_not_where_the_run_began_in_time(toy_recipe):
    values = toy_recipe.model_dump(mode="json")
    values["corpus"] |= {"paths": ["/nowhere/at/all.jsonl"]}  # what comes next fails
    config = RetrainConfig.model_validate(values)
    with get_client(sync_client=True) as prefect:
        run_id = prefect.create_flow_run(retrain).id
        prefect.set_flow_run_state(run_id, Running())
        until = prefect.read_flow_run(run_id).start_time + timedelta(microseconds=1)
        prefect.set_flow_run_state(run_id, AwaitingRetry(), force=True)
        with pytest.raises(CorpusError, match="/nowhere"):
            run_flow(retrain, flow_run=prefect.read_flow_run(run_id), parameters={"config": config, "until": until})
    with pytest.raises(ConfigError, match=r"until = .*: must be later than the start of the run, 20"):
        retrain(config, until)


def test_one_family_s_failure_does_not_stop_the_others_and_is_named_at_the_end(first, toy_recipe):
    missing = {"source": "local_files", "format": "txt", "paths": ["/nowhere/at/all.txt"]}
    broken = {
        "family": "generation",
        "corpus": missing,
        "tokenizer": {"vocabulary": 300},
        "model": {
            "assembly": "decoder",
            "width": 16,
            "heads": 2,
            "kv_heads": 2,
            "feed_forward": 32,
            "max_positions": 64,
            "layers": 1,
        },
        "training": toy_recipe.training.model_dump(mode="json"),
    }
    config = NightlyConfig(families=[RetrainConfig.model_validate(broken), config_of(toy_recipe)])
    with pytest.raises(NightshiftError) as caught:
        nightly(config)
    assert "1 of the families failed (finished: classification)" in caught.value.problem
    assert "generation: " in caught.value.problem
    assert "/nowhere/at/all.txt" in caught.value.problem
    night = artifact("night")
    assert night["description"] == "failed: generation; nothing new: classification"
    assert "| classification | nothing new | accuracy " in night["data"]
    assert "| generation | failed: " in night["data"]


def test_a_night_may_go_on_from_the_champion_that_the_registry_holds(first, home, toy_recipe):
    values = config_of(toy_recipe, training={"steps": 3, "warmup": 0, "learning_rate": 1e-9}).model_dump()
    warm = retrain(RetrainConfig.model_validate(values | {"start": "champion"}))
    training = open_stage(home / "stages" / "training" / warm["stages"][4]["key"])
    champion_weights = home / "champions" / "classification" / first["stages"][4]["key"] / "model.safetensors"
    assert training.manifest["inputs"]["start"] == sha256_of(champion_weights)[:16]
    # Three steps that hardly move: it is as good as the champion, which is no reason to follow it.
    assert warm["metrics"] == first["metrics"]
    assert warm["decision"] == "not promoted"


def test_a_run_that_was_killed_just_after_its_promotion_is_finished_by_the_next(first, toy_recipe):
    client().set_terminated(first["mlflow_run_id"], status="FAILED")
    again = retrain(config_of(toy_recipe).model_copy(update={"when_nothing_new": "continue"}))
    assert (again["decision"], again["version"]) == ("nothing new", 1)
    assert mlflow_run(first).info.status == "FINISHED"
