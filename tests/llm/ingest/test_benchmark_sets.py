"""Every public benchmark set beside the checkout becomes a corpus by its options alone; skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm.cleaning.config import CleaningConfig
from llm.corpora.local_files import LocalFilesConfig
from llm.ingest.corpus import corpus_stage
from llm.splits import SplitConfig

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
TOPICS = {"text": "text", "label": "label"}
# A summary is much shorter than what it sums up.
SUMMARIES: dict[str, Any] = {"maximum_length_ratio": None, "misaligned_ratio": None}

# Options of the corpus, options of cleaning, and how many records there are (blank lines of text are records too).
SETS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "multi30k-en-de": ({"format": "parallel", "paths": ["train.en.gz"], "target_paths": ["train.de.gz"]}, {}, 29_000),
    "tinyshakespeare": ({"format": "txt", "paths": ["input.txt"]}, {}, 7_222),
    "wikitext-2": ({"format": "txt", "document": "line", "paths": ["*.txt.gz"]}, {}, 8_118),
    "tinystories-excerpt": ({"format": "txt", "paths": ["tinystories_excerpt.txt"]}, {}, 1_230),
    "sst2": ({"format": "tsv", "paths": ["*.tsv"], "columns": TOPICS}, {}, 6_920 + 872 + 1_821),
    "sst5": ({"format": "tsv", "paths": ["*.tsv"], "columns": TOPICS}, {}, 8_544 + 1_101 + 2_210),
    "trec6": ({"format": "tsv", "paths": ["*.tsv"], "columns": {"text": "text", "label": "coarse"}}, {}, 5_952),
    "agnews": ({"format": "tsv", "paths": ["*.tsv"], "columns": TOPICS}, {}, 10_001 + 7_600),
    "sms-spam": (
        {"format": "tsv", "paths": ["*.tsv"], "columns": {"text": "2", "label": "1"}, "header": False},
        {},
        5_574,
    ),
    "xdailydialog-en": ({"format": "txt", "document": "line", "paths": ["*.txt"]}, {}, 995 + 996 + 1_000),
    "dialogsum": (
        {"format": "jsonl", "paths": ["*.dev.jsonl"], "columns": {"source": "dialogue", "target": "summary"}},
        SUMMARIES,
        500,
    ),
}


@pytest.mark.skipif(not DATA.exists(), reason="there are no benchmark sets beside the checkout")
@pytest.mark.parametrize("name", SETS)
def test_a_benchmark_set_is_a_corpus_by_its_options_alone(name: str, tmp_path: Path) -> None:
    options, cleaning, expected = SETS[name]
    places = {
        key: tuple(str(DATA / name / path) for path in options[key])
        for key in ("paths", "target_paths")
        if key in options
    }
    config = LocalFilesConfig(**{**options, **places})
    fields = tuple(options.get("columns", {})) or (("source", "target") if "target_paths" in options else ("text",))
    stage = corpus_stage(
        config, CleaningConfig(**cleaning), SplitConfig(), fields=fields, root=tmp_path, downloads=tmp_path
    )
    facts = stage.facts
    assert facts["read"] == expected == facts["kept"] + sum(facts["dropped"].values())
    assert facts["bad"] <= 2
    # Blank lines apart, nearly all of a set is worth keeping.
    assert facts["kept"] > 0.9 * (facts["read"] - facts["dropped"]["blank"])


def test_every_set_of_the_folder_is_in_the_table() -> None:
    if not DATA.exists():
        pytest.skip("there are no benchmark sets beside the checkout")
    assert {path.name for path in DATA.iterdir() if path.is_dir()} == set(SETS)
