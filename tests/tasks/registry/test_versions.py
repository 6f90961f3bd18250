from __future__ import annotations

import os
from dataclasses import replace

import pytest
from made_version import MEASURED
from mlflow import MlflowClient

from llm.errors import ChecksumError, RegistryError
from tasks.registry.answers import find_answer, remember_answer
from tasks.registry.connection import client
from tasks.registry.folders import download_model_folder
from tasks.registry.runs import training_run
from tasks.registry.versions import (
    champion,
    find_version,
    leave,
    list_champions,
    promote,
    register,
)


def numbers() -> list[int]:
    return sorted(int(version.version) for version in client().search_model_versions("name = 'translation'"))


def test_a_version_carries_all_that_is_needed_to_judge_it(registered):
    version = registered("k1")
    assert (version.family, version.version, version.training_key) == ("translation", 1, "k1")
    assert version.metrics == {"bleu": 21.5}
    assert version.baselines == {"copy_source": {"bleu": 3.0}}
    assert version.test_split == "c0ffee"
    assert version.aliases == ("challenger",)
    assert not version.is_champion
    run = client().get_run(version.run_id)
    assert run.data.metrics == {"test/bleu": 21.5, "baseline/copy_source/bleu": 3.0}
    assert len(run.outputs.model_outputs) == 1


def test_the_run_holds_both_ends_of_each_interval(registered):
    version = registered("k1", replace(MEASURED, intervals={"bleu": (20.5, 22.75)}))
    points = client().get_run(version.run_id).data.metrics
    assert (points["test/bleu_low"], points["test/bleu"], points["test/bleu_high"]) == (20.5, 21.5, 22.75)


def test_registering_twice_makes_one_version_and_one_logged_model(registered):
    assert registered("k1").version == registered("k1").version == 1
    assert numbers() == [1]
    experiment = client().get_experiment_by_name("translation").experiment_id
    assert len(client().search_logged_models([experiment])) == 1


def test_other_weights_of_the_same_training_are_refused_and_the_version_keeps_its_figures(home, identity, model):
    with training_run(identity("k1")) as run:
        version = register(run, model("k1"), MEASURED, step=100)
    again = model("k1")
    (again.folder / "model.safetensors").write_bytes(b"trained again, and ended elsewhere")
    better = replace(MEASURED, metrics={"bleu": 99.0})
    refusal = pytest.raises(RegistryError, match="translation version 1 came from the same training, k1, and has other")
    with refusal, training_run(identity("k1")) as run:
        register(run, again, better, step=100)
    assert find_version("translation", "k1") == version
    assert numbers() == [1]


def test_a_version_whose_reply_was_lost_is_found_and_not_made_again(registered, monkeypatch):
    create = MlflowClient.create_model_version

    def lose_the_reply(self, *arguments, **options):
        create(self, *arguments, **options)
        raise ConnectionError("the reply was lost")

    monkeypatch.setattr(MlflowClient, "create_model_version", lose_the_reply)
    assert registered("k1").version == 1
    assert numbers() == [1]


def test_when_creation_fails_the_logged_model_is_kept_for_the_next_try(registered, monkeypatch):
    def fail(self, *arguments, **options):
        raise ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_model_version", fail)
        with pytest.raises(RegistryError, match="no version of translation was made: away"):
            registered("k1")
    assert numbers() == []
    assert champion("translation") is None
    assert registered("k1").version == 1
    experiment = client().get_experiment_by_name("translation").experiment_id
    assert len(client().search_logged_models([experiment])) == 1


def test_a_model_that_cannot_be_saved_leaves_nothing_registered(registered, model, monkeypatch):
    folder = model("k1").folder
    (folder / "optimizer.pkl").write_bytes(b"")
    with pytest.raises(RegistryError, match=r"holds optimizer\.pkl, which may be pickles"):
        registered("k1")
    assert client().search_registered_models() == []
    run = client().search_runs([client().get_experiment_by_name("translation").experiment_id])[0]
    assert run.info.status == "FAILED"


def test_a_promoted_challenger_is_champion_and_no_challenger_any_more(registered):
    version = promote(registered("k1"), over=None, reasons=("the first",), description="why")
    assert version.aliases == ("champion",)
    assert version.decision == "promoted"
    assert version.champion_since is not None
    assert champion("translation") == version
    assert list_champions() == [version]
    assert client().get_model_version("translation", "1").description == "why"


def test_a_refused_challenger_stays_with_its_reasons_and_the_champion_too(registered):
    first = promote(registered("k1"), over=None, reasons=(), description="")
    refused = leave(registered("k2"), decision="refused", reasons=("worse: 1 against 2", "slower"), description="")
    assert refused.aliases == ("challenger",)
    assert (refused.decision, refused.reasons) == ("refused", ("worse: 1 against 2", "slower"))
    assert champion("translation") == first


