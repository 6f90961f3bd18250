"""The job templates for Docker and Kubernetes pools: accepted by Prefect, with what Nightshift needs, and no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.server.schemas.actions import DeploymentCreate, WorkPoolCreate
from prefect.utilities.templating import find_placeholders

import deployments
from deployments.environment import defaults

POOLS = Path(str(deployments.__file__)).parent / "pools"
KINDS = ("docker", "kubernetes")


def template(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((POOLS / f"{kind}.json").read_text(encoding="utf-8"))
    return found


def default_env(kind: str) -> dict[str, str]:
    found: dict[str, str] = template(kind)["variables"]["properties"]["env"]["default"]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_prefect_accepts_the_template_and_its_defaults(kind):
    pool = WorkPoolCreate(name="nights", type=kind, base_job_template=template(kind))
    deployment = DeploymentCreate(name="nightly", flow_id="0" * 32, job_variables={})
    deployment.check_valid_configuration(pool.base_job_template)


@pytest.mark.parametrize("kind", KINDS)
def test_a_deployment_with_a_variable_of_the_wrong_type_is_refused(kind):
    deployment = DeploymentCreate(name="nightly", flow_id="0" * 32, job_variables={"image": 7})
    with pytest.raises(Exception, match="7 is not of type"):
        deployment.check_valid_configuration(template(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_placeholder_is_a_variable_and_every_variable_is_used(kind):
    found = template(kind)
    used = {one.name for one in find_placeholders(json.dumps(found["job_configuration"]))}
    assert used == set(found["variables"]["properties"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_variable_says_what_it_is_and_has_a_default_of_its_own_type(kind):
    for name, field in template(kind)["variables"]["properties"].items():
        assert field["title"], name
        assert field["description"].endswith("."), name
        assert "default" in field, name


@pytest.mark.parametrize("kind", KINDS)
def test_the_home_lies_on_a_volume_that_outlives_the_run(kind):
    text = json.dumps(template(kind)["job_configuration"]) + json.dumps(template(kind)["variables"])
    home = default_env(kind)["NIGHTSHIFT_HOME"]
    assert f"nightshift-home:{home}" in text or f'"mountPath": "{home}"' in text
    assert default_env(kind)["PREFECT_HOME"].startswith(home)


@pytest.mark.parametrize("kind", KINDS)
def test_what_every_run_is_given_here_is_given_there_and_nothing_secret(kind):
    here = defaults(Path("/nightshift"))
    env = default_env(kind)
    assert {name: env[name] for name in env.keys() & here.keys()} == {
        name: here[name] for name in env.keys() & here.keys()
    }
    assert len(env.keys() & here.keys()) >= 5
    assert not [name for name in env if any(word in name for word in ("KEY", "AUTH", "PASSWORD", "SECRET", "WEBHOOK"))]
