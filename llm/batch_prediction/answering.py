"""From rows to answers: what the model cannot take is refused row by row, with a reason, and stops nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm.config import Config
from llm.corpora.base import Unreadable
from llm.errors import InputError

if TYPE_CHECKING:
    from llm.batch_prediction.sources import Row
    from llm.families.base import Answer
    from llm.predictor import Predictor

ERROR_COLUMN = "error"


@dataclass(frozen=True)
class Outcome:
    """What became of a row: an `answer`, or a `reason` in a word that can be counted and an `error` in a sentence."""

    answer: Answer | None
    reason: str | None = None
    error: str | None = None

    def cells(self, names: Sequence[str], *, prefix: str) -> dict[str, Any]:
        """The new columns; `names` are those of the family's answers."""
        values = self.answer if isinstance(self.answer, Mapping) else {names[0]: self.answer}
        return {**{prefix + name: values.get(name) for name in names}, prefix + ERROR_COLUMN: self.error}


def outcomes(predictor: Predictor, rows: Sequence[Row | Unreadable], *, column: str, params: Config) -> list[Outcome]:
    """One outcome a row, in order; the rows that can be answered are, in batches of like length.

    The same rows give the same outcomes, so a part that is predicted a second time is what it was.
    """
    found: list[Outcome | None] = [None] * len(rows)
    texts: dict[int, str] = {}
    for number, row in enumerate(rows):
        text = _text(row, column)
        if isinstance(text, Outcome):
            found[number] = text
        else:
            texts[number] = text
    for number, refused in zip(list(texts), _refusals(predictor, list(texts.values()), params), strict=True):
        if refused is not None:
            found[number] = refused
            del texts[number]
    for number, answered in zip(texts, _answers(predictor, list(texts.values()), params), strict=True):
        found[number] = answered
    return [outcome for outcome in found if outcome is not None]


def _text(row: Row | Unreadable, column: str) -> str | Outcome:
    if isinstance(row, Unreadable):
        return Outcome(None, "unreadable", f"line or row {row.position} cannot be read: {row.reason}")
    if column not in row:
        return Outcome(None, "no such column", f"there is no column {column!r}; there are {', '.join(map(repr, row))}")
    value = row[column]
    if type(value) is int:  # not a bool, which is a kind of int; as in a corpus
        return str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return Outcome(None, "empty", f"column {column!r} is empty")
    if not isinstance(value, str):
        shown = str(value)[:80]
        kind = type(value).__name__
        return Outcome(None, "not text", f"column {column!r}: {shown!r} is {kind}, neither text nor a whole number")
    return value


def _refusals(predictor: Predictor, texts: list[str], params: Config) -> list[Outcome | None]:
    """Why each text cannot be read as a whole, or leaves no room for its answer; None: it can."""
    try:
        told = predictor.too_long(texts, params)
    except InputError as error:
        if len(texts) == 1:
            return [Outcome(None, "not text", error.problem)]
        return [refusal for text in texts for refusal in _refusals(predictor, [text], params)]
    return [Outcome(None, "too long", one) if one is not None else None for one in told]


def _answers(predictor: Predictor, texts: list[str], params: Config) -> list[Outcome]:
    try:
        return [Outcome(answer) for answer in predictor.family.answer(predictor, texts, params)] if texts else []
    except InputError as error:
        if len(texts) == 1:
            return [Outcome(None, "refused", error.problem)]
    # One of them is what it says; each by itself tells which.
    return [outcome for text in texts for outcome in _answers(predictor, [text], params)]
