"""What `nightshift lineage` prints: from a version back to its data, code, environment and runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from llm.config import parse_config
from llm.errors import ConfigError
from llm.files import canonical_json
from llm.model.config import WEIGHTS_FILE
from llm.recipe import Recipe
from llm.splits import SPLITS
from llm.tokenizer import TOKENIZER_FILE
from tasks.registry.moves import find_reference
from tasks.registry.origins import Origin, origin_of
from tasks.registry.runs import FLOW_RUN_ID, FLOW_RUN_URL, GIT_COMMIT, UNCOMMITTED_CHANGES

# Of very many files, so many are named; --json has them all.
_MOST = 12


def show_lineage(family: str, reference: str, *, as_json: bool) -> str:
    """The text, or all of it as JSON, for a version that is named by its number or an alias.

    Raises RegistryError when there is no such version, or when its origin was not recorded.
    """
    origin = origin_of(find_reference(family, reference))
    return json.dumps(lineage_values(origin), indent=2, ensure_ascii=False) if as_json else tell_lineage(origin)


def lineage_values(origin: Origin) -> dict[str, Any]:
    """Everything that was recorded, as JSON values."""
    version = origin.version
    return {
        "model": version.uri,
        "training_key": version.training_key,
        "files": dict(version.files),
        "metrics": dict(version.metrics),
        "recipe": origin.recipe,
        "stages": origin.stages,
        "environment": origin.environment,
        "tags": {name: value for name, value in origin.tags.items() if name.startswith(("nightshift.", GIT_COMMIT))},
        "mlflow_run": version.run_id,
    }


def tell_lineage(origin: Origin) -> str:
    """What a person asks for, one thing a line; of the options those that are not the defaults."""
    version = origin.version
    known_as = f" ({', '.join(version.aliases)})" if version.aliases else ""
    rows = [*_data(origin), *_model(origin), *_environment(origin), *_runs(origin)]
    width = max(len(name) for name, _ in rows)
    options = _options(origin.recipe)
    lines = [
        f"{version.family} version {version.version}{known_as}",
        *(f"  {name:<{width}}  {value}".rstrip() for name, value in rows),
        "",
        "options other than the defaults:",
        *(f"  {line}" for line in yaml.safe_dump(options, sort_keys=False, allow_unicode=True).splitlines()),
        "",
        f"to build it again: nightshift reproduce {version.family}/{version.version}",
    ]
    return "\n".join(lines)


def _options(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What `--config` takes: options that are not the defaults, and those that say which kind they are of."""
    try:
        options = parse_config(Recipe, recipe, where="recipe").model_dump(mode="json", exclude_defaults=True)
    except ConfigError:  # of a time when the options were others: then all of them
        return dict(recipe)
    for part, kind in (("corpus", "source"), ("model", "assembly")):
        options[part] = {kind: recipe[part][kind]} | options.get(part, {})
    return options


def _data(origin: Origin) -> Iterator[tuple[str, str]]:
    facts = origin.corpus["facts"]
    yield "data", f"corpus {origin.corpus['key']}: {facts['source']}, {canonical_json(facts['origin'])}"
    yield "", ", ".join(f"{split} {facts['splits'][split]['rows']:,} rows" for split in SPLITS)
    for name in (f"{split}.jsonl" for split in SPLITS):
        if name in origin.corpus.get("files", {}):
            yield f"  {name}", _sum(origin.corpus, name)
    sources = [(name, found) for part in origin.sources.values() for name, found in part.items()]
    for name, found in sources[:_MOST]:
        yield "  read from", f"{name}, SHA-256 {found}"
    if len(sources) > _MOST:
        yield "", f"and {len(sources) - _MOST:,} more: --json names them"


def _model(origin: Origin) -> Iterator[tuple[str, str]]:
    tokenizer, version = origin.tokenizer, origin.version
    yield "tokenizer", f"{tokenizer['stage']} {tokenizer['key']}: {tokenizer['facts']['vocabulary']:,} entries"
    if TOKENIZER_FILE in tokenizer.get("files", {}):
        yield f"  {TOKENIZER_FILE}", _sum(tokenizer, TOKENIZER_FILE)
    facts = origin.training["facts"]
    yield "training", f"{version.training_key}: {facts['parameters']:,} parameters, {facts['steps']:,} steps"
    yield "  began with", f"the weights {origin.start} of an earlier version" if origin.start else "nothing"
    yield f"  {WEIGHTS_FILE}", f"SHA-256 {version.files.get(WEIGHTS_FILE, 'not recorded')}"


def _environment(origin: Origin) -> Iterator[tuple[str, str]]:
    found = origin.environment
    if not found:
        yield "environment", "was not recorded"
        return
    yield "environment", f"Python {found['python']}, {found['system']}"
    yield "  processor", f"{found['processor']}; {found['device']}, {found['threads']} threads, {found['products']}"
    yield "  packages", ", ".join(f"{name} {number}" for name, number in found["packages"].items())


def _runs(origin: Origin) -> Iterator[tuple[str, str]]:
    tags, code = origin.tags, origin.environment.get("code", {})
    commit = code.get("commit", tags.get(GIT_COMMIT))
    changed = code.get("uncommitted_changes", tags.get(UNCOMMITTED_CHANGES) == "true")
    yield "code", f"commit {commit}{', with uncommitted changes' if changed else ''}" if commit else "not under git"
    yield "flow run", tags.get(FLOW_RUN_URL) or tags.get(FLOW_RUN_ID) or "none"
    yield "MLflow run", origin.version.run_id


def _sum(manifest: Mapping[str, Any], name: str) -> str:
    return f"SHA-256 {manifest['files'][name]['sha256']}"
