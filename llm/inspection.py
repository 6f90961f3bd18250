"""A look into a source before anything is made of it: what would be read, dropped and kept, and what it looks like."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from llm.cleaning.account import Account, Row
from llm.cleaning.config import CleaningConfig
from llm.cleaning.languages import language_of
from llm.cleaning.pipeline import clean
from llm.corpora import CORPORA, CorpusConfig
from llm.corpora.base import LABEL, Record, Unreadable
from llm.pieces import Piece
from llm.splits import SplitConfig, split_of

# Records that are drawn, each with the same chance; their languages are looked at, and the first are shown.
_DRAWN, _SAMPLES, _SEED = 200, 3, 1
# Shares of the records that are not longer than the lengths that are told.
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


@dataclass
class Inspection:
    """What a look has found. `complete` is false when the source goes on behind what was read."""

    account: Account
    first: dict[str, Row]  # the first row of the quarantine of each step
    complete: bool = True
    files: list[str] = field(default_factory=list)
    lengths: dict[str, list[int]] = field(default_factory=dict)  # characters of each field at QUANTILES
    labels: Counter[str] = field(default_factory=Counter)
    languages: dict[str, Counter[str]] = field(default_factory=dict)  # of each field, in what was drawn
    splits: Counter[str] = field(default_factory=Counter)
    repeated: int = 0  # records that are the same as an earlier one
    samples: list[dict[str, str]] = field(default_factory=list)


def inspect_corpus(
    config: CorpusConfig, cleaning: CleaningConfig, splits: SplitConfig, *, most: int, downloads: Path
) -> Inspection:
    """Read up to `most` records (0: all) and clean them; nothing is written.

    Raises what reading the source raises: CorpusError, DownloadError, ChecksumError.
    """
    corpus = CORPORA[config.source]
    first: dict[str, Row] = {}
    found = Inspection(Account(lambda row: first.setdefault(row["step"], row)), first)
    found.files = list(corpus.parts(config, pieces=_uncut))
    items = _limited(corpus.records(config, downloads=downloads), most, found)
    kept = clean(items, cleaning, steps=corpus.steps(config), account=found.account)
    _gather(chain.from_iterable(kept), splits, found)
    return found


def _uncut(path: Path, cut: re.Pattern[bytes]) -> tuple[Piece, ...]:  # noqa: ARG001
    """No pieces: a look needs the names of files alone."""
    return ()


def _limited(items: Iterator[Record | Unreadable], most: int, found: Inspection) -> Iterator[Record | Unreadable]:
    if most == 0:
        yield from items
        return
    yield from islice(items, most)
    found.complete = next(items, None) is None


def _gather(records: Iterator[Record], splits: SplitConfig, found: Inspection) -> None:
    draw = random.Random(_SEED)  # noqa: S311 - for a look, not for a secret
    seen: set[int] = set()
    lengths: dict[str, list[int]] = {}
    drawn: list[Record] = []
    for number, record in enumerate(records):
        identity = hash(tuple(record.fields.items()))
        found.repeated += identity in seen
        seen.add(identity)
        for name, value in record.fields.items():
            if name != LABEL:
                lengths.setdefault(name, []).append(len(value))
        if LABEL in record.fields:
            found.labels[record.fields[LABEL]] += 1
        found.splits[split_of(record.group or "", splits)] += 1
        # Reservoir sampling (Vitter 1985, algorithm R).
        place = number if number < _DRAWN else draw.randrange(number + 1)
        if place < _DRAWN:
            drawn[place : place + 1] = [record]
    found.lengths = {name: _quantiles(values) for name, values in lengths.items()}
    found.samples = [dict(record.fields) for record in drawn[:_SAMPLES]]
    found.languages = {name: Counter(language_of(record.fields[name])[0] for record in drawn) for name in found.lengths}


def _quantiles(values: Sequence[int]) -> list[int]:
    ordered = sorted(values)
    return [ordered[round(share * (len(ordered) - 1))] for share in QUANTILES]
