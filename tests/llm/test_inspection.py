"""A look into a source tells what an ingestion would make of it, and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

from llm.cleaning.config import CleaningConfig
from llm.corpora.local_files import LocalFilesConfig
from llm.ingest.corpus import corpus_stage
from llm.inspection import Inspection, inspect_corpus
from llm.splits import SPLITS, SplitConfig

THIRDS = SplitConfig(validation=0.3, test=0.3)


def config(folder: Path) -> LocalFilesConfig:
    rows = [
        {"body": "Das ist der Text mit der Nummer " + "x" * number, "topic": f"t{number % 2}"} for number in range(90)
    ]
    bad = [{"body": "kein Thema", "topic": ""}, rows[0], {"body": " ", "topic": "t0"}]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *bad]), encoding="utf-8")
    return LocalFilesConfig(format="jsonl", paths=(str(path),), columns={"text": "body", "label": "topic"})


def look(folder: Path, most: int = 0) -> Inspection:
    return inspect_corpus(config(folder), CleaningConfig(), THIRDS, most=most, downloads=folder)


def test_it_counts_what_an_ingestion_would(tmp_path: Path) -> None:
    found = look(tmp_path)
    options = CleaningConfig(maximum_bad_share=0.1)
    stage = corpus_stage(
        config(tmp_path), options, THIRDS, fields=("text", "label"), root=tmp_path / "stages", downloads=tmp_path
    )
    assert found.account.read == stage.facts["read"] == 93
    assert found.account.kept - found.repeated == stage.facts["kept"] == 90
    assert found.account.dropped["missing_label"] == stage.facts["dropped"]["missing_label"] == 1
    for split in SPLITS:
        assert found.splits[split] - stage.facts["splits"][split]["rows"] in (0, 1)  # the repeated one
    assert found.labels == {"t0": 46, "t1": 45}


def test_it_tells_lengths_languages_samples_and_the_first_of_what_was_dropped(tmp_path: Path) -> None:
    found = look(tmp_path)
    prefix = len("Das ist der Text mit der Nummer")
    assert found.lengths["text"][0] == prefix  # the outer space is gone
    assert found.lengths["text"][-1] == prefix + 1 + 89
    assert found.languages["text"].most_common(1)[0][0] == "de"
    assert len(found.samples) == 3
    assert all(set(sample) == {"text", "label"} for sample in found.samples)
    assert {step: row["position"] for step, row in found.first.items()} == {"missing_label": 91, "blank": 93}


def test_it_stops_where_it_is_told_to_and_says_so(tmp_path: Path) -> None:
    assert (look(tmp_path, 10).account.read, look(tmp_path, 10).complete) == (10, False)
    assert (look(tmp_path, 93).account.read, look(tmp_path, 93).complete) == (93, True)


def test_it_writes_nothing(tmp_path: Path) -> None:
    look(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
