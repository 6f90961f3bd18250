"""One real story on a toy corpus: nights that ask what was answered before end at once, and all others go on."""

from __future__ import annotations

import os
import shutil

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from flows.configuration import NightlyConfig, RetrainConfig, load_config
from flows.nightly import nightly
from flows.retrain import retrain
from llm.errors import GateError
from llm.statistics.verdict import PromotionPolicy, RefreshPolicy
from tasks.gate import GateConfig
from tasks.registry.connection import client
from tasks.registry.versions import champion

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server", "at_home")]

EVERY_STAGE = ["corpus", "tokenizer", "tokens", "baselines", "training", "evaluation"]


@pytest.fixture(scope="module")
def config(toy_recipe) -> RetrainConfig:
    return RetrainConfig.model_validate(toy_recipe.model_dump())


@pytest.fixture(scope="module")
def first(prefect_server, home, config):
    """What the first night gave."""
    return retrain(config)


def names(summary) -> list[str]:
    return [stage["name"] for stage in summary["stages"]]


def mlflow_runs() -> list[tuple[str, str, int]]:
    experiment = client().get_experiment_by_name("classification").experiment_id
    return [(run.info.run_id, run.info.status, run.info.end_time) for run in client().search_runs([experiment])]


def tasks_of(state) -> set[str]:
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as prefect:
        return {run.name.rpartition("-")[0] for run in prefect.read_task_runs(flow_run_filter=wanted)}


@pytest.mark.usefixtures("first")
def test_a_night_on_a_default_corpus_fails_before_it_reads_anything_where_the_champion_has_data_of_its_own(home):
    stages = sorted(path.name for path in (home / "stages" / "corpus").iterdir())
    with pytest.raises(GateError, match=r"was trained on data of yours \(corpus.source local_files\)"):
        retrain(load_config("classification", preset="smoke"))
    assert sorted(path.name for path in (home / "stages" / "corpus").iterdir()) == stages


def test_an_unchanged_corpus_ends_the_night_before_anything_is_made_or_opened(first, config):
    before = mlflow_runs()
    state = retrain(config, return_state=True)
    assert state.is_completed()
    assert state.message.startswith(
        "nothing new: version 1 was made from the same corpus with the same options; it was"
    )
    second = state.result()
    assert (second["decision"], second["version"], names(second)) == ("nothing new", 1, ["corpus"])
    for kept in ("champion", "metrics", "baselines", "mlflow_run_id"):
        assert second[kept] == first[kept]
    assert tasks_of(state) == {"ingest corpus", "look for news", "write report"}
    assert mlflow_runs() == before
    assert len(client().search_model_versions("name = 'classification'")) == 1


def test_a_machine_without_the_stages_makes_none_of_them_again(first, home, config):
    made = {name: home / "stages" / name for name in EVERY_STAGE[1:]}
    for name, folder in made.items():
        folder.rename(home / name)
    try:
        assert retrain(config)["decision"] == "nothing new"
        assert not any(folder.exists() for folder in made.values())
    finally:
        for name, folder in made.items():
            shutil.rmtree(folder, ignore_errors=True)
            (home / name).rename(folder)


def test_the_page_of_such_a_night_is_one_sentence_and_where_to_look(first, config):
    retrain(config)
    with get_client(sync_client=True) as prefect:
        page = prefect.request("GET", "/artifacts/retrain-classification/latest").json()
    assert page["description"] == "classification: nothing new"
    assert page["data"].startswith("# classification: nothing new\n\n- version 1 was made from the same corpus")
    for wanted in ("when_nothing_new: continue", "reused " + first["stages"][0]["key"], "models:/classification/1"):
        assert wanted in page["data"]


def test_a_whole_night_says_so_when_no_family_has_anything_new(first, config):
    state = nightly(NightlyConfig(families=[config]), return_state=True)
    assert state.is_completed()
    assert state.message == "nothing new: classification"
    assert [summary["family"] for summary in state.result()["families"]] == ["classification"]


