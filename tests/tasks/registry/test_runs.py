from __future__ import annotations

from pathlib import Path

import pytest

from llm.errors import RegistryError
from tasks.registry.connection import client
from tasks.registry.runs import experiment_id, flatten, training_run


def runs():
    return client().search_runs([experiment_id(client(), "translation")])


def fail_inside(identity, error):
    with training_run(identity) as run:
        run.open()
        raise error


def test_nothing_is_created_for_a_training_that_writes_nothing(home, identity):
    with training_run(identity("k1")) as run:
        assert run.run_id is None
        assert run.url is None
    assert runs() == []


def test_a_run_holds_params_lineage_of_the_data_and_tags(home, identity):
    with training_run(identity("k1")) as run:
        run.open()
    found = runs()[0]
    assert found.info.status == "FINISHED"
    assert found.data.params == {"training.steps": "100", "corpus.source": "toy"}
    assert found.data.tags["nightshift.training_key"] == "k1"
    assert found.data.tags["nightshift.flow_run_id"] == "flow-of-k1"
    assert [(one.dataset.name, one.dataset.digest) for one in found.inputs.dataset_inputs] == [("toy/train", "c0ffee")]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_a_run_is_closed_as_failed_whatever_went_wrong(home, identity, error):
    with pytest.raises(error):
        fail_inside(identity("k1"), error)
    assert [run.info.status for run in runs()] == ["FAILED"]


def test_a_run_whose_description_fails_is_closed_too(home, identity):
    broken = identity("k1").__class__(**{**identity("k1").__dict__, "tags": {"bad/../name//": "x"}})
    with pytest.raises(RegistryError, match="opening the training's run"), training_run(broken) as run:
        run.open()
    assert [run.info.status for run in runs()] == ["FAILED"]


def test_a_resumed_training_continues_its_run(home, identity):
    with pytest.raises(ZeroDivisionError):
        fail_inside(identity("k1"), ZeroDivisionError)
    first = runs()[0].info.run_id
    with training_run(identity("k1")) as run:
        assert run.run_id == first
        assert run.open() == first
        assert client().get_run(first).info.status == "RUNNING"
    assert [run.info.status for run in runs()] == ["FINISHED"]


def test_another_training_has_another_run(home, identity):
    for key in ("k1", "k2"):
        with training_run(identity(key)) as run:
            run.open()
    assert len(runs()) == 2


def test_options_are_flattened_with_dots():
    assert flatten({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None}) == {"a.b.c": "1", "a.d": "[1, 2]", "e": "None"}


def test_files_are_kept_in_a_folder_and_replaced_when_they_are_logged_again(home, identity, tmp_path):
    page = tmp_path / "page.json"
    page.write_text("{}")
    for picture in (b"old", b"new"):
        with training_run(identity("k1")) as run:
            run.log_files({"a.png": picture, "b.json": page}, folder="evidence")
    folder = Path(client().download_artifacts(run.run_id, "evidence", str(tmp_path)))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a.png": b"new", "b.json": b"{}"}


def test_the_note_links_to_the_prefect_flow_run(home, identity):
    with training_run(identity("k1")) as run:
        run.note("promoted")
    note = client().get_run(run.run_id).data.tags["mlflow.note.content"]
    assert note == "promoted\n\nPrefect flow run: flow-of-k1"
