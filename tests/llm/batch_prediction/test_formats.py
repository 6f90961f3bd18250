"""What goes in comes out: each format of input into each format of output, with the values that break naive writers."""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from toy_jobs import fruit, read_rows, write_rows

from llm.batch_prediction.config import BatchConfig
from llm.batch_prediction.snapshot import read_snapshot, write_snapshot
from llm.batch_prediction.work import Work
from llm.errors import ConfigError, CorpusError

NASTY = [
    "=HYPERLINK(1)",
    'a "quoted" word, and a comma',
    '"begins with a quote',
    "two\nlines",
    "Ümlaut, 漢字 \u2028",
    " outer space ",
]


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_cells_of_a_csv_file_are_carried_to_the_character(predict, tmp_path):
    write_csv(tmp_path / "in.csv", [{"text": f"apple {n}", "note": note} for n, note in enumerate(NASTY)])
    predict("in.csv", "out.csv")
    assert [row["note"] for row in read_csv(tmp_path / "out.csv")] == NASTY
    assert list(pandas.read_csv(tmp_path / "out.csv")["note"]) == NASTY
    assert read_csv(tmp_path / "out.csv")[0] == {
        "text": "apple 0",
        "note": NASTY[0],
        "label": "fruit",
        "score": read_csv(tmp_path / "out.csv")[0]["score"],
        "error": "",
    }


def test_a_tsv_file_quotes_only_what_would_break_a_row(predict, tmp_path):
    write_rows(tmp_path / "in.jsonl", [{"text": "apple", "note": note} for note in [*NASTY, "a\ttab"]])
    predict("in.jsonl", "out.tsv")
    text = (tmp_path / "out.tsv").read_text(encoding="utf-8")
    assert 'a "quoted" word, and a comma\t' in text
    assert list(pandas.read_csv(tmp_path / "out.tsv", sep="\t")["note"]) == [*NASTY, "a\ttab"]
    # Its own reader, to which quotes mean nothing, gets back what has neither tabs nor line ends.
    write_rows(tmp_path / "plain.jsonl", [{"text": "apple", "note": 'a "quoted" word'}])
    predict("plain.jsonl", "plain.tsv")
    predict("plain.tsv", "again.jsonl", prefix="second_")
    assert read_rows(tmp_path / "again.jsonl")[0]["note"] == 'a "quoted" word'


def test_values_of_json_lines_are_carried_as_they_are(predict, tmp_path):
    carried = [
        {"text": "apple", "n": 1 << 70, "f": 0.1, "b": True, "list": [1, {"a": None}], "s": "\ud83d half"},
        {"other": "column", "text": "saw hammer"},
    ]
    write_rows(tmp_path / "in.jsonl", carried)
    predict("in.jsonl", "out.jsonl")
    found = read_rows(tmp_path / "out.jsonl")
    assert [{name: row[name] for name in was} for row, was in zip(found, carried, strict=True)] == carried


def test_columns_of_json_lines_become_those_of_a_table_in_the_order_of_their_appearance(predict, tmp_path):
    write_rows(tmp_path / "in.jsonl", [{"b": 1, "text": "apple"}, {"text": "saw", "a": [1, 2], "b": None}])
    predict("in.jsonl", "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == "b,text,a,label,score,error"
    assert [(row["a"], row["b"]) for row in read_csv(tmp_path / "out.csv")] == [("", "1"), ("[1, 2]", "")]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv"])
def test_compressed_files_are_read_and_written_the_same_bytes_each_time(predict, tmp_path, ending):
    write_rows(tmp_path / "in.jsonl", fruit(30))
    predict("in.jsonl", f"plain.{ending}")
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress((tmp_path / "in.jsonl").read_bytes()))
    (tmp_path / "in.jsonl.zst").write_bytes(zstandard.compress((tmp_path / "in.jsonl").read_bytes()))
    predict("in.jsonl.gz", f"one.{ending}.gz")
    predict("in.jsonl.zst", f"two.{ending}.gz")
    one, two = ((tmp_path / f"{name}.{ending}.gz").read_bytes() for name in ("one", "two"))
    assert one == two
    assert gzip.decompress(one) == (tmp_path / f"plain.{ending}").read_bytes()


