"""A rollback, one that undoes it, and a promotion by hand, as flows on a real Prefect server and a real registry."""

from __future__ import annotations

import pytest
from prefect.client.orchestration import get_client
from toy_registry import register_folder

from flows.configuration import RetrainConfig
from flows.promote import PromoteConfig, promote
from flows.retrain import retrain
from flows.rollback import RollbackConfig, rollback
from llm.errors import ChecksumError, RegistryError
from tasks.registry.aliases import read_aliases
from tasks.registry.connection import client

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server", "at_home")]


@pytest.fixture(scope="module")
def two_versions(prefect_server, home, toy_recipe, toy_training):
    """Version 1 was made champion by a night, version 2 is a challenger."""
    retrain(RetrainConfig.model_validate(toy_recipe.model_dump(mode="json")))
    register_folder(toy_training.path / "model", "classification", "k2")


def aliases():
    return read_aliases(client(), "classification")


def test_moves_by_flow_carry_their_flow_run_and_their_message(two_versions):
    assert aliases().versions == {"champion": 1, "challenger": 2}
    state = promote(PromoteConfig(family="classification", version="challenger", why="to compare"), return_state=True)
    assert state.message == "promoted by hand: version 2 is champion, version 1 was"
    assert state.result()["version"] == 2
    entry = aliases().ledger.entries[-1]
    assert (entry.what, entry.before, entry.after, entry.why) == ("promoted by hand", 1, 2, ("to compare",))
    assert entry.who == f"flow run {state.state_details.flow_run_id}"

    state = rollback(RollbackConfig(family="classification"), return_state=True)
    assert state.message == "rolled back: version 1 is champion, version 2 was"
    assert aliases().versions == {"champion": 1, "previous": 2}


def test_a_promotion_by_the_gate_carries_its_flow_run_too(two_versions):
    entry = aliases().ledger.entries[0]
    assert (entry.what, entry.before, entry.after) == ("promoted", None, 1)
    assert entry.who.startswith("flow run ")
    with get_client(sync_client=True) as prefect:
        assert prefect.read_flow_run(entry.who.removeprefix("flow run ")).name == "retrain classification"
    # There was nothing to compare it with.
    assert (entry.p_value, entry.level) == (None, None)


def test_a_damaged_version_fails_the_flow_and_leaves_the_champion(two_versions, home):
    before = aliases()
    number = 3 - before.champion
    model = client().get_model_version("classification", str(number)).source.rpartition("/")[2]
    weights = next(path for path in (home / "mlflow" / "artifacts").rglob("model.safetensors") if model in path.parts)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    try:
        with pytest.raises(ChecksumError):
            rollback(RollbackConfig(family="classification", to=str(number)))
    finally:
        weights.write_bytes(whole)
    assert aliases() == before


def test_a_version_that_does_not_exist_fails_the_flow(two_versions):
    with pytest.raises(RegistryError, match="classification has no version '9'"):
        rollback(RollbackConfig(family="classification", to="9"))


@pytest.mark.parametrize(
    ("kind", "values"),
    [(RollbackConfig, {}), (PromoteConfig, {"version": "1", "why": "x"})],
    ids=["rollback", "promote"],
)
def test_an_unknown_family_is_refused_by_the_form_and_by_the_flow(kind, values):
    schema = kind.model_json_schema()["properties"]
    assert schema["family"]["enum"] == ["generation", "translation", "classification"]
    assert all(field["title"] and field.get("description") for field in schema.values())
    with pytest.raises(ValueError, match="there is no family 'poetry'"):
        kind.model_validate(
            {"family": "poetry", "version": "1", "why": "x"} if kind is PromoteConfig else {"family": "poetry"}
        )
