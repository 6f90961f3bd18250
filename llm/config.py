"""The base of every configuration class, and the one sentence that a validation error becomes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

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
        raise config_error(error, kind=kind, values=values, where=where) from None


def config_error(
    error: ValidationError, *, kind: type[BaseModel], values: Mapping[str, Any], where: str
) -> ConfigError:
    """One ConfigError for all that pydantic found in `values`."""
    lines = []
    remedies = []
    for found in error.errors(include_url=False):
        field = ".".join(_option(found["loc"], values))
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


def _option(location: tuple[int | str, ...], values: Any) -> list[str]:
    """The option as a user writes it: pydantic puts in which kind of a union it chose, as in corpus.plays.paths."""
    parts = []
    for part in location[:-1]:
        if isinstance(values, Mapping):
            if part not in values and part in list(values.values()):
                continue
            values = values.get(part)
        else:
            values = values[part] if isinstance(values, Sequence) and isinstance(part, int) else None
        parts.append(str(part))
    return [*parts, *(str(part) for part in location[-1:])]


def _known_fields(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    current: Any = kind
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[str(part)].annotation
        else:
            current = _of_kind(current, part)
    return sorted(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _of_kind(union: Any, tag: int | str) -> Any:
    """What a list holds, or the member of a union of configs whose discriminator says `tag`; None: there is none."""
    members = [member for member in get_args(union) if isinstance(member, type) and issubclass(member, BaseModel)]
    if isinstance(tag, int):
        return members[0] if members else None
    return next((one for one in members if tag in [field.default for field in one.model_fields.values()]), None)
