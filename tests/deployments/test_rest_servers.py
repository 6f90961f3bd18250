"""The model over REST, by our server and by `mlflow models serve`: each family answers, and bad input is told."""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gigabyte import assert_a_gigabyte_is_refused_while_it_comes
from mlflow_serving import mlflow_serves
from rest_cases import CASES, JSON, OUT_OF_BOUNDS, SCRIPT, Case

from llm.families import FAMILIES
from llm.predictor import Predictor
from tasks.registry.logged_model import ModelToLog, save_model

LONGEST_S = 180.0
GREEDY = {"temperature": 0.0, "num_beams": 1, "max_new_tokens": 6}


@dataclass(frozen=True)
class Server:
    """Where a family's model answers, and the model itself."""

    port: int
    predictor: Predictor

    def post(self, data: bytes, content_type: str | None = JSON) -> tuple[int, str, str]:
        """Status, content type and body of the reply."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONGEST_S)
        try:
            headers = {"Content-Type": content_type} if content_type else {}
            connection.request("POST", "/invocations", data, headers)
            reply = connection.getresponse()
            return reply.status, reply.getheader("content-type") or "", reply.read().decode()
        finally:
            connection.close()

    def ask(self, body: dict[str, Any]) -> Any:
        status, _, text = self.post(json.dumps(body).encode())
        assert status == 200, text
        return json.loads(text)["predictions"]

    @property
    def params(self) -> dict[str, Any]:
        """What makes the model's answers short and certain."""
        known = self.predictor.family.params.model_fields
        return {name: value for name, value in GREEDY.items() if name in known}


@pytest.fixture(scope="module", params=list(FAMILIES))
def ours(request: pytest.FixtureRequest, served: Callable[..., int], model_folder: Callable[[str], Path]) -> Server:
    predictor = Predictor.load(model_folder(request.param), device="cpu")
    return Server(served(predictor), predictor)


@pytest.fixture(scope="module", params=list(FAMILIES))
def mlflows(
    request: pytest.FixtureRequest, model_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """`mlflow models serve` of the model as it is registered."""
    folder = tmp_path_factory.mktemp(request.param)
    predictor = Predictor.load(model_folder(request.param), device="cpu")
    params = predictor.family.params().model_dump(mode="json")
    answers = predictor.predict(["apple"])
    save_model(
        folder / "saved", ModelToLog(model_folder(request.param), request.param, "k", ["apple"], answers, params)
    )
    environment = dict(os.environ) | {"MLFLOW_TRACKING_URI": "sqlite://"}
    with mlflow_serves(str(folder / "saved"), sys.executable, environment, folder=folder) as port:
        yield Server(port, predictor)


def assert_answers(server: Server) -> None:
    texts = ["apple pear", "saw", SCRIPT]
    expected = server.predictor.predict(texts, **server.params)
    forms: list[dict[str, Any]] = [
        {"inputs": texts},
        {"instances": texts},
        {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]}},
        {"dataframe_records": [{"text": text} for text in texts]},
    ]
    for form in forms:
        assert same(server.ask(form | {"params": server.params}), expected)
    assert same(server.ask({"inputs": texts[0], "params": server.params}), expected[:1])
    assert len(server.ask({"inputs": ["apple"]})) == 1  # with the defaults of the parameters


def same(found: list[Any], expected: list[Any]) -> bool:
    """Texts to the letter; scores up to the rounding of a batch."""
    if not isinstance(expected[0], dict):
        return found == expected
    labels = [answer["label"] for answer in found] == [answer["label"] for answer in expected]
    return labels and [one["score"] for one in found] == pytest.approx([one["score"] for one in expected], abs=1e-4)


def refused(server: Server, data: bytes, says: str, content_type: str | None = JSON) -> None:
    status, kind, text = server.post(data, content_type)
    assert 400 <= status < 500, text
    assert "Traceback" not in text
    assert 'File "' not in text
    assert len(text) < 1500
    assert not kind.startswith("text/html")
    said = json.loads(text)["message"] if kind == JSON else text
    assert says in said
    assert len(server.ask({"inputs": ["apple"], "params": server.params})) == 1


def test_our_server_answers_every_form_with_the_parameters_of_the_family(ours):
    assert_answers(ours)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_our_server_refuses_bad_input_in_a_sentence_and_lives_on(ours: Server, case: Case):
    refused(ours, case.data, case.says, case.content_type)


def test_our_server_names_the_parameter_that_is_out_of_bounds(ours):
    params = OUT_OF_BOUNDS[ours.predictor.family.name]
    [(name, value)] = params.items()
    refused(ours, json.dumps({"inputs": ["apple"], "params": params}).encode(), f"{name} = {value}: ")


@pytest.mark.slow
def test_mlflows_server_answers_every_form_with_the_parameters_of_the_family(mlflows):
    assert_answers(mlflows)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_mlflows_server_refuses_bad_input_without_a_traceback_and_lives_on(mlflows: Server, case: Case):
    refused(mlflows, case.data, case.mlflow_says or case.says, case.content_type)


@pytest.mark.slow
def test_mlflows_server_refuses_a_gigabyte_while_it_comes_and_lives_on(mlflows: Server):
    assert_a_gigabyte_is_refused_while_it_comes(mlflows.port)
    assert len(mlflows.ask({"inputs": ["apple"], "params": mlflows.params})) == 1


@pytest.mark.slow
def test_mlflows_server_names_the_parameter_that_is_out_of_bounds(mlflows):
    params = OUT_OF_BOUNDS[mlflows.predictor.family.name]
    [(name, value)] = params.items()
    refused(mlflows, json.dumps({"inputs": ["apple"], "params": params}).encode(), f"{name} = {value}: ")