def test_lines_of_text_are_rows(predict, tmp_path):
    (tmp_path / "in.txt").write_text("apple pear\n\nsaw hammer\n")
    predict("in.txt", "out.jsonl")
    assert [(row["text"], row["label"]) for row in read_rows(tmp_path / "out.jsonl")] == [
        ("apple pear", "fruit"),
        ("", None),
        ("saw hammer", "tool"),
    ]


def parquet_table() -> pyarrow.Table:
    return pyarrow.table(
        {
            "text": ["apple pear", None, "saw hammer"],
            "when": pyarrow.array([datetime(2026, 1, 2, 3, 4, 5, 678901)] * 3, pyarrow.timestamp("ns")),
            "zoned": pyarrow.array([datetime(2026, 1, 2, tzinfo=UTC)] * 3, pyarrow.timestamp("us", "Europe/Berlin")),
            "price": pyarrow.array([Decimal("1.20"), None, Decimal("-3.00")], pyarrow.decimal128(10, 2)),
            "raw": [b"\x00\xff", b"", None],
            "nested": [{"a": [1, 2]}, {"a": []}, None],
            "kind": pyarrow.array(["x", "y", "x"]).dictionary_encode(),
            "small": pyarrow.array([1, 2, None], pyarrow.int8()),
        }
    )


def test_parquet_keeps_the_types_of_its_columns(predict, tmp_path):
    table = parquet_table()
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    predict("in.parquet", "out.parquet")
    found = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert found.select(table.column_names).equals(table)
    assert found.schema.field("score").type == pyarrow.float64()
    assert found["label"].to_pylist() == ["fruit", None, "tool"]
    assert found["error"].to_pylist() == [None, "column 'text' is empty", None]


def test_what_json_has_no_word_for_becomes_text(predict, tmp_path):
    pyarrow.parquet.write_table(parquet_table(), tmp_path / "in.parquet")
    predict("in.parquet", "out.jsonl")
    predict("in.parquet", "out.csv")
    first, second, _ = read_rows(tmp_path / "out.jsonl")
    assert (first["zoned"], first["price"], first["raw"]) == ("2026-01-02T01:00:00+01:00", "1.20", "AP8=")
    assert (first["nested"], second["price"]) == ({"a": [1, 2]}, None)
    assert read_csv(tmp_path / "out.csv")[0]["nested"] == '{"a": [1, 2]}'


def test_json_lines_become_parquet_with_a_type_a_column(predict, tmp_path):
    rows = [
        {"text": "apple", "n": 1, "f": 1, "b": True, "mixed": 1, "deep": {"a": 1}, "none": None, "big": 1 << 70},
        {"text": "saw", "n": None, "f": 0.5, "b": False, "mixed": "one", "deep": [1], "none": None, "big": 1},
    ]
    write_rows(tmp_path / "in.jsonl", rows)
    predict("in.jsonl", "out.parquet")
    found = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    types = {field.name: str(field.type) for field in found.schema}
    assert types["n"] == "int64"
    assert (types["f"], types["b"], types["score"]) == ("double", "bool", "double")
    assert {types[name] for name in ("text", "mixed", "deep", "none", "big", "label", "error")} == {"string"}
    assert found["mixed"].to_pylist() == ["1", "one"]
    assert found["deep"].to_pylist() == ['{"a": 1}', "[1]"]
    assert found["big"].to_pylist() == [str(1 << 70), "1"]


@pytest.fixture
def database(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "tickets.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE tickets (id INTEGER, text TEXT, price REAL, raw BLOB)")
        rows = [(n, None if n == 4 else f"apple pear {n}", n / 4, b"\x00\xff") for n in range(25)]
        connection.executemany("INSERT INTO tickets VALUES (?, ?, ?, ?)", rows)
        connection.commit()
    monkeypatch.setenv("NIGHTSHIFT_SQL_URL", f"sqlite:///{path}")
    return path


