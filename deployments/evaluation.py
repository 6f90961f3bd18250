"""What `nightshift evaluate` does: the version, the corpus by the name of a file, the figures, an MLflow run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.processes import terminable
from flows.configuration import merge, nested
from llm.config import Config, parse_config
from llm.corpora import CorpusConfig
from llm.corpora.guess import guess_options
from llm.errors import ConfigError
from llm.processes import cores
from tasks.provenance import git_tags
from tasks.registry.moves import find_reference
from tasks.version_score import log_score, score_version


class _Holder(Config):
    corpus: CorpusConfig


def evaluate_version(family: str, reference: str, *, source: str | None, options: Mapping[str, Any]) -> str:
    """Score a version; returns what to tell.

    Raises RegistryError when there is no such version, CorpusError or ConfigError when the rows cannot be read.
    """
    corpus = None if source is None else _corpus(source, options)
    if corpus is None and options:
        raise ConfigError(f"--set {', '.join(options)}: is an option of a corpus", remedy="name one: --corpus FILE")
    version = find_reference(family, reference)
    with terminable():
        found = score_version(version, corpus, threads=cores())
        run = log_score(found, tags=git_tags())
    before = ", ".join(f"{name} {value:.4g}" for name, value in version.metrics.items()) or "not known"
    return "\n".join([found.title, f"- when it was registered: {before}", f"- MLflow run: {run.url or run.run_id}"])


def _corpus(source: str, overrides: Mapping[str, Any]) -> CorpusConfig:
    """As `nightshift inspect` takes it: dotted options over those that the name of the file tells."""
    given: dict[str, Any] = {}
    for name, value in overrides.items():
        given = merge(given, nested(name, value))
    # Whoever says the format says the rest too.
    named = "format" in given.get("corpus", {})
    guessed = {"source": "local_files", "paths": [source]} if named else guess_options(source)
    return parse_config(_Holder, merge({"corpus": guessed}, given), where=f"options for {source}").corpus
