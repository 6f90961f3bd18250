"""What Prefect draws a form from, and what becomes of the values that the form sends."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import is_valid_schema, validate
from pydantic import ValidationError

import deployments
from flows.configuration import RetrainConfig, load_config
from flows.retrain import retrain
from llm.families import FAMILIES, load_family

SCHEMA = RetrainConfig.model_json_schema()
FILE = Path(deployments.__file__).with_name("prefect.yaml")
KINDS = {"source", "assembly", "kind"}
PRESETS = [(name, preset) for name in FAMILIES for preset in load_family(name).presets()]


def deployed_flows() -> list[Flow[..., Any]]:
    deployed = yaml.safe_load(FILE.read_text(encoding="utf-8"))["deployments"]
    entrypoints = sorted({one["entrypoint"].rpartition(".") for one in deployed})
    return [getattr(import_module(module), name) for module, _, name in entrypoints]


def definitions() -> dict[str, dict[str, Any]]:
    return SCHEMA["$defs"] | {"RetrainConfig": SCHEMA}


def kinds_of(option: str) -> list[dict[str, Any]]:
    """The schemas that the form offers for an option, in its order."""
    return [SCHEMA["$defs"][kind["$ref"].rsplit("/")[-1]] for kind in SCHEMA["properties"][option]["oneOf"]]


def test_headings_are_words_and_not_names_of_classes() -> None:
    titles = [one["title"] for one in definitions().values()]
    assert {"Local files", "SQL query", "Encoder decoder", "Training", "Cleaning"} <= set(titles)
    assert [title for title in titles if "Config" in title] == []


def test_every_option_says_what_it_is() -> None:
    silent = [
        f"{name}.{option}"
        for name, one in definitions().items()
        for option, field in one["properties"].items()
        if "description" not in field and "description" not in SCHEMA["$defs"].get(field.get("$ref", "")[8:], {})
    ]
    assert silent == []


def test_what_must_be_given_comes_before_what_may_be() -> None:
    for name, one in definitions().items():
        needed = [option in one.get("required", ()) for option in one["properties"] if option not in KINDS]
        assert needed == sorted(needed, reverse=True), name
    assert list(SCHEMA["properties"])[:4] == ["family", "corpus", "model", "training"]


def test_the_name_of_a_kind_is_a_choice_of_one() -> None:
    for one in kinds_of("corpus") + kinds_of("model"):
        tag = next(field for option, field in one["properties"].items() if option in KINDS)
        assert tag["enum"] == [tag["default"]]


@pytest.mark.parametrize(("family", "preset"), PRESETS)
def test_a_preset_is_valid_and_shown_as_the_kinds_that_it_holds(family: str, preset: str) -> None:
    values = load_config(family, preset=preset).model_dump(mode="json")
    schema = parameter_schema(retrain).model_dump()
    assert validate({"config": values}, schema, raise_on_error=True, preprocess=False) == []
    for option, tag in (("corpus", "source"), ("model", "assembly")):
        # As the form finds out: the first kind that has the most of the options that it is given.
        kinds = kinds_of(option)
        shown = max(kinds, key=lambda kind: len(set(kind["properties"]) & set(values[option])))
        assert shown["properties"][tag]["default"] == values[option][tag]


@pytest.mark.parametrize("flow", deployed_flows(), ids=lambda flow: flow.name)
def test_the_schemas_are_ones_that_the_server_takes(flow: Flow[..., Any]) -> None:
    is_valid_schema(parameter_schema(flow).model_dump())


@pytest.mark.parametrize("flow", deployed_flows(), ids=lambda flow: flow.name)
def test_every_parameter_of_a_deployed_flow_has_a_title_in_words_and_says_what_it_is(flow: Flow[..., Any]) -> None:
    schema = parameter_schema(flow).model_dump()
    assert "config" in schema["properties"]
    for name, parameter in schema["properties"].items():
        # A configuration brings its own.
        told = schema["definitions"][parameter["$ref"].rsplit("/")[-1]] if "$ref" in parameter else parameter
        assert told["title"] != name
        assert told["title"][0].isupper()
        assert told.get("description"), name


@pytest.mark.parametrize("until", ["2099-11-01T06:00:00", "at six"])
def test_a_time_to_end_at_without_a_zone_is_refused_before_the_run_begins(until: str) -> None:
    config = load_config("generation", preset="smoke")
    with pytest.raises(ParameterTypeError, match="until: Input should"):
        retrain.validate_parameters({"config": config, "until": until})
    assert retrain.validate_parameters({"config": config, "until": "2099-11-01T06:00:00Z"})["until"].year == 2099
    assert retrain.validate_parameters({"config": config, "until": None})["until"] is None


def test_what_the_form_leaves_of_another_kind_is_dropped_but_nothing_that_somebody_wrote() -> None:
    values = load_config("generation", preset="smoke").model_dump(mode="json")
    files = {"source": "local_files", "format": "txt", "paths": ["a.txt"]}
    left = values | {"corpus": files | {"archive": values["corpus"]["archive"]}}
    assert validate({"config": left}, parameter_schema(retrain).model_dump(), raise_on_error=True) == []
    assert RetrainConfig.model_validate(left).corpus == RetrainConfig.model_validate(values | {"corpus": files}).corpus
    written = values | {"corpus": files | {"archive": values["corpus"]["archive"] | {"version": "9"}}}
    with pytest.raises(ValidationError, match="archive"):
        RetrainConfig.model_validate(written)
    with pytest.raises(ValidationError, match="colums"):
        RetrainConfig.model_validate(values | {"corpus": files | {"colums": {}}})


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        (("training", "steps"), 0, "steps"),
        (("training", "learning_rate"), 2.0, "learning_rate"),
        (("training", "decay"), "sideways", "decay"),
        (("model", "width"), 7, "width"),
        (("family",), "poetry", "family"),
    ],
)
def test_a_value_that_is_out_of_bounds_is_refused_at_once_and_the_option_is_named(
    option: tuple[str, ...], value: object, told: str
) -> None:
    values = load_config("classification", preset="smoke").model_dump(mode="json")
    part = values if len(option) == 1 else values[option[0]]
    part[option[-1]] = value
    errors = validate({"config": values}, parameter_schema(retrain).model_dump(), raise_on_error=False)
    assert told in " ".join([str(error.path) + str(error.message) for error in errors])
