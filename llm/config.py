"""The base of every configuration class, and the one sentence that a validation error becomes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import to_jsonable_python

from llm.errors import ConfigError

# Where a class name's words part: LocalFiles, SQLQuery.
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_SAID = "Config"


def _title(kind: type) -> str:
    """`LocalFilesConfig` is "Local files" in a form."""
    first, *others = _WORDS.split(kind.__name__.removesuffix(_NOT_SAID))
    return " ".join([first, *(word.lower() for word in others)])


def _for_forms(schema: dict[str, Any]) -> None:
    """Which kind it is first, then what must be given: a form is drawn in this order, and it is long.

    What tells the kinds of a union apart has one value each: a choice of one, where a form would take any text.
    """
    fields: dict[str, Any] = schema.get("properties", {})
    required = schema.get("required", ())
    for name, field in fields.items():
        if "const" in field:
            field["enum"] = [field["const"]]
            field.setdefault("description", f"says which {name} it is; to change it, choose another one above")
            # Else a server that checks the schema refuses what `only_chosen` drops.
            schema.pop("additionalProperties", None)
    ordered = sorted(fields, key=lambda name: 0 if "const" in fields[name] else 1 if name in required else 2)
    schema["properties"] = {name: fields[name] for name in ordered}


class Config(BaseModel):
    """Frozen, and a key that does not exist is an error: a misspelt option must never be ignored in silence.

    Its JSON schema is what a form is drawn from.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        model_title_generator=_title,
        json_schema_extra=_for_forms,
    )


def only_chosen(tag: str, *kinds: type[Config]) -> BeforeValidator:
    """For a union of `kinds` that the field `tag` tells apart: drops what Prefect's form leaves of other kinds.

    Whoever chooses another kind there sends along the defaults that the first one has of nested options.
    """
    defaults = {kind: _defaults(kind) for kind in kinds}

    def clean(values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        chosen = next((kind for kind in kinds if defaults[kind].get(tag) == values.get(tag)), None)
        return {
            name: value
            for name, value in values.items()
            if chosen is None or name in chosen.model_fields or not _left_behind(name, value, defaults.values())
        }

    return BeforeValidator(clean)


def _left_behind(name: str, value: Any, defaults: Iterable[Mapping[str, Any]]) -> bool:
    return any(name in known and known[name] == value for known in defaults)


def _defaults(kind: type[Config]) -> dict[str, Any]:
    """By name, as a form has them."""
    return {
        name: to_jsonable_python(field.get_default(call_default_factory=True, validated_data={}))
        for name, field in kind.model_fields.items()
        if not field.is_required()
    }


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
