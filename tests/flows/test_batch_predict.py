"""A batch prediction as a flow on a real Prefect server: its state, its page, and its form."""

from __future__ import annotations

import json

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from toy_registry import register_folder

from flows.batch_predict import BatchPredictConfig, batch_predict
from tasks.registry.versions import promote


@pytest.mark.slow
@pytest.mark.usefixtures("at_home")
def test_a_flow_answers_the_rows_and_shows_counts_and_examples(prefect_server, home, toy_training, tmp_path):
    version = register_folder(toy_training.path / "model", "classification", "k1")
    promote(version, over=None, reasons=("the first",), description="")
    rows = [{"text": text} for text in ["apple pear", "saw | hammer", "<script>", "", "pear " * 500] * 4]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = BatchPredictConfig(
        family="classification", input=str(tmp_path / "in.jsonl"), output=str(tmp_path / "out.csv")
    )
    state = batch_predict(config, return_state=True)
    assert state.message == "12 of 20 rows answered by classification version 1"
    assert state.result() | {"rows_per_second": 1.0} == {
        "family": "classification",
        "version": 1,
        "output": str(tmp_path / "out.csv"),
        "rows": 20,
        "answered": 12,
        "refused": {"empty": 4, "too long": 4},
        "rows_per_second": 1.0,
    }
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 21
    with get_client(sync_client=True) as prefect:
        key = ArtifactFilter(key=ArtifactFilterKey(any_=["batch-predict-classification"]))
        # A request that a busy server did not answer in time is sent again, and may make a second of the same.
        artifact = prefect.read_artifacts(artifact_filter=key)[0]
    page = str(artifact.data)
    assert "| not answered: too long | 4 |" in page
    assert "| saw \\| hammer | tool |" in page
    assert "<script>" not in page


def test_its_form_has_a_text_for_each_field_and_names_the_one_that_is_wrong():
    schema = BatchPredictConfig.model_json_schema()["properties"]
    assert schema["family"]["enum"] == ["generation", "translation", "classification"]
    assert all(field["title"] and field.get("description") for field in schema.values())
    good = {"family": "translation", "input": "a.csv", "output": "b.csv"}
    assert BatchPredictConfig.model_validate(good).version == "champion"
    for wrong, problem in (
        ({"family": "poetry"}, "there is no family 'poetry'"),
        ({"params": {"beams": 1}}, "there is no option 'beams'"),
        ({"rows_per_part": 0}, "greater than or equal to 1"),
    ):
        with pytest.raises(ValueError, match=problem):
            BatchPredictConfig.model_validate(good | wrong)
