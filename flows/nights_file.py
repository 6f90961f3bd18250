"""What the nights do, out of a YAML file: families with a preset and options each, and when to be done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.configuration import NightlyConfig, RetrainConfig, load_config, read_yaml
from llm.config import parse_config
from llm.corpora.addresses import WITH_SECRETS, scheme_of
from llm.errors import ConfigError, NightshiftError

STANDARD = "standard"
# What an entry under `families` may say besides the options of a retraining.
_PRESET, _FILE = "preset", "config"
# Options that hold paths, by what tells their kind.
_PATHS = {("source", "local_files"): ("paths", "target_paths"), ("kind", "folder"): ("path",)}
_REMEDY = "write `families:` and below it `- family: translation`"


def load_nights(file: Path) -> NightlyConfig:
    """The configuration of `nightly` that a YAML file describes, with every path of this machine absolute.

    Nights run in other folders than the one that this is called in, which relative paths start from, as they do in
    `nightshift run`.

    Each entry of its list `families` names a `family`, and may name a `preset` (`standard` by default), a YAML file
    with options (`config`, beside this file where the path is relative), and options themselves; what comes later in
    this order is laid over what comes before. All other keys are those of NightlyConfig.

    Raises ConfigError that names the file, the entry, the option, its value and the constraint.
    """
    values = read_yaml(file)
    entries = values.get("families")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{file}: families is no list of entries with options", remedy=_REMEDY)
    families = []
    for number, entry in enumerate(entries, start=1):
        where = f"{file}: entry {number} of families"
        families.append(_absolute(_shareable(_entry(entry, where=where, folder=file.parent), where=where)))
    return parse_config(NightlyConfig, values | {"families": families} | _hour(values), where=str(file))


def _entry(entry: Mapping[str, Any], *, where: str, folder: Path) -> RetrainConfig:
    options = {name: value for name, value in entry.items() if name not in ("family", _PRESET, _FILE)}
    given = {name: entry.get(name) for name in ("family", _PRESET, _FILE)}
    wrong = [name for name, value in given.items() if value is not None and not isinstance(value, str)]
    if wrong or not given["family"]:
        name = wrong[0] if wrong else "family"
        raise ConfigError(f"{where}: {name} = {given[name]!r}, but must be a name", remedy=_REMEDY)
    try:
        return load_config(
            str(given["family"]),
            preset=given[_PRESET] or STANDARD,
            overrides=options,
            file=folder / given[_FILE] if given[_FILE] else None,
        )
    except NightshiftError as error:
        raise ConfigError(f"{where}: {error.problem}", remedy=error.remedy) from None


def _shareable(config: RetrainConfig, *, where: str) -> dict[str, Any]:
    """As JSON values. Raises ConfigError where an address holds what may be a secret."""
    told: dict[str, Any] = config.model_dump(mode="json")
    if told != config.model_dump(mode="json", context=WITH_SECRETS):
        raise ConfigError(
            f"{where}: an address in paths holds a login, a query (?...) or a fragment (#...), which may be a secret",
            remedy="the Prefect server would keep and show it: name an address without, as of an object store, whose "
            "credentials stand in the environment, or fetch the file to this machine",
        )
    return told


def _absolute(values: Any) -> Any:
    if isinstance(values, list):
        return [_absolute(value) for value in values]
    if not isinstance(values, dict):
        return values
    found = {name: _absolute(value) for name, value in values.items()}
    for (tag, kind), options in _PATHS.items():
        if found.get(tag) == kind:
            found |= {name: _anchored(found[name]) for name in options}
    if found.get("source") == "hub_dataset" and Path(found["name"]).is_dir():  # else its name at the hub
        found["name"] = _anchored(found["name"])
    return found


def _anchored(value: Any) -> Any:
    if isinstance(value, list):
        return [_anchored(one) for one in value]
    here = isinstance(value, str) and not scheme_of(value) and not value.startswith("~")
    return str(Path.cwd() / value) if here else value


def _hour(values: Mapping[str, Any]) -> dict[str, str]:
    """YAML takes 22:30 without quotes for a number of minutes; 06:00 it leaves alone."""
    minutes = values.get("finish_by")
    if isinstance(minutes, bool) or not isinstance(minutes, int):
        return {}
    return {"finish_by": f"{minutes // 60:02}:{minutes % 60:02}"}
