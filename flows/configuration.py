"""Configurations of the flows: a family's preset, a YAML file over it, single options over both."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from llm.config import Config, parse_config
from llm.errors import ConfigError
from llm.families import FAMILIES, load_family
from llm.recipe import Recipe
from tasks.gate import GateConfig
from tasks.registry.config import RegistryConfig

_MOST_VALUES = 100_000  # of a YAML file
# A mapping with one of these keys is one of several kinds: options of another kind must not be mixed into it.
_KINDS = ("source", "assembly", "kind")


class RetrainConfig(Recipe):
    """Everything that one retraining of one family needs."""

    gate: GateConfig = Field(
        GateConfig(), title="Gate", description="how sure it must be that a challenger is better, or that it is worse"
    )
    registry: RegistryConfig = Field(
        RegistryConfig(), title="Registry", description="how long a night waits for an MLflow that is away"
    )
    when_nothing_new: Literal["end", "continue"] = Field(
        "end",
        description="when a version was decided on the same corpus, options and code, and the champion is the same "
        "too: end, or continue through every stage (those that are there are reused) and decide again",
    )

    @model_validator(mode="after")
    def _baselines_exist(self) -> RetrainConfig:
        # The gate would find out as well, but only when the training is over.
        known = load_family(self.family).baselines
        unknown = [name for name in self.evaluation.must_beat if name not in known]
        if unknown:
            raise ValueError(
                f"evaluation.must_beat names {', '.join(unknown)}; "
                f"the baselines of {self.family} are {', '.join(known) or 'none'}"
            )
        return self

    @model_validator(mode="after")
    def _family_builds_the_model(self) -> RetrainConfig:
        known = sorted({preset.model.assembly for preset in load_family(self.family).presets().values()})
        if self.model.assembly not in known:
            raise ValueError(
                f"model.assembly {self.model.assembly} is not for {self.family}, which has {', '.join(known)}"
            )
        return self

    @property
    def recipe(self) -> Recipe:
        """The part that makes the model; neither how it is judged nor whether it is made at all belongs to it."""
        return Recipe(**{name: getattr(self, name) for name in Recipe.model_fields})


class FamilyConfig(Config):
    """Of what the flows for one family need, the part that they share."""

    family: str = Field(
        title="Family", description="what kind of model it is", json_schema_extra={"enum": list(FAMILIES)}
    )

    @field_validator("family")
    @classmethod
    def _known(cls, family: str) -> str:
        if family not in FAMILIES:
            raise ValueError(f"there is no family {family!r}; the families are {', '.join(FAMILIES)}")
        return family


class ChampionConfig(FamilyConfig):
    """Of what the flows that change a champion need, the part that they share."""

    family: str = Field(
        title="Family", description="whose champion changes", json_schema_extra={"enum": list(FAMILIES)}
    )


class NightlyConfig(Config):
    """Which families a night retrains, in this order."""

    families: list[RetrainConfig] = Field(min_length=1, description="one retraining each")
    finish_by: str | None = Field(
        None,
        title="Finish by",
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        description="local time, as 06:00, in the zone of the schedule: the time up to it is shared out between the "
        "families, and trainings end early if need be; none: each takes what it takes",
    )

    keep_days: int = Field(
        30,
        ge=7,
        le=3650,
        title="Keep what is unused",
        description="days: a corpus, a training (one that was given up, too) or another stage that nothing has used "
        "for so long is removed at the end of the night, but not what the champions and those before them came from; "
        "so are downloads of remote files and local copies of registered models; each is made or fetched again when "
        "something needs it",
    )

    @field_validator("families")
    @classmethod
    def _each_once(cls, families: list[RetrainConfig]) -> list[RetrainConfig]:
        names = [config.family for config in families]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is there twice, and would compete with itself")
        return families


def load_config(
    family: str, *, preset: str, overrides: Mapping[str, Any] | None = None, file: Path | None = None
) -> RetrainConfig:
    """The preset of a family, with the YAML `file` merged over it, then dotted `overrides` (`{"training.steps": 100}`).

    Raises ConfigError that names the source, the option, its value and the constraint.
    """
    values = _preset(family, preset)
    config = parse_config(RetrainConfig, values, where=f"preset {preset} of {family}")
    if file is not None:
        values = merge(values, read_yaml(file))
        if values["family"] != family:
            raise ConfigError(
                f"{file}: family = {values['family']!r}, but {family!r} was asked for",
                remedy=f"remove the line, or run {values['family']}",
            )
        config = parse_config(RetrainConfig, values, where=str(file))
    if overrides:
        for name, value in overrides.items():
            values = merge(values, nested(name, value))
        where = ", ".join(f"{name}={value}" for name, value in overrides.items())
        config = parse_config(RetrainConfig, values, where=f"options {where}")
    return config


def _preset(family: str, preset: str) -> dict[str, Any]:
    presets = load_family(family).presets()
    if preset not in presets:
        raise ConfigError(f"{family} has no preset {preset!r}", remedy=f"use one of {', '.join(presets)}")
    return presets[preset].model_dump(mode="json")


def read_yaml(file: Path) -> dict[str, Any]:
    """The options in a YAML file.

    Raises ConfigError that names the file, and the line where there is one, when it cannot be read.
    """
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error})", remedy="name a YAML file in UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: is not YAML: {' '.join(str(error).split())}", remedy="correct that line") from None
    except RecursionError:
        raise ConfigError(f"{file}: nested deeper than the parser goes", remedy="correct the file") from None
    if values is None:
        return {}
    _require_few(values, file)
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(
            f"{file}: holds no options by name but {type(values).__name__}",
            remedy="write `training:` and below it, indented, `steps: 100`",
        )
    return values


def _require_few(values: Any, file: Path) -> None:
    """Raise ConfigError where aliases of aliases unfold to more values than memory holds, as any message would."""
    waiting, seen = [values], 0
    while waiting:
        value = waiting.pop()
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        seen += 1
        if seen > _MOST_VALUES:
            raise ConfigError(f"{file}: holds more than {_MOST_VALUES:,} values", remedy="write no aliases of aliases")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, mapping by mapping; lists and values are replaced."""
    merged = copy.deepcopy(dict(base))
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping) and not _other_kind(below, value):
            merged[name] = merge(below, value)
        else:
            merged[name] = copy.deepcopy(value)
    return merged


def _other_kind(base: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    return any(kind in over and kind in base and over[kind] != base[kind] for kind in _KINDS)


def nested(name: str, value: Any) -> dict[str, Any]:
    """`training.steps`, 100 -> {"training": {"steps": 100}}.

    Raises ConfigError when a part of the name is empty.
    """
    parts = name.split(".")
    if not all(parts):
        raise ConfigError(f"option {name!r} has an empty part", remedy="write it as training.steps=100")
    nested: Any = value
    for part in reversed(parts):
        nested = {part: nested}
    result: dict[str, Any] = nested
    return result
