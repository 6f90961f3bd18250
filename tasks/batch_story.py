"""What a batch prediction did, in lines for a terminal and as the page that its flow run shows."""

from __future__ import annotations

from collections.abc import Iterator

from llm.batch_prediction.job import Report
from tasks.markdown import cell, plain, table


def counts(report: Report) -> Iterator[tuple[str, str]]:
    """What was counted, in words, and the figures."""
    yield "rows read", f"{report.rows:,}"
    if report.reused:
        yield "of these answered by a run that was cut off", f"{report.reused:,}"
    yield "answered", f"{report.answered:,}"
    for reason, count in sorted(report.refused.items()):
        yield f"not answered: {reason}", f"{count:,}"
    yield "rows a second", f"{report.rows_per_second:,.1f}"


def title(report: Report) -> str:
    """`1,000 of 1,003 rows answered by translation version 3`."""
    model = f"{report.model.family} version {report.model.version}"
    return f"{report.answered:,} of {report.rows:,} rows answered by {model}"


def text(report: Report) -> str:
    """For a terminal."""
    lines = [f"- {name}: {figure}" for name, figure in counts(report)]
    return "\n".join([f"{title(report)}: {report.output}", *lines])


def page(report: Report) -> str:
    """Markdown: the counts, and rows from all over the output."""
    head = list(dict.fromkeys(name for row in report.examples for name in row))
    cells = [["" if row.get(name) is None else plain(row[name]) for name in head] for row in report.examples]
    lines = [
        f"# {title(report)}",
        "",
        f"From {cell(report.input, longest=300)} to {cell(report.output, longest=300)}.",
        "",
        *table(["", ""], [list(one) for one in counts(report)]),
    ]
    if cells:
        lines += ["", "## Examples, from all over the output", "", *table([cell(name) for name in head], cells)]
    return "\n".join(lines) + "\n"
