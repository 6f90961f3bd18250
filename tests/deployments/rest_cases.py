"""Requests that a server of a model must refuse, and what the refusal must name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

LONG = "word " * 3000
SCRIPT = "<script>alert(1)</script>"
JSON = "application/json"

# A parameter of each family, out of its bounds.
OUT_OF_BOUNDS: dict[str, dict[str, Any]] = {
    "generation": {"top_p": 2.0},
    "translation": {"num_beams": 0},
    "classification": {"top_k": 0},
}


@dataclass(frozen=True)
class Case:
    """A body and what its refusal says: by our server, and by MLflow's (None: the same)."""

    name: str
    body: Any
    says: str
    mlflow_says: str | None = None
    content_type: str | None = JSON

    @property
    def data(self) -> bytes:
        """The body as it is sent."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def table(columns: list[str], row: list[str]) -> dict[str, Any]:
    return {"dataframe_split": {"columns": columns, "data": [row]}}


CASES = (
    Case("number", {"inputs": [1]}, "input 0 is 1"),
    Case("null", {"inputs": ["apple", None]}, "input 1 is null", "input 1 is None"),
    Case("nested list", {"inputs": [["apple", "saw"]]}, "input 0 is ["),
    Case("object", {"inputs": [{"text": "apple"}]}, "input 0 is {"),
    Case("null for all", {"inputs": None}, "the input is a JSON null", "NoneType"),
    Case("number for all", {"inputs": 3}, "the input is a JSON number", "the input is 3"),
    Case("two columns", table(["a", "b"], ["apple", "saw"]), "2 columns"),
    Case("empty list", {"inputs": []}, "inputs holds no text", "missing inputs"),
    Case("empty text", {"inputs": ["apple", ""]}, "text 1 is empty"),
    Case("blank text", {"inputs": [" \n"]}, "text 0 is empty"),
    Case("long text", {"inputs": ["apple", LONG]}, "tokens, and the model takes "),
    Case("many texts", {"inputs": ["apple"] * 5000}, "5000 texts in one call, and the model takes 4096"),
    Case("unknown parameter", {"inputs": ["apple"], "params": {"temperatur": 1}}, "'temperatur'"),
    Case("script as a parameter", {"inputs": ["apple"], "params": {SCRIPT: 1}}, SCRIPT),
    Case(
        "parameters as a list", {"inputs": ["apple"], "params": [1]}, "params is a JSON array", "must be a dictionary"
    ),
    Case("lone surrogate", b'{"inputs": ["\\ud800"]}', "lone surrogate", "surrogates not allowed"),
    Case("two forms", {"inputs": ["apple"], "instances": ["saw"]}, "holds inputs and instances", "exactly one of"),
    Case("no form", {}, "holds none of them", "exactly one of"),
    Case("no object", ["apple"], "the body is a JSON array", "Received a list"),
    Case("no JSON", b"{", "the body is not JSON", "valid JSON"),
    Case("no UTF-8", b'{"inputs": ["\xe9"]}', "not UTF-8", "UnicodeDecodeError"),
    Case("too deep", b"[" * 100_000, "nested too deeply"),
    Case("no content type", {"inputs": ["apple"]}, "there is no Content-Type", content_type=None),
    Case("a page's content type", b"inputs=apple", "Content-Type is 'text/html'", "text/html", "text/html"),
)