def test_the_champion_that_was_compared_with_must_still_be_champion(registered):
    first = promote(registered("k1"), over=None, reasons=(), description="")
    second = promote(registered("k2"), over=first, reasons=(), description="")
    with pytest.raises(RegistryError, match="became version 2 while version 3 was compared with version 1"):
        promote(registered("k3"), over=first, reasons=(), description="")
    assert champion("translation") == second


def test_registering_the_champion_again_does_not_make_it_challenger(registered):
    promote(registered("k1"), over=None, reasons=(), description="")
    assert registered("k1").aliases == ("champion",)


def test_a_decided_version_is_found_by_its_question_while_the_same_version_is_champion(registered):
    first = promote(registered("k1"), over=None, reasons=(), description="")
    remember_answer(first, "why", champion=1)
    assert find_answer("translation", "why", champion=1) == first
    assert find_answer("translation", "what", champion=1) is None
    assert find_answer("translation", "why", champion=2) is None
    assert find_answer("translation", "why", champion=None) is None


def test_a_first_challenger_that_was_refused_is_found_while_there_is_no_champion(registered):
    refused = leave(registered("k1"), decision="refused", reasons=(), description="")
    remember_answer(refused, "why", champion=None)
    assert find_answer("translation", "why", champion=None) == refused
    assert refused.decided is not None


def test_of_two_versions_that_answer_a_question_the_newer_is_found(registered):
    for key in ("k1", "k2"):
        remember_answer(leave(registered(key), decision="refused", reasons=(), description=""), "why", champion=None)
    assert find_answer("translation", "why", champion=None).version == 2


def test_a_version_that_was_registered_or_deleted_answers_nothing(registered):
    version = registered("k1")
    assert find_answer("translation", "why", champion=None) is None
    remember_answer(leave(version, decision="refused", reasons=(), description=""), "why", champion=None)
    client().delete_model_version("translation", "1")
    assert find_answer("translation", "why", champion=None) is None


def test_a_version_whose_new_decision_was_cut_off_no_longer_answers_the_old_question(registered, monkeypatch):
    version = leave(registered("k1"), decision="refused", reasons=(), description="")
    remember_answer(version, "why", champion=None)

    def die(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", die)
    with pytest.raises(KeyboardInterrupt):
        promote(version, over=None, reasons=(), description="")
    assert find_version("translation", "k1").decision == "promoted"
    assert find_answer("translation", "why", champion=None) is None


def test_a_family_without_versions_has_no_champion(home):
    assert champion("translation") is None
    assert find_answer("translation", "why", champion=None) is None
    assert list_champions() == []
    assert find_version("translation", "k1") is None


def test_a_version_that_somebody_registered_by_hand_is_listed(registered):
    version = registered("k1")
    by_hand = client().create_model_version("translation", client().get_model_version("translation", "1").source)
    client().set_registered_model_alias("translation", "champion", by_hand.version)
    found = list_champions()[0]
    assert (found.version, found.metrics, found.champion_since) == (2, {}, None)
    assert found.training_key.startswith("version-2-")
    assert find_version("translation", "k1") == version


def test_the_model_folder_comes_back_as_it_was_registered(registered, model, tmp_path):
    folder = download_model_folder(registered("k1"), tmp_path / "pulled" / "k1")
    names = sorted(path.name for path in model("k1").folder.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "model.safetensors").read_bytes() == b"k1"
    again = download_model_folder(find_version("translation", "k1"), tmp_path / "pulled" / "again")
    assert (again / "model.safetensors").read_bytes() == b"k1"


def test_a_model_file_that_changed_in_the_registry_is_refused(registered, home, tmp_path):
    version = registered("k1")
    stored = next((home / "mlflow" / "artifacts").rglob("model.safetensors"))
    stored.write_bytes(b"kX")
    with pytest.raises(ChecksumError, match=r"SHA-256 of model\.safetensors"):
        download_model_folder(version, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


def test_no_artifact_is_a_pickle(registered, home):
    registered("k1")
    names = [path.name for path in (home / "mlflow" / "artifacts").rglob("*") if path.is_file()]
    assert "pyfunc_model.py" in names
    assert not [name for name in names if name.endswith(tuple(versions_pickles()))]


def versions_pickles() -> tuple[str, ...]:
    return (".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib")


def test_a_registry_that_cannot_be_reached_is_one_clear_error(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError, match=r"MLflow at http://127\.0\.0\.1:9 failed while looking for the champion"):
        champion("translation")


def test_requests_are_repeated_again_once_the_version_is_made(registered, monkeypatch):
    seen = []
    create = MlflowClient.create_model_version

    def watch(self, *arguments, **options):
        seen.append(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
        return create(self, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "create_model_version", watch)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    registered("k1")
    assert seen == ["0"]
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5"
