"""The base of every configuration class, and the one sentence that a validation error becomes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from llm.errors import ConfigError


class Config(BaseModel):
    """Frozen, and a key that does not exist is an error: a misspelt option must never be ignored in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


C = TypeVar("C", bound=Config)


def parse_config(kind: type[C], values: Mapping[str, Any], *, where: str) -> C:
    """Validate `values` as `kind`.

    Raises ConfigError that names the source (`where`), the field, its value and the constraint.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise config_error(error, kind=kind, where=where) from None


def config_error(error: ValidationError, *, kind: type[BaseModel], where: str) -> ConfigError:
    """One ConfigError for all that pydantic found."""
    lines = []
    remedies = []
    for found in error.errors(include_url=False):
        field = ".".join(str(part) for part in found["loc"])
        message = found["msg"].removeprefix("Value error, ")
        if found["type"] == "extra_forbidden":
            lines.append(f"{where}: there is no option {field!r}")
            remedies.append(_suggestion(kind, found["loc"]))
        elif isinstance(found["input"], Mapping | BaseModel):
            # Options that do not fit together: the message names them, and all the others would bury it.
            lines.append(f"{where}: {field}: {message}" if field else f"{where}: {message}")
            remedies.append("make these options fit together")
        else:
            lines.append(f"{where}: {field} = {found['input']!r}: {message}")
            remedies.append(f"correct {field}")
    return ConfigError("\n".join(lines), remedy="; ".join(dict.fromkeys(remedies)))


def _suggestion(kind: type[BaseModel], location: tuple[int | str, ...]) -> str:
    known = _known_fields(kind, location[:-1])
    wrong = str(location[-1])
    close = difflib.get_close_matches(wrong, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"remove {wrong!r}; the options here are {', '.join(known) or 'documented in the README'}"


def _known_fields(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    current: type[BaseModel] = kind
    for part in location:
        field = current.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        current = field.annotation
    return sorted(current.model_fields)
