"""What somebody chose for a deployment outlives the next `nightshift up`, on a real Prefect server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect_serving import prefect_serves

from deployments.parameters import apply_with_parameters, renew_late_nights
from deployments.prefect_api import ask
from deployments.processes import ServerError
from llm.files import read_json

pytestmark = pytest.mark.slow
HOUR = {"finish_by": {"type": "string"}, "keep_days": {"type": "integer"}}
FORM = {"type": "object", "properties": HOUR, "additionalProperties": False}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prefect_serves(tmp_path_factory.mktemp("parameters")) as api:
        yield api


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path))


class Server:
    """Deployments of this test on the server, written as `prefect deploy` writes them."""

    def __init__(self, api: str) -> None:
        self.api = api
        for one in ask(api, "POST", "deployments/filter", {}):
            ask(api, "DELETE", f"deployments/{one['id']}")

    def deploy(self, keep_days: int, *, form: dict[str, Any] = FORM) -> Callable[[], None]:
        def apply() -> None:
            for name in ("nightly", "retrain-translation"):
                flow = ask(self.api, "POST", "flows/", {"name": name})["id"]
                body = {"name": name, "flow_id": flow, "tags": ["nightshift"], "enforce_parameter_schema": True}
                schema = {"type": "object", "properties": {"config": form}}
                values = {"parameter_openapi_schema": schema, "parameters": {"config": {"keep_days": keep_days}}}
                every = {"schedule": {"cron": "30 4 * * *", "timezone": "Etc/UTC"}, "active": True, "slug": "every"}
                ask(self.api, "POST", "deployments/", body | values | {"schedules": [every]})

        return apply

    def up(self, apply: Callable[[], None], *, nights: dict[str, Any] | None = None) -> list[str]:
        said: list[str] = []
        apply_with_parameters(self.api, apply, nights=nights, say=said.append)
        return said

    def up_that_is_ended(self, keep_days: int) -> None:
        """It has written its defaults, and has not put back what was chosen."""

        def ended() -> None:
            self.deploy(keep_days)()
            raise ServerError("ended", remedy="none")

        with pytest.raises(ServerError):
            self.up(ended)

    def choose(self, name: str, **config: Any) -> None:
        """What the page of a deployment does."""
        [one] = self.named(name)
        ask(self.api, "PATCH", f"deployments/{one['id']}", {"parameters": {"config": config}})

    def config(self, name: str) -> Any:
        [one] = self.named(name)
        assert [schedule["slug"] for schedule in one["schedules"]] == ["every"]
        return one["parameters"]["config"]

    def named(self, name: str) -> Any:
        return ask(self.api, "POST", "deployments/filter", {"deployments": {"name": {"any_": [name]}}})


@pytest.fixture
def server(api: str) -> Server:
    return Server(api)


def test_defaults_follow_the_version_until_somebody_chooses(server: Server) -> None:
    assert server.up(server.deploy(30)) == []
    assert server.up(server.deploy(31)) == []
    assert server.config("nightly") == {"keep_days": 31}


def test_what_was_chosen_on_a_page_stays_whatever_the_defaults_become(server: Server, tmp_path: Path) -> None:
    server.up(server.deploy(30))
    server.choose("nightly", finish_by="06:00")
    for days in (30, 31, 31):
        told, undo = server.up(server.deploy(days))
        assert told == "kept     what was chosen for nightly on its page or by an earlier --config"
        assert f"delete {tmp_path / 'deployments.json'}" in undo
        assert server.config("nightly") == {"finish_by": "06:00"}
        assert server.config("retrain-translation") == {"keep_days": days}


def test_what_a_file_says_comes_before_the_page_and_stays_when_the_file_is_not_named_again(server: Server) -> None:
    server.up(server.deploy(30))
    server.choose("nightly", finish_by="06:00")
    nights = {"families": [{"family": "translation", "keep_days": 90}], "finish_by": "05:00"}
    form = {"type": "object"}
    assert server.up(server.deploy(30, form=form), nights=nights) == []
    for again in (False, True):
        assert server.config("nightly") == nights
        assert server.config("retrain-translation") == nights["families"][0]
        if not again:
            told, _ = server.up(server.deploy(30, form=form))
            assert told.startswith("kept     what was chosen for nightly, retrain-translation ")


def test_what_an_up_that_was_stopped_on_its_way_had_not_put_back_is_put_back_by_the_next(server: Server) -> None:
    server.up(server.deploy(30))
    server.choose("nightly", finish_by="06:00")
    server.up_that_is_ended(31)
    assert server.config("nightly") == {"keep_days": 31}
    assert len(server.up(server.deploy(31))) == 2
    assert server.config("nightly") == {"finish_by": "06:00"}
    told, _ = server.up(server.deploy(32))
    assert told.startswith("kept     what was chosen for nightly on")
    assert server.config("retrain-translation") == {"keep_days": 32}


def test_what_does_not_fit_a_new_version_is_told_and_kept_in_a_file(server: Server, tmp_path: Path) -> None:
    server.up(server.deploy(30))
    server.choose("nightly", finish_by="06:00")
    form = {"type": "object", "properties": {"keep_days": HOUR["keep_days"]}, "additionalProperties": False}
    [told] = server.up(server.deploy(30, form=form))
    assert told.startswith("DEFAULTS for nightly: what was chosen does not fit this version")
    assert "finish_by" in told
    assert server.config("nightly") == {"keep_days": 30}
    assert read_json(tmp_path / "nightly.json") == {"config": {"finish_by": "06:00"}}
    assert server.up(server.deploy(30, form=form)) == []


def night_of(server: Server, *, late: bool) -> str:
    """A run of nightly that Prefect planned with what was chosen then."""
    [deployment] = server.named("nightly")
    when = datetime.now(UTC) + timedelta(hours=-1 if late else 1)
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": when.isoformat()}}
    run = ask(server.api, "POST", f"deployments/{deployment['id']}/create_flow_run", {"state": state})
    return str(run["id"])


def test_a_night_that_is_late_already_does_what_the_file_says(server: Server) -> None:
    server.up(server.deploy(30))
    late, later = night_of(server, late=True), night_of(server, late=False)
    nights = {"families": [], "keep_days": 90}
    renew_late_nights(server.api, nights=None)
    assert ask(server.api, "GET", f"flow_runs/{late}")["parameters"] == {"config": {"keep_days": 30}}
    renew_late_nights(server.api, nights=nights)
    found = [ask(server.api, "GET", f"flow_runs/{run}")["parameters"]["config"] for run in (late, later)]
    assert found == [nights, {"keep_days": 30}]


def test_a_night_that_is_late_does_what_was_to_be_put_back_by_an_up_that_was_ended(server: Server) -> None:
    server.up(server.deploy(30))
    server.choose("nightly", finish_by="06:00")
    server.up_that_is_ended(31)
    late = night_of(server, late=True)
    renew_late_nights(server.api, nights=None)
    assert ask(server.api, "GET", f"flow_runs/{late}")["parameters"] == {"config": {"finish_by": "06:00"}}
