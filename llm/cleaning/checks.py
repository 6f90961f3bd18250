"""Checks that look at one record by itself: each tells which of many it would drop, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from llm.cleaning.config import JUDGED_LETTERS, LENGTH_SLACK, CleaningConfig
from llm.cleaning.languages import language_of
from llm.cleaning.quality import QUALITY_CHECKS
from llm.corpora.base import LABEL, Record

Records = Sequence[Record]
# Of each record, the fields that are prose.
Texts = Sequence[tuple[str, ...]]
Found = Iterator[tuple[int, str]]
# (records with the same fields, their texts, options) -> the number of each to be dropped, from 0, and the reason.
Check = Callable[[Records, Texts, CleaningConfig], Found]


def _blank(records: Records, texts: Texts, config: CleaningConfig) -> Found:  # noqa: ARG001
    return ((number, "holds no text") for number, each in enumerate(texts) if not any(each))


def _empty_side(records: Records, texts: Texts, config: CleaningConfig) -> Found:  # noqa: ARG001
    for number, each in enumerate(texts):
        if not all(each):
            empty = [name for name, value in records[number].fields.items() if name != LABEL and not value]
            yield number, f"{' and '.join(empty)} is empty"


def _missing_label(records: Records, texts: Texts, config: CleaningConfig) -> Found:  # noqa: ARG001
    return ((number, "has no label") for number, record in enumerate(records) if record.fields[LABEL] == "")


def _unknown_label(records: Records, texts: Texts, config: CleaningConfig) -> Found:  # noqa: ARG001
    for number, record in enumerate(records):
        if (label := record.fields[LABEL]) not in config.labels:
            yield number, f"the label {label!r} is none of cleaning.labels"


def _misaligned(records: Records, texts: Texts, config: CleaningConfig) -> Found:  # noqa: ARG001
    bound = config.misaligned_ratio
    assert bound is not None
    for number, each in enumerate(texts):
        if (ratio := _ratio(each, slack=0)) > bound:
            yield number, f"one side is {ratio:.1f} times as long as the other, more than {bound}"


def _too_short(records: Records, texts: Texts, config: CleaningConfig) -> Found:  # noqa: ARG001
    bound = config.minimum_characters
    for number, each in enumerate(texts):
        if (shortest := min(map(len, each))) < bound:
            yield number, f"{shortest} characters, fewer than {bound}"


def _too_long(records: Records, texts: Texts, config: CleaningConfig) -> Found:  # noqa: ARG001
    bound = config.maximum_characters
    assert bound is not None
    for number, each in enumerate(texts):
        if (longest := max(map(len, each))) > bound:
            yield number, f"{longest} characters, more than {bound}"


def _length_ratio(records: Records, texts: Texts, config: CleaningConfig) -> Found:  # noqa: ARG001
    bound = config.maximum_length_ratio
    assert bound is not None
    for number, each in enumerate(texts):
        if (ratio := _ratio(each, slack=LENGTH_SLACK)) > bound:
            yield number, f"length ratio {ratio:.1f}, more than {bound}"


def _untranslated(records: Records, texts: Texts, config: CleaningConfig) -> Found:  # noqa: ARG001
    for number, record in enumerate(records):
        if record.fields["source"] == record.fields["target"]:
            yield number, "the target repeats the source"


def _language(records: Records, texts: Texts, config: CleaningConfig) -> Found:  # noqa: ARG001
    for number, record in enumerate(records):
        for field, wanted in config.languages.items():
            text = record.fields.get(field, "")
            if sum(map(str.isalpha, text)) >= JUDGED_LETTERS:
                found, probability = language_of(text)
                if found not in wanted:
                    reason = f"{field} seems to be {found} (probability {probability:.2f}), not {' or '.join(wanted)}"
                    yield number, reason
                    break


def _quality(judge: Callable[[str], str | None]) -> Check:
    def check(records: Records, texts: Texts, config: CleaningConfig) -> Found:  # noqa: ARG001
        for number, each in enumerate(texts):
            if reason := next(filter(None, map(judge, each)), None):
                yield number, reason

    return check


def _ratio(texts: tuple[str, ...], *, slack: int) -> float:
    lengths = [len(text) + slack for text in texts]
    return max(lengths) / min(lengths)


# In this order: those behind `empty_side` may divide by a length.
CHECKS: Mapping[str, Check] = {
    "blank": _blank,
    "empty_side": _empty_side,
    "missing_label": _missing_label,
    "unknown_label": _unknown_label,
    "misaligned": _misaligned,
    "too_short": _too_short,
    "too_long": _too_long,
    "length_ratio": _length_ratio,
    "untranslated": _untranslated,
    "language": _language,
}
# What fails one of these points to a mistake in the source, as what cannot be read does.
BAD: frozenset[str] = frozenset({"empty_side", "missing_label", "unknown_label", "misaligned"})


def active_checks(config: CleaningConfig, fields: Sequence[str]) -> dict[str, Check]:
    """The checks that can fail with these options for records with these `fields`, in their order."""
    labelled, translated = LABEL in fields, {"source", "target"} <= set(fields)
    one_text = len(set(fields) - {LABEL}) == 1
    idle = {
        "empty_side": one_text,
        "missing_label": not labelled,
        "unknown_label": not labelled or not config.labels,
        "misaligned": one_text or config.misaligned_ratio is None,
        "too_short": config.minimum_characters <= 1,  # a text of none is blank, or an empty side
        "too_long": config.maximum_characters is None,
        "length_ratio": one_text or config.maximum_length_ratio is None,
        "untranslated": not translated or not config.drop_untranslated,
        "language": not config.languages,
    }
    return {name: check for name, check in all_checks(config).items() if not idle.get(name)}


def all_checks(config: CleaningConfig) -> dict[str, Check]:
    """All checks by name, those of quality as far as `config` asks for them."""
    return {**CHECKS, **{f"quality_{name}": _quality(QUALITY_CHECKS[name]) for name in config.quality}}
