"""What every entry of FAMILIES does with a file of rows, in parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm.batch_prediction.config import BatchConfig
from llm.batch_prediction.job import BatchJob
from llm.batch_prediction.work import ModelName

PART = 8


def test_rows_are_answered_in_parts_as_the_predictor_answers_these(trained: Any, tmp_path: Path) -> None:
    family, predictor = trained.family, trained.predictor
    texts = family.sample_inputs(trained.rows("test"), 20)
    texts[3], texts[11] = "", "house river " * 400
    rows = [{"id": number, family.input_field: text} for number, text in enumerate(texts)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = BatchConfig(input=str(tmp_path / "in.jsonl"), output=str(tmp_path / "out.jsonl"), rows_per_part=PART)
    with BatchJob(config, ModelName(family.name, "1", "k1"), downloads=tmp_path) as job:
        report = job.run(predictor)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().split("\n") if line]
    names = family.answer_columns(family.params())
    assert [list(row) for row in found] == [["id", family.input_field, *names, "error"]] * len(texts)
    assert [row["id"] for row in found] == list(range(len(texts)))
    expected = []
    for start in range(0, len(texts), PART):
        part = texts[start : start + PART]
        answers = iter(predictor.predict([text for text in part if text and len(text) < 1000]))
        expected += [next(answers) if text and len(text) < 1000 else None for text in part]
    told = [{name: row[name] for name in names} if row["error"] is None else None for row in found]
    assert told == [{names[0]: one} if isinstance(one, str) else one for one in expected]
    assert dict(report.refused) == {"empty": 1, "too long": 1}
