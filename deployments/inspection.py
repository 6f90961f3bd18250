"""What `nightshift inspect` prints: what a source holds, what would be dropped, and a few samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from deployments.tables import one_line, table
from flows.configuration import merge, nested
from llm.cleaning.config import CleaningConfig
from llm.config import Config, parse_config
from llm.corpora import CorpusConfig
from llm.corpora.guess import guess_options
from llm.home import downloads_folder
from llm.inspection import QUANTILES, Inspection, inspect_corpus
from llm.splits import SPLITS, SplitConfig

_LONGEST = 100
_NAMED = 5


class InspectConfig(Config):
    """The options of a recipe that decide what is read."""

    corpus: CorpusConfig
    cleaning: CleaningConfig = CleaningConfig()
    splits: SplitConfig = SplitConfig()


def inspect_source(source: str, overrides: Mapping[str, Any], *, most: int) -> str:
    """The text for a source, with dotted `overrides` over the options that its name tells.

    Raises ConfigError, CorpusError, DownloadError and ChecksumError.
    """
    given: dict[str, Any] = {}
    for name, value in overrides.items():
        given = merge(given, nested(name, value))
    options = given.get("corpus", {})
    # Whoever says the format says the rest too.
    guessed = {"source": "local_files", "paths": [source]} if "format" in options else guess_options(source)
    values = merge({"corpus": guessed}, given)
    config = parse_config(InspectConfig, values, where=f"options for {source}")
    found = inspect_corpus(config.corpus, config.cleaning, config.splits, most=most, downloads=downloads_folder())
    return "\n".join(_lines(found, values["corpus"]))


def _lines(found: Inspection, options: Mapping[str, Any]) -> Iterator[str]:
    account = found.account
    dropped = {name: count for name, count in account.dropped.items() if count}
    yield "corpus:"
    yield from (f"  {line}" for line in yaml.safe_dump(dict(options), sort_keys=False, allow_unicode=True).splitlines())
    yield ""
    beyond = "" if found.complete else ", and there are more (--most 0 looks at all)"
    yield f"{len(found.files):,} file{'s' * (len(found.files) != 1)}; {account.read:,} records read{beyond}"
    kept = account.kept - found.repeated
    rows = [*dropped.items(), *([("duplicate", found.repeated)] if found.repeated else [])]
    yield table(
        ["", "records", "share"],
        [[name, f"{count:,}", f"{count / account.read:.2%}"] for name, count in [*rows, ("kept", kept)]],
    )
    yield from _contents(found)
    yield from _warnings(found)


def _contents(found: Inspection) -> Iterator[str]:
    if found.lengths:
        yield ""
        heads = ["shortest", *(f"{share:.0%}" for share in QUANTILES[1:-1]), "longest"]
        yield table(
            ["characters", *heads], [[name, *(f"{x:,}" for x in values)] for name, values in found.lengths.items()]
        )
        yield ""
        for name, languages in found.languages.items():
            told = ", ".join(f"{code} {count}" for code, count in languages.most_common(_NAMED))
            yield f"languages of {name}, {languages.total()} drawn: {told}"
        yield "splits: " + ", ".join(f"{split} {found.splits[split]:,}" for split in SPLITS)
    if found.labels:
        told = ", ".join(f"{label} {count:,}" for label, count in found.labels.most_common(_NAMED))
        yield f"{len(found.labels):,} labels: {told}"
    for number, sample in enumerate(found.samples, start=1):
        yield ""
        yield f"sample {number}"
        yield from (f"  {name}: {one_line(value, longest=_LONGEST)}" for name, value in sample.items())


def _warnings(found: Inspection) -> Iterator[str]:
    if found.first:
        yield ""
        yield "dropped, the first of each kind:"
    for step, row in found.first.items():
        text = row["text"] if "text" in row else " | ".join(row["record"].values())
        yield f"  {step}: {row['source']}, {row['position']}: {row['reason']}"
        yield f"    {one_line(text, longest=_LONGEST)}"
