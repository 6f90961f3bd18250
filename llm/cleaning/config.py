"""Options of cleaning: which repairs and checks a record goes through, and how much may be wrong with a source."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from llm.cleaning.quality import QUALITY_CHECKS
from llm.cleaning.redaction import REDACTIONS
from llm.config import Config
from llm.corpora.local_files import LocalFilesConfig
from llm.near_duplicates import THRESHOLD

# Fewer tell too little of a language.
JUDGED_LETTERS = 20
# Added to both lengths before their ratio is taken: "On" and "Eingeschaltet" are a good pair.
LENGTH_SLACK = 10


class CleaningConfig(Config):
    """Bounds on what is worth training on; lengths are in characters, and a label never counts as text."""

    repair_encoding: bool = Field(
        True, description="undo UTF-8 that was once read as another encoding, as in 'GrÃ¼ÃŸe' for 'Grüße'"
    )
    redact: tuple[str, ...] = Field(
        (),
        description="what is replaced by a placeholder such as <EMAIL>",
        json_schema_extra={"items": {"type": "string", "enum": list(REDACTIONS)}},
    )
    languages: dict[str, tuple[str, ...]] = Field(
        {},
        description='by field, codes of its languages, such as {"text": ["en", "de"]}; '
        f"from {JUDGED_LETTERS} letters on",
    )
    quality: tuple[str, ...] = Field(
        (),
        description="checks of whether a text is a document of prose (Gopher, C4); not for short texts",
        json_schema_extra={"items": {"type": "string", "enum": list(QUALITY_CHECKS)}},
    )
    minimum_characters: int = Field(1, ge=1, description="shorter texts are dropped")
    maximum_characters: int | None = Field(None, ge=1, description="longer texts are dropped; none: no limit")
    maximum_length_ratio: float | None = Field(
        3.0, ge=1.0, description=f"translation: longer / shorter side, {LENGTH_SLACK} characters added to each"
    )
    misaligned_ratio: float | None = Field(
        9.0, ge=1.0, description="translation: a side so many times as long as the other is bad: lines do not match"
    )
    drop_untranslated: bool = Field(True, description="translation: drop pairs whose target repeats the source")
    labels: tuple[str, ...] = Field(
        (), description="classification: the labels that there are; empty: whatever is found"
    )
    maximum_bad_share: float = Field(
        0.01, ge=0.0, le=1.0, description="share of what is read that may be unreadable, unlabelled or misaligned"
    )
    maximum_conflicting_share: float = Field(
        0.2, ge=0.0, le=1.0, description="classification: share of records whose text has another label elsewhere"
    )
    keep_out: tuple[LocalFilesConfig, ...] = Field(
        (), description="texts that measure models: records that equal one, or share 13 words in a row, are dropped"
    )
    near_duplicates: float | None = Field(
        None,
        ge=THRESHOLD,
        le=1.0,
        description="of texts that have so great a share of their word pairs in common, one stays: of an edited copy "
        "with 10 % other words it is about 0.65, so 0.5 finds it; none: all stay",
    )
    overlaps: Literal["remove", "keep"] = Field(
        "remove",
        description="training texts that share 13 words in a row with a held-out text, where at most 10 of them do (of "
        "few, one in 20): what more of them hold is a signature or a licence",
    )
    leaks: Literal["remove", "refuse"] = Field(
        "remove",
        description="a training text that is a held-out one, or overlaps one: remove it from training, or refuse the "
        "corpus",
    )
    maximum_records: int = Field(0, ge=0, description="most records, drawn by a hash of the text (for trials); 0: all")

    @field_validator("redact", "quality")
    @classmethod
    def _are_known(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = list(REDACTIONS if info.field_name == "redact" else QUALITY_CHECKS)
        for name in value:
            if name not in known:
                raise ValueError(f"there is no {name!r}; choose from {', '.join(known)}")
        return value

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> CleaningConfig:
        if self.maximum_characters is not None and self.maximum_characters < self.minimum_characters:
            raise ValueError(
                f"maximum_characters ({self.maximum_characters}) must not be below "
                f"minimum_characters ({self.minimum_characters})"
            )
        return self
