"""Checks that look at one record by itself: each gives the reason to drop it, or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llm.cleaning.config import JUDGED_LETTERS, LENGTH_SLACK, CleaningConfig
from llm.cleaning.languages import language_of
from llm.cleaning.quality import QUALITY_CHECKS
from llm.corpora.base import LABEL, Record

# (record, its texts, options) -> the reason to drop the record, or None.
Check = Callable[[Record, list[str], CleaningConfig], str | None]


def _blank(record: Record, texts: list[str], config: CleaningConfig) -> str | None:  # noqa: ARG001
    return None if any(texts) else "holds no text"


def _empty_side(record: Record, texts: list[str], config: CleaningConfig) -> str | None:  # noqa: ARG001
    if all(texts):
        return None
    empty = [name for name, value in record.fields.items() if name != LABEL and not value]
    return f"{' and '.join(empty)} is empty"


def _missing_label(record: Record, texts: list[str], config: CleaningConfig) -> str | None:  # noqa: ARG001
    return "has no label" if record.fields.get(LABEL) == "" else None


def _unknown_label(record: Record, texts: list[str], config: CleaningConfig) -> str | None:  # noqa: ARG001
    if not config.labels or LABEL not in record.fields or record.fields[LABEL] in config.labels:
        return None
    return f"the label {record.fields[LABEL]!r} is none of cleaning.labels"


def _misaligned(record: Record, texts: list[str], config: CleaningConfig) -> str | None:  # noqa: ARG001
    bound = config.misaligned_ratio
    if bound is None or len(texts) == 1:
        return None
    ratio = _ratio(texts, slack=0)
    return f"one side is {ratio:.1f} times as long as the other, more than {bound}" if ratio > bound else None


def _too_short(record: Record, texts: list[str], config: CleaningConfig) -> str | None:  # noqa: ARG001
    shortest, bound = min(map(len, texts)), config.minimum_characters
    return f"{shortest} characters, fewer than {bound}" if shortest < bound else None


def _too_long(record: Record, texts: list[str], config: CleaningConfig) -> str | None:  # noqa: ARG001
    longest, bound = max(map(len, texts)), config.maximum_characters
    return f"{longest} characters, more than {bound}" if bound is not None and longest > bound else None


def _length_ratio(record: Record, texts: list[str], config: CleaningConfig) -> str | None:  # noqa: ARG001
    bound = config.maximum_length_ratio
    if bound is None or len(texts) == 1:
        return None
    ratio = _ratio(texts, slack=LENGTH_SLACK)
    return f"length ratio {ratio:.1f}, more than {bound}" if ratio > bound else None


def _untranslated(record: Record, texts: list[str], config: CleaningConfig) -> str | None:
    if len(texts) == 1 or not config.drop_untranslated or "target" not in record.fields:
        return None
    return "the target repeats the source" if record.fields["source"] == record.fields["target"] else None


def _language(record: Record, texts: list[str], config: CleaningConfig) -> str | None:  # noqa: ARG001
    for field, wanted in config.languages.items():
        text = record.fields.get(field, "")
        if sum(map(str.isalpha, text)) >= JUDGED_LETTERS:
            found, probability = language_of(text)
            if found not in wanted:
                return f"{field} seems to be {found} (probability {probability:.2f}), not {' or '.join(wanted)}"
    return None


def _quality(check: Callable[[str], str | None]) -> Check:
    def judge(record: Record, texts: list[str], config: CleaningConfig) -> str | None:  # noqa: ARG001
        return next(filter(None, map(check, texts)), None)

    return judge


def _ratio(texts: list[str], *, slack: int) -> float:
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


def active_checks(config: CleaningConfig) -> dict[str, Check]:
    """The checks that can fail with these options, in their order."""
    idle = {
        "unknown_label": not config.labels,
        "misaligned": config.misaligned_ratio is None,
        "too_short": config.minimum_characters <= 1,  # a text of none is blank, or an empty side
        "too_long": config.maximum_characters is None,
        "length_ratio": config.maximum_length_ratio is None,
        "untranslated": not config.drop_untranslated,
        "language": not config.languages,
    }
    quality = {f"quality_{name}": _quality(QUALITY_CHECKS[name]) for name in config.quality}
    return {name: check for name, check in CHECKS.items() if not idle.get(name)} | quality
