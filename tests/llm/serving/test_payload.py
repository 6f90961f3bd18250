"""The JSON of a request: MLflow's four forms, and one sentence for everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm.errors import InputError
from llm.serving.payload import parse


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ({"inputs": ["a", "b"]}, ["a", "b"]),
        ({"inputs": "a"}, ["a"]),
        ({"instances": ["a"]}, ["a"]),
        ({"dataframe_split": {"columns": ["text"], "data": [["a"], ["b"]]}}, ["a", "b"]),
        ({"dataframe_split": {"data": ["a", "b"], "index": [0, 1]}}, ["a", "b"]),
        ({"dataframe_records": [{"text": "a"}, {"text": "b"}]}, ["a", "b"]),
        ({"inputs": ["<script>alert(1)</script>"]}, ["<script>alert(1)</script>"]),
    ],
)
def test_texts_are_taken_in_every_form_that_mlflow_has(body: dict[str, Any], texts: list[str]) -> None:
    found = parse(json.dumps(body | {"params": {"top_k": 2}}).encode())
    assert found.texts == texts
    assert found.params == {"top_k": 2}
    assert parse(json.dumps(body | {"params": None}).encode()).params == {}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"inputs": [1]}, r"input 0 is 1 \(number\)"),
        ({"inputs": ["a", None]}, r"input 1 is null \(null\)"),
        ({"inputs": [True]}, r"input 0 is true \(boolean\)"),
        ({"inputs": [["a", "b"]]}, r'input 0 is \["a", "b"\] \(array\)'),
        ({"inputs": [{"text": "a"}]}, r"input 0 is .* \(object\)"),
        ({"inputs": []}, "inputs holds no text"),
        ({"inputs": None}, "the input is a JSON null"),
        ({"inputs": {"text": ["a"]}}, "the input is a JSON object"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [["x", "y"]]}}, "dataframe_split has 2 columns"),
        ({"dataframe_split": {"data": [["x", "y"]]}}, "dataframe_split has 2 columns"),
        ({"dataframe_split": {"data": [[]]}}, "dataframe_split has 0 columns"),
        ({"dataframe_split": {"columns": 3, "data": [["x"]]}}, "dataframe_split has 0 columns"),
        ({"dataframe_split": {"columns": ["a"], "rows": []}}, "dataframe_split is not a data frame"),
        ({"dataframe_split": ["a"]}, "dataframe_split is not a data frame"),
        ({"dataframe_split": {"data": [[None]]}}, "input 0 is null"),
        ({"dataframe_records": [{"a": "x", "b": "y"}]}, "dataframe_records has 2 columns"),
        ({"dataframe_records": [{"a": "x"}, {}]}, "input 1 is null"),
        ({"dataframe_records": ["x"]}, "dataframe_records is not a list of records"),
        ({"dataframe_records": []}, "dataframe_records holds no text"),
        ({"inputs": ["a"], "instances": ["b"]}, "holds inputs and instances"),
        ({}, "holds none of them"),
        ({"params": {}}, "holds none of them"),
        ({"inputs": ["a"], "parms": {"top_k": 2}}, "unknown field 'parms'"),
        ({"inputs": ["a"], "params": [1]}, "params is a JSON array"),
        (["a"], "the body is a JSON array"),
        ("a", "the body is a JSON string"),
        (None, "the body is a JSON null"),
    ],
    ids=lambda value: json.dumps(value) if not isinstance(value, str) else "",
)
def test_another_form_is_told(body: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        parse(json.dumps(body).encode())
    assert caught.value.remedy
    assert len(caught.value.sentence) < 300


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not JSON: Expecting value"),
        (b"{", r"not JSON: .*\(line 1, column 2\)"),
        (b'{"inputs": ["\xe9"]}', "not UTF-8 from byte 13 on"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": ["a"], "params": {"top_k": NaN}}', "NaN is no JSON number"),
        (b'{"inputs": ' + b"1" * 5000 + b"}", "not JSON: Exceeds the limit"),
    ],
    ids=["empty", "cut", "latin", "deep", "nan", "huge"],
)
def test_what_is_no_json_is_told_with_the_place(body: bytes, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        parse(body)
