"""One page about a corpus that people look at: where records went, how long they are, and what is new since before."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llm.cleaning.account import read_quarantine
from llm.files import read_json
from llm.ingest.shards import QUARANTINE
from llm.markup import bar, escaped, page, table
from llm.splits import SPLITS
from llm.stages import MANIFEST, Stage, open_stage

_EXAMPLES = 3
_SHOWN = 160
# Examples are looked for among so many rows of the quarantine.
_LOOKED_AT = 100_000
# A share of labels or lengths that moved by more than this is set in bold.
_NOTABLE = 0.05


def previous_corpus(stage: Stage) -> Stage | None:
    """The newest corpus before `stage` that was made with the same options: the last night's, of other content."""
    best: tuple[str, Path] | None = None
    for path in stage.path.parent.glob(f"*/{MANIFEST}"):
        manifest = read_json(path)
        finished = manifest["finished"]
        alike = manifest["config"] == stage.manifest["config"] and manifest["key"] != stage.key
        if alike and finished <= stage.manifest["finished"] and (best is None or finished > best[0]):
            best = (finished, path.parent)
    return open_stage(best[1]) if best else None


def render_report(stage: Stage, before: Stage | None) -> str:
    """The page of a corpus stage, with its drift since `before`."""
    facts = stage.facts
    parts = [
        f"<h1>Corpus {escaped(facts['source'])}</h1>",
        f"<p class=quiet>{_mark(stage)}, made {escaped(stage.manifest['finished'])}, "
        f"terms: {escaped(facts['origin'].get('terms', 'not stated'))}</p>",
        "<h2>From what was read to what is kept</h2>",
        table(("step", "records#", "share#", ""), _funnel(facts)),
        "<h2>Repaired and kept</h2>",
        table(("repair", "records#"), [(name, f"{count:,}") for name, count in facts["repaired"].items()]),
        "<h2>Splits</h2>",
        table(("split", "records#", "groups#", "bytes#"), _splits(facts)),
        "<h2>Lengths of records, in bytes</h2>",
        table(("bytes", "records#", ""), _lengths(facts)),
        *_labels(facts),
        "<h2>Languages</h2>",
        f"<p class=quiet>of {facts['languages']['drawn']:,} records that were drawn; short texts are not judged</p>",
        table(("field", "language", "texts#", ""), _languages(facts)),
        "<h2>What was dropped, by example</h2>",
        table(("step", "where", "reason", "text"), _examples(stage)),
        "<h2>Drift since the corpus before</h2>",
        *_drift(facts, before),
    ]
    return page(f"Corpus {facts['source']}", parts)


def is_page_of(path: Path, stage: Stage) -> bool:
    """Whether the file at `path` is the page of this corpus: making it reads all that was dropped."""
    return path.exists() and _mark(stage) in path.read_text(encoding="utf-8")


def _mark(stage: Stage) -> str:
    return f"stage <code>{stage.key}</code>"


def _funnel(facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    read = facts["read"]
    yield "read", f"{read:,}", "", bar(1.0)
    for name, count in facts["dropped"].items():
        if count:
            yield f"dropped: {name}", f"{count:,}", f"{count / read:.2%}", bar(count / read, kind="fill drop")
    yield "kept", f"{facts['kept']:,}", f"{facts['kept'] / read:.2%}", bar(facts["kept"] / read)


def _splits(facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for split in SPLITS:
        size = facts["splits"][split]
        yield split, f"{size['rows']:,}", f"{size['groups']:,}", f"{size['bytes']:,}"


def _all_lengths(facts: Mapping[str, Any]) -> list[int]:
    columns = [facts["splits"][split]["lengths"] for split in SPLITS]
    longest = max(map(len, columns))
    return [sum(column[power] for column in columns if power < len(column)) for power in range(longest)]


def _lengths(facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    counts = _all_lengths(facts)
    for power, count in enumerate(counts):
        low, high = 1 << power, (2 << power) - 1
        yield f"{low:,}" if low == high else f"{low:,} to {high:,}", f"{count:,}", bar(count / max(counts))


def _all_labels(facts: Mapping[str, Any]) -> dict[str, int]:
    labels: dict[str, int] = defaultdict(int)
    for split in SPLITS:
        for label, count in facts["splits"][split].get("labels", {}).items():
            labels[label] += count
    return dict(labels)


def _labels(facts: Mapping[str, Any]) -> Iterator[str]:
    labels = _all_labels(facts)
    if labels:
        most = max(labels.values())
        rows = [(label, f"{count:,}", bar(count / most)) for label, count in labels.items()]
        yield "<h2>Labels</h2>"
        yield table(("label", "records#", ""), rows)


def _languages(facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for field, counts in facts["languages"]["fields"].items():
        for language, share in sorted(_shares(counts).items(), key=lambda found: (-found[1], found[0])):
            yield field, language, f"{counts[language]:,}", bar(share)


def _examples(stage: Stage) -> Iterator[tuple[str, ...]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number, row in enumerate(read_quarantine(stage.path / QUARANTINE)):
        if number == _LOOKED_AT:
            break
        if len(found[row["step"]]) < _EXAMPLES:
            found[row["step"]].append(row)
    for step, rows in found.items():
        for row in rows:
            text = row["text"] if "text" in row else json.dumps(row["record"], ensure_ascii=False)
            yield step, f"{row['source']}, {row['position']}", row["reason"], text[:_SHOWN]


def _drift(facts: Mapping[str, Any], before: Stage | None) -> Iterator[str]:
    if before is None:
        yield "<p>There is no earlier corpus with these options.</p>"
        return
    old = before.facts
    yield f"<p class=quiet>before: <code>{before.key}</code>, made {escaped(before.manifest['finished'])}</p>"
    rows = [
        ("records read", f"{old['read']:,}", f"{facts['read']:,}", f"{facts['read'] - old['read']:+,}"),
        ("records kept", f"{old['kept']:,}", f"{facts['kept']:,}", f"{facts['kept'] - old['kept']:+,}"),
        *_moved("lengths", _shares_of_list(_all_lengths(old)), _shares_of_list(_all_lengths(facts))),
        *_moved("label", _shares(_all_labels(old)), _shares(_all_labels(facts))),
        *_moved("language", _shares_of_languages(old), _shares_of_languages(facts)),
    ]
    yield table(("", "before#", "now#", "change#"), rows)


def _moved(kind: str, old: Mapping[str, float], new: Mapping[str, float]) -> Iterator[tuple[str, ...]]:
    """The shares that moved notably, and how far the whole moved (total variation distance)."""
    names = dict.fromkeys((*old, *new))
    changes = {name: new.get(name, 0.0) - old.get(name, 0.0) for name in names}
    if names:
        yield f"{kind}: distance of all shares", "", "", f"{sum(map(abs, changes.values())) / 2:.1%}"
    for name, change in changes.items():
        if abs(change) > _NOTABLE:
            yield f"{kind} {name}", f"{old.get(name, 0.0):.1%}", f"{new.get(name, 0.0):.1%}", f"{change:+.1%}"


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}


def _shares_of_languages(facts: Mapping[str, Any]) -> dict[str, float]:
    fields = facts["languages"]["fields"]
    return {
        f"{language} of {field}": share
        for field, counts in fields.items()
        for language, share in _shares(counts).items()
    }


def _shares_of_list(counts: Sequence[int]) -> dict[str, float]:
    return _shares({f"from {1 << power:,} bytes": count for power, count in enumerate(counts)})
