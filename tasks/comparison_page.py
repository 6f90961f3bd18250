"""One HTML page of a comparison: the decision, every slice with its interval, and the rows that moved, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from llm.families.base import Family
from llm.markup import Bar, Markup, escaped, page, table
from llm.stages import Stage
from llm.statistics.comparison import Comparison
from llm.statistics.measures import Measure
from llm.statistics.verdict import Verdict
from tasks.gate import Decision
from tasks.moved_rows import MovedRow, moved_rows

PAGE = "comparison.html"
_ROWS = 25
# Units of the drawing's own; it is stretched to its cell.
_WIDTH, _HEIGHT = 200, 16
_MARGIN = 4


def render_comparison(
    family: Family,
    decision: Decision,
    verdict: Verdict,
    *,
    corpus: Stage,
    champion: tuple[int, Stage],
    challenger: tuple[int, Stage],
) -> str:
    """The page on two versions, each with its evaluation on the test split of `corpus`."""
    metric = family.metric
    (old, before), (new, after) = champion, challenger
    lost, gained = moved_rows(family, corpus=corpus, champion=before, challenger=after, count=_ROWS)
    wanted = "higher" if metric.higher_is_better else "lower"
    why = "Why" if decision.promote else "Why not"
    parts = [
        f"<h1>{escaped(family.name)}: version {new} against champion version {old}: {escaped(decision.outcome)}</h1>",
        f"<p class=quiet>{verdict.overall.rows:,} rows of the test split of corpus <code>{corpus.key}</code>; "
        f"{escaped(metric.name)} decides, {wanted} is better</p>",
        f"<h2>{why}</h2>",
        "<ul>" + "".join(f"<li>{escaped(reason)}</li>" for reason in decision.reasons) + "</ul>",
        "<h2>Over all rows, and in parts of them</h2>",
        table(
            ("", "rows#", "champion#", "challenger#", "difference#", "p (worse)#", "worse | better"),
            _figures(metric, verdict),
        ),
        "<p class=quiet>Bars are 95 % intervals of the difference, the stroke is none; p of parts is corrected for "
        "their number (Holm). Parts that refuse the challenger are marked.</p>",
        "<h2>Rows in which the challenger is worse</h2>",
        _side_by_side(lost, version=old),
        "<h2>Rows in which it is better</h2>",
        _side_by_side(gained, version=old),
        "<p class=quiet>Marked: words that the right answer does not have at that place; where there is no right "
        "answer, words that the other version does not have.</p>",
    ]
    return page(f"{family.name}: version {new} against version {old}", parts)


def _figures(metric: Measure, verdict: Verdict) -> Iterator[Sequence[object]]:
    everything = [verdict.overall, *(one.comparison for one in verdict.slices)]
    bounds = [abs(bound) for one in everything for bound in (one.low, one.high, one.difference) if math.isfinite(bound)]
    scale = max(bounds, default=0.0) or 1.0
    yield _row(metric, "all rows", verdict.overall, p=verdict.overall.p_worse, scale=scale)
    for one in verdict.slices:
        name = Markup(f"<mark>{escaped(one.name)}</mark>") if one.blocks else one.name
        yield _row(metric, name, one.comparison, p=one.adjusted_p_worse, scale=scale)


def _row(metric: Measure, name: str, found: Comparison, *, p: float, scale: float) -> Sequence[object]:
    figures = (f"{found.champion:.4g}", f"{found.challenger:.4g}", f"{found.difference:+.3g}", f"{p:.3g}")
    return (name, f"{found.rows:,}", *figures, _interval(metric, found, scale=scale))


def _interval(metric: Measure, found: Comparison, *, scale: float) -> Bar:
    """The interval as a bar and the difference as a dot, better to the right; an open end runs to the edge."""
    sign = 1 if metric.higher_is_better else -1
    low, high = sorted(sign * bound for bound in (found.low, found.high))
    left, right, dot = (_place(value, scale=scale) for value in (low, high, sign * found.difference))
    middle = _HEIGHT / 2
    return Bar(
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' width='100%' height='{_HEIGHT}' preserveAspectRatio='none'>"
        f"<line x1='{_WIDTH / 2}' y1='0' x2='{_WIDTH / 2}' y2='{_HEIGHT}' stroke='#66707c'/>"
        f"<rect x='{left:.1f}' y='{middle - 3}' width='{right - left:.1f}' height='6' fill='#4c78a8' opacity='.6'/>"
        f"<rect x='{dot - 1:.1f}' y='{middle - 6}' width='2' height='12' fill='#1b1f24'/></svg>"
    )


def _place(value: float, *, scale: float) -> float:
    share = max(-1.0, min(1.0, value / scale))
    return _WIDTH / 2 + share * (_WIDTH / 2 - _MARGIN)


def _side_by_side(rows: Sequence[MovedRow], *, version: int) -> str:
    return table(
        ("", "input", "right answer", f"version {version}", "challenger"),
        (
            (
                Markup(f"<span class={'worse' if row.change < 0 else 'better'}>{row.told}</span>"),
                row.text,
                row.right,
                _marked(row.before, than=row.right or row.after),
                _marked(row.after, than=row.right or row.before),
            )
            for row in rows
        ),
    )


def _marked(text: str, *, than: str) -> Markup:
    """`text` with the words marked that `than` does not have at that place."""
    words = text.split()
    parts = []
    for kind, start, end, _, _ in SequenceMatcher(None, words, than.split(), autojunk=False).get_opcodes():
        if start < end:
            piece = escaped(" ".join(words[start:end]))
            parts.append(piece if kind == "equal" else f"<mark>{piece}</mark>")
    return Markup(" ".join(parts))
