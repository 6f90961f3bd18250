"""The JSON of a request, as MLflow's scoring server takes it, to texts and parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from llm.errors import InputError

_FORM = 'send {"inputs": [text, ...], "params": {name: value}}'


@dataclass(frozen=True)
class Payload:
    """What a client asks for; the parameters are not yet checked."""

    texts: list[str]
    params: Mapping[str, Any]


def parse(body: bytes) -> Payload:
    """Texts out of "inputs", "instances", "dataframe_split" or "dataframe_records", and "params".

    Raises InputError for what is not JSON, has another form, or holds something other than texts.
    """
    values = _load(body)
    if not isinstance(values, dict):
        raise InputError(f"the body is a JSON {_kind(values)}, not an object", remedy=_FORM)
    unknown = sorted(set(values) - {*_FORMATS, "params"})
    if unknown:
        raise InputError(f"unknown field {unknown[0]!r:.80} in the body", remedy=_FORM)
    formats = [name for name in _FORMATS if name in values]
    if len(formats) != 1:
        found = " and ".join(formats) or "none of them"
        raise InputError(f"the body must hold one of {', '.join(_FORMATS)}, and holds {found}", remedy=_FORM)
    params = values.get("params")
    if params is not None and not isinstance(params, dict):
        raise InputError(f"params is a JSON {_kind(params)}, not an object", remedy=_FORM)
    texts = _FORMATS[formats[0]](values[formats[0]])
    if not texts:
        raise InputError(f"{formats[0]} holds no text", remedy="send at least one")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"input {number} is {json.dumps(text):.80} ({_kind(text)}), but the model takes texts",
                remedy="send a list of strings",
            )
    return Payload(texts, params or {})


def _load(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        problem = f"the body is not UTF-8 from byte {error.start} on"
    except json.JSONDecodeError as error:
        problem = f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
    except RecursionError:
        problem = "the body's JSON is nested too deeply"
    except ValueError as error:
        problem = f"the body is not JSON: {error}"
    raise InputError(problem, remedy=_FORM)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _inputs(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise InputError(f"the input is a JSON {_kind(value)}, but the model takes texts", remedy=_FORM)
    return value


def _split(value: Any) -> list[Any]:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list) or value.keys() - _SPLIT:
        raise InputError(
            "dataframe_split is not a data frame", remedy='send {"columns": [name], "data": [[text], ...]}'
        )
    columns = value.get("columns")
    if columns is not None and (not isinstance(columns, list) or len(columns) != 1):
        raise _columns("dataframe_split", len(columns) if isinstance(columns, list) else 0)
    texts = []
    for row in value["data"]:
        if isinstance(row, list) and len(row) != 1:
            raise _columns("dataframe_split", len(row))
        texts.append(row[0] if isinstance(row, list) else row)
    return texts


def _records(value: Any) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(record, dict) for record in value):
        raise InputError("dataframe_records is not a list of records", remedy="send [{name: text}, ...]")
    names = {name for record in value for name in record}
    if value and len(names) != 1:
        raise _columns("dataframe_records", len(names))
    return [record.get(name) for record in value for name in names]


def _columns(where: str, count: int) -> InputError:
    return InputError(
        f"{where} has {count} columns, but the model takes one text a row",
        remedy="send the column that holds the texts",
    )


_SPLIT = {"columns", "data", "index"}
_FORMATS: dict[str, Callable[[Any], list[Any]]] = {
    "inputs": _inputs,
    "instances": _inputs,
    "dataframe_split": _split,
    "dataframe_records": _records,
}


def _kind(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
