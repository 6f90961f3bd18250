"""A batch prediction: every row in its place, what cannot be answered told in its row, and nothing half done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from toy_jobs import MODEL, fruit, read_rows, write_rows

from llm.batch_prediction.work import Work, unfinished_model, work_folder
from llm.errors import ConfigError, CorpusError, StageError


class Stopped(BaseException):
    """In place of a power cut."""


@contextmanager
def stopped_at(part: int) -> Iterator[None]:
    """Inside, a job ends before that part is kept."""
    write = Work.write_part

    def writing(self, number, outcomes):
        if number == part:
            raise Stopped
        write(self, number, outcomes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Work, "write_part", writing)
        with pytest.raises(Stopped):
            yield


def test_rows_keep_their_order_and_their_columns_and_get_the_answers_of_the_model(predict, predictor, tmp_path):
    rows = fruit(25)
    write_rows(tmp_path / "in.jsonl", rows)
    report = predict("in.jsonl", "out.jsonl", rows_per_part=10)
    found = read_rows(tmp_path / "out.jsonl")
    assert [{"id": row["id"], "text": row["text"]} for row in found] == rows
    answers = predictor.predict([row["text"] for row in rows])
    assert [row["label"] for row in found] == [answer["label"] for answer in answers]
    assert [row["score"] for row in found] == pytest.approx([answer["score"] for answer in answers], abs=1e-5)
    assert {row["error"] for row in found} == {None}
    assert {row["label"] for row in found} == {"fruit", "tool"}
    assert (report.rows, report.answered, report.reused, dict(report.refused)) == (25, 25, 0, {})
    assert report.rows_per_second > 0
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl"]


def test_a_row_that_the_model_cannot_take_is_told_and_stops_nothing(predict, tmp_path):
    good = json.dumps({"id": 1, "text": "apple pear"})
    lines = [
        good,
        json.dumps({"id": 2, "text": "pear " * 500}),
        json.dumps({"id": 3, "text": "  "}),
        json.dumps({"id": 4, "text": None}),
        json.dumps({"id": 5, "text": ["apple"]}),
        json.dumps({"id": 6, "text": 0.5}),
        json.dumps({"id": 7, "body": "apple"}),
        '{"id": 8, "text": "\\ud800 apple"}',
        '{"id": 9, "text": ',
        json.dumps({"id": 10, "text": 2026}),
        good,
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    report = predict("in.jsonl", "out.jsonl")
    found = read_rows(tmp_path / "out.jsonl")
    assert [row.get("id") for row in found] == [1, 2, 3, 4, 5, 6, 7, 8, None, 10, 1]
    assert [row["error"] is None for row in found] == [True, *[False] * 8, True, True]
    assert all((row["label"] is None) == (row["error"] is not None) for row in found)
    assert found[0] == found[-1]
    assert found[1]["error"].startswith("has 5")
    assert found[1]["error"].endswith("tokens, and the model takes 64")
    assert found[4]["error"] == "column 'text': \"['apple']\" is list, neither text nor a whole number"
    assert found[6]["error"] == "there is no column 'text'; there are 'id', 'body'"
    assert found[7]["text"] == "\ud800 apple"
    assert found[8]["error"].startswith("line or row 9 cannot be read: not JSON")
    assert report.answered == 3
    assert dict(report.refused) == {"too long": 1, "empty": 2, "not text": 3, "no such column": 1, "unreadable": 1}


def test_ten_examples_are_taken_from_all_over_the_output(predict, tmp_path):
    write_rows(tmp_path / "in.jsonl", fruit(100))
    report = predict("in.jsonl", "out.jsonl", rows_per_part=30)
    assert [row["text"].split()[-1] for row in report.examples] == [str(number) for number in range(0, 100, 10)]
    assert set(report.examples[0]) == {"text", "label", "score", "error"}


def test_an_input_without_rows_gives_an_output_without_rows(predict, tmp_path):
    (tmp_path / "in.jsonl").write_text("")
    (tmp_path / "in.csv").write_text("id,text\n")
    assert predict("in.jsonl", "out.jsonl").rows == 0
    assert (tmp_path / "out.jsonl").read_text() == ""
    assert predict("in.csv", "out.csv").rows == 0
    assert (tmp_path / "out.csv").read_text() == "id,text,label,score,error\n"


def test_parameters_of_the_family_are_used_and_may_add_a_column(predict, tmp_path):
    write_rows(tmp_path / "in.jsonl", fruit(2))
    predict("in.jsonl", "out.jsonl", params={"top_k": 2})
    [first, _] = read_rows(tmp_path / "out.jsonl")
    assert [label for label, _ in first["top"]] == ["fruit", "tool"]
    with pytest.raises(ConfigError, match="there is no option 'temperature'"):
        predict("in.jsonl", "other.jsonl", params={"temperature": 1})


def test_a_job_that_was_stopped_goes_on_and_its_output_is_that_of_an_unbroken_one(predict, tmp_path):
    write_rows(tmp_path / "in.jsonl", fruit(47))
    predict("in.jsonl", "unbroken.csv", rows_per_part=10)
    with stopped_at(3):
        predict("in.jsonl", "out.csv", rows_per_part=10)
    assert not (tmp_path / "out.csv").exists()
    assert unfinished_model(str(tmp_path / "out.csv")) == MODEL
    report = predict("in.jsonl", "out.csv", rows_per_part=10)
    assert (report.rows, report.reused) == (47, 30)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "unbroken.csv").read_bytes()
    assert not work_folder(str(tmp_path / "out.csv")).exists()


class TestAnUnfinishedJob:
    @pytest.fixture(autouse=True)
    def unfinished(self, predict, tmp_path):
        write_rows(tmp_path / "in.jsonl", fruit(20))
        with stopped_at(1):
            predict("in.jsonl", "out.jsonl", rows_per_part=10)

    def test_is_not_gone_on_with_by_another_model(self, predict):
        with pytest.raises(ConfigError) as caught:
            predict("in.jsonl", "out.jsonl", rows_per_part=10, model=replace(MODEL, version="4", key="k4"))
        assert "model was classification version 3 (k3), now classification version 4 (k4)" in caught.value.problem
        assert "--start-anew" in caught.value.remedy

    def test_is_not_gone_on_with_by_another_input_column_or_parameter(self, predict, tmp_path):
        write_rows(tmp_path / "in.jsonl", [*fruit(20), {"id": 20, "text": "new"}])
        with pytest.raises(ConfigError) as caught:
            predict("in.jsonl", "out.jsonl", rows_per_part=5, column="id", params={"top_k": 2})
        for name in ("content of the input was", "column was 'text', now 'id'", "params was", "rows_per_part was 10"):
            assert name in caught.value.problem
        assert "prefix" not in caught.value.problem

    def test_is_gone_on_with_whatever_name_the_model_was_asked_for_by(self, predict):
        report = predict("in.jsonl", "out.jsonl", rows_per_part=10, model=replace(MODEL, reference="3"))
        assert report.reused == 10

    def test_is_dropped_on_request(self, predict):
        report = predict("in.jsonl", "out.jsonl", rows_per_part=7, model=replace(MODEL, key="k4"), start_anew=True)
        assert (report.rows, report.reused) == (20, 0)

    def test_survives_a_mistake(self, predict, tmp_path):
        with pytest.raises(ConfigError):
            predict("in.jsonl", "out.jsonl", rows_per_part=10, prefix="x")
        assert predict("in.jsonl", "out.jsonl", rows_per_part=10).reused == 10

    def test_belongs_to_one_process_at_a_time(self, predict, tmp_path):
        manifest = json.loads((work_folder(str(tmp_path / "out.jsonl")) / "manifest.json").read_text())
        with (
            Work(str(tmp_path / "out.jsonl"), manifest, start_anew=False),
            pytest.raises(StageError, match="another process is writing it"),
        ):
            predict("in.jsonl", "out.jsonl", rows_per_part=10)


def test_a_job_that_fails_before_its_first_part_leaves_nothing_to_go_on_with(predict, tmp_path):
    write_rows(tmp_path / "in.jsonl", fruit(20))
    with stopped_at(0):
        predict("in.jsonl", "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    # Killed there, it leaves its manifest, which binds nobody.
    Work(str(tmp_path / "out.jsonl"), {"model": "another"}, start_anew=False).__exit__()
    assert predict("in.jsonl", "out.jsonl").rows == 20


@pytest.mark.parametrize(
    ("source", "output", "options", "problem", "remedy"),
    [
        ("in.jsonl", "out.jsonl", {"column": "body"}, "there is no column 'body'", "choose from 'id', 'text'"),
        ("none.jsonl", "out.jsonl", {}, "none.jsonl: no such file", "correct the path"),
        ("*.jsonl", "out.jsonl", {}, "names 3 files", "name one"),
        ("in.xyz", "out.jsonl", {}, "does not tell a format that is read here", ".parquet"),
        ("in.jsonl", "there.jsonl", {}, "there.jsonl: is there already", "--overwrite"),
        ("in.jsonl", "in.jsonl", {"overwrite": True}, "is the input", "another file"),
        ("in.jsonl", "out.xlsx", {}, "does not tell a format that is written", ".csv.gz"),
        ("in.jsonl", "out.parquet.gz", {}, "does not tell a format that is written", ".parquet"),
        ("in.jsonl", "folder.csv", {}, "is a folder", "name a file"),
        ("in.jsonl", "s3://bucket/out.csv", {}, "is an address", "name a file on this machine"),
        ("in.jsonl", "no/such/out.csv", {}, "cannot be written (No such file or directory)", "may write to"),
        ("in.jsonl", "locked/out.csv", {}, "cannot be written", "may write to"),
        ("clash.jsonl", "out.csv", {}, "has a column 'label', 'score' already", "--prefix"),
        ("twice.csv", "out.csv", {}, "the column 'text' is there twice", "rename one"),
        ("empty.csv", "out.csv", {}, "has no header that can be read", "correct its first line"),
        ("bad.parquet", "out.csv", {}, "not readable as parquet", "correct the file"),
    ],
)
def test_what_is_wrong_is_told_before_any_work_and_nothing_is_left(
    predict, tmp_path, source, output, options, problem, remedy
):
    write_rows(tmp_path / "in.jsonl", fruit(3))
    write_rows(tmp_path / "clash.jsonl", [{"text": "apple", "label": 1, "score": 2}])
    (tmp_path / "twice.csv").write_text("text,text\na,b\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "bad.parquet").write_text("PAR1")
    (tmp_path / "in.xyz").write_text("apple\n")
    (tmp_path / "there.jsonl").write_text("precious")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "locked").write_text("no folder")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((ConfigError, CorpusError, StageError)) as caught:
        predict(source, output, **options)
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "there.jsonl").read_text() == "precious"


def test_an_output_is_replaced_on_request_when_the_new_one_is_whole(predict, tmp_path):
    write_rows(tmp_path / "in.jsonl", fruit(20))
    (tmp_path / "out.jsonl").write_text("old")
    with stopped_at(1):
        predict("in.jsonl", "out.jsonl", rows_per_part=10, overwrite=True)
    assert (tmp_path / "out.jsonl").read_text() == "old"
    assert predict("in.jsonl", "out.jsonl", rows_per_part=10, overwrite=True).reused == 10
    assert len(read_rows(tmp_path / "out.jsonl")) == 20


def test_an_input_that_changes_meanwhile_fails_the_job_and_leaves_no_output(predict, tmp_path, monkeypatch):
    path = write_rows(tmp_path / "in.jsonl", fruit(20))
    write = Work.write_part

    def changing(self, number, outcomes):
        write(self, number, outcomes)
        path.write_text(path.read_text().replace("apple", "melon"))

    monkeypatch.setattr(Work, "write_part", changing)
    with pytest.raises(CorpusError, match="was changed while it was read"):
        predict("in.jsonl", "out.jsonl", rows_per_part=10)
    assert not (tmp_path / "out.jsonl").exists()


def test_new_columns_may_have_a_prefix(predict, tmp_path):
    write_rows(tmp_path / "in.jsonl", [{"text": "apple", "label": "yes", "error": "none"}])
    predict("in.jsonl", "out.jsonl", prefix="model_")
    [row] = read_rows(tmp_path / "out.jsonl")
    assert (row["label"], row["error"], row["model_label"], row["model_error"]) == ("yes", "none", "fruit", None)


def test_a_later_row_with_the_name_of_a_new_column_stops_the_job_before_it_is_lost(predict, tmp_path):
    write_rows(tmp_path / "in.jsonl", [*fruit(3), {"text": "apple", "label": "mine"}])
    with pytest.raises(ConfigError, match="has a column 'label' already"):
        predict("in.jsonl", "out.jsonl", rows_per_part=2)