def test_a_night_removes_what_nothing_has_used_for_long_but_not_what_the_champion_came_from(
    first, home, config, caplog
):
    stages = list(home.glob("stages/*/*/manifest.json"))
    for manifest in stages:
        os.utime(manifest, (0, 0))
    nightly(NightlyConfig(families=[config], keep_days=3650))
    left = {manifest.parts[-3] for manifest in home.glob("stages/*/*/manifest.json")}
    assert {manifest.parts[-3] for manifest in stages} - left == {"baselines", "evaluation"}
    assert "removed 2 stages that nothing has used for 3650 days: 1 baselines, 1 evaluation, " in caplog.text
    again = retrain(config.model_copy(update={"when_nothing_new": "continue"}))
    assert {stage["name"] for stage in again["stages"] if not stage["reused"]} == {"baselines", "evaluation"}


def test_a_night_is_none_the_worse_for_a_lost_reply_to_its_last_state(first, config, monkeypatch):
    send = httpx.Client.send
    lost = []

    def lose_the_reply(self, request, **options):
        reply = send(self, request, **options)
        if request.url.path.endswith("/set_state") and b'"COMPLETED"' in request.content:
            lost.append(reply.json()["status"])
            return send(self, request, **options)
        return reply

    monkeypatch.setattr(httpx.Client, "send", lose_the_reply)
    assert [summary["decision"] for summary in nightly(NightlyConfig(families=[config]))["families"]] == ["nothing new"]
    assert lost == ["ACCEPT", "ACCEPT"]


def test_when_the_champion_was_deposed_by_hand_the_same_version_is_judged_again(first, config):
    client().delete_registered_model_alias("classification", "champion")
    again = retrain(config, return_state=True)
    assert again.message.startswith("promoted: loads in a fresh process")
    assert (names(again.result()), again.result()["version"]) == (EVERY_STAGE, 1)
    assert champion("classification").version == 1
    assert retrain(config)["decision"] == "nothing new"


def test_judging_by_other_options_goes_on_once(first, config):
    other = config.model_copy(update={"gate": config.gate.model_copy(update={"repeat_tolerance": 1e-3})})
    assert names(retrain(other)) == EVERY_STAGE
    assert names(retrain(other)) == ["corpus"]


def test_a_refused_challenger_is_not_trained_and_refused_every_night(first, config):
    training = config.training.model_copy(update={"steps": 1, "warmup": 0, "learning_rate": 1e-9})
    worse = config.model_copy(update={"training": training})
    refused = retrain(worse)
    assert refused["decision"] == "refused"
    again = retrain(worse)
    assert (again["decision"], again["version"]) == ("nothing new", refused["version"])
    assert "same options; it was refused on 20" in again["reasons"][0]
    assert again["reasons"][0].endswith(", and version 1 is champion")
    assert again["champion"] == {"version": 1, "metrics": first["metrics"]}


def test_a_corpus_that_changed_is_learned_once_though_the_model_goes_on_from_the_champion(
    first, config, toy_rows, tmp_path
):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(toy_rows.read_text().splitlines(keepends=True)[:-1]))
    changes = {
        "start": "champion",
        "corpus": config.corpus.model_copy(update={"paths": (str(rows),)}),
        "training": config.training.model_copy(update={"steps": 3, "warmup": 0, "learning_rate": 1e-9}),
        "gate": GateConfig(promotion=PromotionPolicy(refresh=RefreshPolicy(margin=50.0))),
    }
    warm = config.model_copy(update=changes)
    learned = retrain(warm)
    # It has seen newer data and is as good as the champion, follows it, and would then have itself to go on from.
    assert (names(learned), learned["decision"]) == (EVERY_STAGE, "promoted")
    again = retrain(warm)
    assert (names(again), again["decision"], again["version"]) == (["corpus"], "nothing new", learned["version"])
    assert champion("classification").version == learned["version"]
