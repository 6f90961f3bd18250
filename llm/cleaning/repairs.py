"""Repairs: a text comes out as it was meant, and every change is counted by the repair's name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence

from llm.cleaning.config import CleaningConfig
from llm.cleaning.redaction import REDACTIONS

Repair = Callable[[str], str]

# C0 and C1 controls but tab and newline, the byte order mark, and lone surrogates, which UTF-8 cannot write.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
# Of bytes: what is left when these are deleted is no plain text.
_PLAIN = bytes(range(0x20, 0x7F)) + b"\t\n"
# Repairs that find nothing in plain text.
_NOT_FOR_PLAIN = frozenset({"encoding", "control_characters", "unicode_nfc"})
# So many combining marks in a row are no writing: such a text is left as it is.
_MARKS = 20_000
_LONG_RUN = re.compile(rf"[^\w\s\x00-\x7f]{{{_MARKS},}}")
# What UTF-8 looks like when it was read as Windows-1252 or Latin-1: the lead byte of two, three or four, and another
# byte behind it. ftfy takes tens of microseconds for a text, and nearly all texts hold nothing like it.
_MOJIBAKE = re.compile("[\xc2-\xf4][\x80-\xbf\u0152-\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]")


def repairs(config: CleaningConfig) -> dict[str, Repair]:
    """The repairs that `config` asks for, in the order in which they are made.

    Encoding comes first, since mojibake of some letters holds control characters; a control character may stand
    between two that compose, or beside the outer space. What is redacted comes last, and is looked for in whole texts.
    """
    redactions = {f"redact_{name}": redact for name, redact in REDACTIONS.items() if name in config.redact}
    return {
        **({"encoding": _decoded_once} if config.repair_encoding else {}),
        "control_characters": _without_controls,
        "unicode_nfc": _composed,
        "outer_space": str.strip,
        **redactions,
    }


def repair_all(
    values: Sequence[str], chosen: Mapping[str, Repair], *, changed: Mapping[str, set[int]]
) -> Iterator[tuple[int, str]]:
    """Number and new value of each of `values` that repairs change; `changed` takes the numbers by repair."""
    few = {name: repair for name, repair in chosen.items() if name not in _NOT_FOR_PLAIN}
    for number, given in enumerate(values):
        plain = given.isascii() and not given.encode().translate(None, _PLAIN)
        value = given
        for name, repair in (few if plain else chosen).items():
            after = repair(value)
            if after != value:
                changed[name].add(number)
                value = after
        if value is not given:
            yield number, value


def _decoded_once(text: str) -> str:
    if text.isascii() or not _MOJIBAKE.search(text):
        return text
    from ftfy import fix_encoding  # here: nearly no text needs it

    fixed: str = fix_encoding(text)
    return fixed


def _without_controls(text: str) -> str:
    if text.isprintable():
        return text
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _composed(text: str) -> str:
    if text.isascii() or (len(text) > _MARKS and any(map(_is_marks, _LONG_RUN.findall(text)))):
        return text
    return unicodedata.normalize("NFC", text)


def _is_marks(run: str) -> bool:
    # Sorting the marks of one letter takes the square of their number; of a million it would not end.
    return sum(map(bool, map(unicodedata.combining, run))) >= _MARKS
