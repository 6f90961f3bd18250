"""What a corpus became of: the page that MLflow and a file keep, and its summary on the flow run's page."""

from __future__ import annotations

from pathlib import Path

from llm.ingest.report import previous_corpus, render_report
from llm.splits import SPLITS
from llm.stages import Stage


def corpus_page(stage: Stage) -> str:
    """Self-contained HTML, with the drift since the corpus before."""
    return render_report(stage, previous_corpus(stage))


def corpus_summary(stage: Stage, page: Path) -> str:
    """Markdown: where the records went, and the sizes of the splits."""
    facts = stage.facts
    dropped = [(name, count) for name, count in facts["dropped"].items() if count]
    lines = [
        f"# Corpus {facts['source']}: {facts['kept']:,} of {facts['read']:,} records",
        "",
        "| step | records |",
        "| --- | --- |",
        f"| read | {facts['read']:,} |",
        *(f"| dropped: {name} | {count:,} |" for name, count in dropped),
        f"| kept | {facts['kept']:,} |",
        *(f"| {split} | {facts['splits'][split]['rows']:,} |" for split in SPLITS),
        "",
        f"Lengths, labels, examples and the drift since the corpus before: `{page}`",
    ]
    return "\n".join(lines) + "\n"
