"""Rows of a corpus for each family, made here: sentences that differ by their number."""

from __future__ import annotations

_WORDS = ["house", "river", "stone", "cloud", "bridge", "garden", "window", "morning"]


def sentence(number: int) -> str:
    """Four words, of which the last is the number."""
    return " ".join(_WORDS[(number * step + step) % len(_WORDS)] for step in (1, 3, 5)) + f" {number}"


def row(family: str, number: int) -> dict[str, str]:
    """Long texts to continue; translations into capitals; labels by whether the number is even."""
    rows = {
        "generation": {"text": "\n".join([sentence(number)] * 20)},
        "translation": {"source": sentence(number), "target": sentence(number).upper()},
        "classification": {"text": sentence(number), "label": "even" if number % 2 else "odd"},
    }
    return rows[family]
