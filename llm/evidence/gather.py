"""All that an evaluation shows besides its metrics, as a folder: evidence.json, attention.jsonl and PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.evidence import pictures
from llm.evidence.attention import ATTENTION_FILE, AttentionMap, attention_pictures, attention_table
from llm.evidence.base import Evidence
from llm.files import write_json, write_jsonl
from llm.statistics.intervals import RowSums, interval
from llm.statistics.slices import Slices

if TYPE_CHECKING:
    from llm.families.base import Evaluation, Family, Row

EVIDENCE_FILE = "evidence.json"
_TENTHS = 10
# Fewer than the gate asks for, which judges by them; here the interval says how little they tell.
_FEWEST_ROWS = 10
_PICTURED_ROWS = 50  # with fewer, a tenth is a handful


def write_evidence(
    folder: Path,
    family: Family,
    rows: Sequence[Row],
    evaluation: Evaluation,
    evidence: Evidence,
    attention: Sequence[AttentionMap],
) -> None:
    """Write what the family shows, and what is shown of any: the metric by slice and by length, attention maps."""
    folder.mkdir()
    deciding = evaluation.sums[family.metric.name]
    inputs = [row[family.input_field] for row in rows]
    drawn = dict(evidence.pictures) | attention_pictures(attention, family=family.name)
    write_jsonl(folder / ATTENTION_FILE, (one.facts() for one in attention))
    if len(rows) >= _PICTURED_ROWS:
        drawn["length.png"] = _by_length(deciding, [len(text) for text in inputs], family.metric.name)
    for name, picture in drawn.items():
        (folder / name).write_bytes(picture)
    write_json(
        folder / EVIDENCE_FILE,
        {
            "figures": dict(evidence.figures),
            "tables": [table.facts() for table in (*evidence.tables, attention_table(attention, inputs))],
            "weaknesses": list(evidence.weaknesses),
            "slices": by_slice(deciding, family.slices(rows), higher_is_better=family.metric.higher_is_better),
            "data": dict(evidence.data),
            "pictures": sorted(drawn),
        },
    )


def by_slice(sums: RowSums, slices: Slices, *, higher_is_better: bool) -> list[dict[str, Any]]:
    """The metric within each slice that has enough rows to say something, with its 95 % interval; worst first."""
    found = []
    for name, mask in slices.items():
        if (rows := int(mask.sum())) >= _FEWEST_ROWS:
            part = sums.part(mask)
            low, high = interval(part)
            found.append({"name": name, "rows": rows, "value": part.figure(), "low": low, "high": high})
    return sorted(found, key=lambda one: one["value"], reverse=not higher_is_better)


def _by_length(sums: RowSums, lengths: Sequence[int], metric: str) -> bytes:
    sizes = np.asarray(lengths)
    parts = np.array_split(np.argsort(sizes, kind="stable"), _TENTHS)
    figures = []
    for part in parts:
        inside = sums.part(np.isin(np.arange(len(sizes)), part))
        figures.append((inside.figure(), *interval(inside)))
    return pictures.by_length([max(1.0, float(sizes[part].mean())) for part in parts], figures, metric=metric)
