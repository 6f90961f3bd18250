"""Cleaning: a few named steps, each counted, so that a manifest can say what became of every record."""

from __future__ import annotations

import hashlib
import heapq
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from pydantic import Field, model_validator

from llm.config import Config
from llm.corpora.base import Record, Step, short_hash

# Added to both lengths before their ratio is taken: "On" and "Eingeschaltet" are a good pair.
_LENGTH_SLACK = 10
# C0 and C1 controls but tab and newline, the byte order mark, and lone surrogates, which UTF-8 cannot write.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")


class CleaningConfig(Config):
    """Bounds on what is worth training on; lengths are in characters, and a label never counts as text."""

    minimum_characters: int = Field(1, ge=1, description="shorter texts are dropped")
    maximum_characters: int | None = Field(None, ge=1, description="longer texts are dropped; none: no limit")
    maximum_length_ratio: float | None = Field(
        3.0, ge=1.0, description=f"translation: longer / shorter side, {_LENGTH_SLACK} characters added to each"
    )
    maximum_records: int = Field(0, ge=0, description="most records, drawn by a hash of the text (for trials); 0: all")
    drop_untranslated: bool = Field(True, description="translation: drop pairs whose target repeats the source")

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> CleaningConfig:
        if self.maximum_characters is not None and self.maximum_characters < self.minimum_characters:
            raise ValueError(
                f"maximum_characters ({self.maximum_characters}) must not be below "
                f"minimum_characters ({self.minimum_characters})"
            )
        return self


@dataclass
class CleaningCounts:
    """read = kept + sum of dropped; `repaired` counts records that a repair changed and kept."""

    read: int = 0
    kept: int = 0
    repaired: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)


def clean(
    records: Iterable[Record], config: CleaningConfig, *, steps: Mapping[str, Step], counts: CleaningCounts
) -> Iterator[Record]:
    """Repair the texts of every record, then let through what passes the general steps and `steps`.

    `counts` is filled while the result is read, and is complete when that ends.
    """
    stream = _repaired(records, counts)
    last: Step = partial(_drawn, most=config.maximum_records)
    every = {**_general_steps(config), **steps, "over_maximum": last}
    counts.dropped = dict.fromkeys(every, 0)
    for name, step in every.items():
        stream = _counted(stream, step, name=name, counts=counts)
    for record in stream:
        counts.kept += 1
        yield record


def _without_controls(text: str) -> str:
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


# In this order: a control character may stand between two that compose, or beside the outer space.
REPAIRS: dict[str, Callable[[str], str]] = {
    "control_characters": _without_controls,
    "unicode_nfc": _composed,
    "outer_space": str.strip,
}


def _general_steps(config: CleaningConfig) -> dict[str, Step]:
    longest = config.maximum_characters
    ratio = config.maximum_length_ratio
    return {
        "blank": _those(lambda record: all(record.fields.values())),
        "too_short": _those(lambda record: min(map(len, record.texts)) >= config.minimum_characters),
        "too_long": _those(lambda record: longest is None or max(map(len, record.texts)) <= longest),
        "length_ratio": _those(lambda record: ratio is None or _length_ratio(record) <= ratio),
        "untranslated": _those(lambda record: not (config.drop_untranslated and _is_untranslated(record))),
        "duplicate": _distinct,
    }


def _those(keep: Callable[[Record], bool]) -> Step:
    return lambda records: filter(keep, records)


def _length_ratio(record: Record) -> float:
    lengths = [len(text) + _LENGTH_SLACK for text in record.texts]
    return max(lengths) / min(lengths)


def _is_untranslated(record: Record) -> bool:
    return "target" in record.fields and record.fields["source"] == record.fields["target"]


def _distinct(records: Iterable[Record]) -> Iterator[Record]:
    # 16 bytes a record instead of its text: a corpus need not fit in memory to be deduplicated.
    seen = set()
    for record in records:
        digest = hashlib.blake2b("\0".join(record.fields.values()).encode(), digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            yield record


def _drawn(records: Iterable[Record], *, most: int) -> Iterator[Record]:
    if most == 0:
        yield from records
        return
    # No more than `most` records are in memory; the first is the one with the largest hash.
    drawn: list[tuple[int, int, Record]] = []
    for place, record in enumerate(records):
        entry = (-int(short_hash("\0".join(record.fields.values())), 16), place, record)
        if len(drawn) < most:
            heapq.heappush(drawn, entry)
        else:
            heapq.heappushpop(drawn, entry)
    for _, _, record in sorted(drawn, key=lambda entry: entry[1]):
        yield record


def _repaired(records: Iterable[Record], counts: CleaningCounts) -> Iterator[Record]:
    counts.repaired = dict.fromkeys(REPAIRS, 0)
    for record in records:
        counts.read += 1
        fields = record.fields
        for name, repair in REPAIRS.items():
            after = {key: repair(value) for key, value in fields.items()}
            counts.repaired[name] += after != fields
            fields = after
        yield Record(group=record.group, fields=fields)


def _counted(records: Iterable[Record], step: Step, *, name: str, counts: CleaningCounts) -> Iterator[Record]:
    def entering() -> Iterator[Record]:
        for record in records:
            counts.dropped[name] += 1
            yield record

    for record in step(entering()):
        counts.dropped[name] -= 1
        yield record