def stored(path: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


QUERY = "sql:SELECT id, text, price, raw FROM tickets ORDER BY id"


def test_a_query_becomes_a_table_of_the_same_database(predict, database):
    report = predict(QUERY, "sql:answers", rows_per_part=10)
    found = stored(database, "SELECT id, text, price, raw, label, error FROM answers ORDER BY id")
    assert [row[:4] for row in found] == stored(database, "SELECT * FROM tickets ORDER BY id")
    assert found[4][4:] == (None, "column 'text' is empty")
    assert {row[4] for row in found} == {"fruit", None}
    assert (report.rows, report.answered) == (25, 24)


def test_a_table_that_is_there_is_replaced_on_request_only(predict, database):
    predict(QUERY, "sql:answers")
    with pytest.raises(ConfigError, match="sql:answers: is there already"):
        predict(QUERY, "sql:answers")
    shorter = "sql:SELECT id, text FROM tickets WHERE id < 3 ORDER BY id"
    predict(shorter, "sql:answers", overwrite=True)
    assert stored(database, "SELECT count(*) FROM answers") == [(3,)]


def test_a_table_that_cannot_be_written_whole_is_not_written_at_all(predict, database, monkeypatch):
    predict(QUERY, "sql:answers")
    before = stored(database, "SELECT * FROM answers")

    def breaking(value, kind):
        if value == "apple pear 20":
            raise KeyboardInterrupt
        return value

    monkeypatch.setattr("llm.batch_prediction.sql_table.fitted", breaking)
    monkeypatch.setattr("llm.batch_prediction.sql_table._ROWS", 5)
    with pytest.raises(KeyboardInterrupt):
        predict(QUERY, "sql:answers", overwrite=True)
    assert stored(database, "SELECT * FROM answers") == before


def test_a_job_that_goes_on_sees_the_rows_that_it_began_with(predict, database, monkeypatch, tmp_path):
    predict(QUERY, "unbroken.csv", rows_per_part=10)
    write = Work.write_part

    def stopping(self, number, outcomes):
        write(self, number, outcomes)
        raise KeyboardInterrupt

    monkeypatch.setattr(Work, "write_part", stopping)
    with pytest.raises(KeyboardInterrupt):
        predict(QUERY, "out.csv", rows_per_part=10)
    monkeypatch.setattr(Work, "write_part", write)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM tickets")
        connection.commit()
    assert predict(QUERY, "out.csv", rows_per_part=10).reused == 10
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "unbroken.csv").read_bytes()


@pytest.mark.parametrize(
    ("source", "output", "problem"),
    [
        ("sql:SELECT * FROM missing ORDER BY 1", "sql:answers", "the query of input failed: no such table: missing"),
        ("sql:SELECT id FROM tickets ORDER BY 1", "sql:answers", "there is no column 'text'"),
        (QUERY, "sql:no.such", "creating the table no.such_probe failed: unknown database"),
    ],
)
def test_what_a_database_refuses_is_told(predict, database, source, output, problem):
    with pytest.raises(CorpusError, match=problem):
        predict(source, output)


def test_a_missing_address_is_asked_for_by_its_option(predict, monkeypatch, tmp_path):
    monkeypatch.delenv("NIGHTSHIFT_SQL_URL", raising=False)
    with pytest.raises(ConfigError, match="NIGHTSHIFT_SQL_URL is not set") as caught:
        predict(QUERY, "out.csv")
    assert "input_url_variable" in caught.value.remedy
    write_rows(tmp_path / "in.jsonl", fruit(1))
    with pytest.raises(ConfigError) as caught:
        predict("in.jsonl", "sql:answers")
    assert "output_url_variable" in caught.value.remedy


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"input": "sql:SELECT id FROM tickets"}, "has no ORDER BY"),
        ({"output": "sql:answers; DROP TABLE tickets"}, "is no name of a table"),
        ({"rows_per_part": 0}, "greater than or equal to 1"),
    ],
)
def test_a_config_is_refused_by_its_field(values, problem):
    with pytest.raises(ValueError, match=problem):
        BatchConfig.model_validate({"input": "a.csv", "output": "b.csv", **values})


def test_dates_survive_the_copy_of_a_query(tmp_path):
    row = [1, None, "text", datetime(2026, 1, 2, 3, tzinfo=UTC), date(2026, 1, 2), Decimal("1.20"), b"\x00", {"a": 1}]
    write_snapshot(tmp_path / "rows", [*"abcdefgh"], [row])
    columns, rows = read_snapshot(tmp_path / "rows")
    assert [list(found.values()) for found in rows] == [row]
    assert columns == [*"abcdefgh"]
    assert json.loads((tmp_path / "rows").read_text().splitlines()[1])["row"][0] == 1
