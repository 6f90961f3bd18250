"""Tables: columns become fields, and a row that is wrong costs itself and no other."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest
from local_reading import TOPICS, defects, fields_of, read, read_all

from llm.corpora.base import Record
from llm.errors import CorpusError

ROWS = [
    {"body": "Yes, please", "topic": "sale", "author": "ann", "id": 7},
    {"body": 'She said "no"', "topic": "NA", "author": "bob", "id": 8},
    {"body": "Grüße\tund mehr", "topic": "null", "author": "ann", "id": 9},
]


def as_jsonl(rows: list[dict], path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n", encoding="utf-8")


def as_csv(rows: list[dict], path: Path) -> None:
    pd.DataFrame(rows).to_csv(path, index=False)


def as_parquet(rows: list[dict], path: Path) -> None:
    pd.DataFrame(rows).to_parquet(path)


TABLES = {"jsonl": as_jsonl, "csv": as_csv, "parquet": as_parquet}


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_columns_become_fields_and_the_group(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind}"
    TABLES[kind](ROWS, path)
    records = read(format=kind, paths=(str(path),), columns=TOPICS, group_column="author")
    assert records == [Record(row["author"], {"text": row["body"], "label": row["topic"]}) for row in ROWS]


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_whole_numbers_are_labels_too(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind}"
    TABLES[kind](ROWS, path)
    records = read(format=kind, paths=(str(path),), columns={"text": "body", "label": "id"})
    assert [record.fields["label"] for record in records] == ["7", "8", "9"]


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_a_missing_value_is_blank_and_whole_numbers_beside_it_stay_whole(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind}"
    rows = [{"body": "A", "id": 1}, {"body": None, "id": 2}, {"body": "C", "id": None}]
    if kind == "csv":
        path.write_text("body,id\nA,1\n,2\nC,\n")
    elif kind == "jsonl":
        as_jsonl(rows, path)
    else:
        # Without pandas' own metadata, as other programs write it.
        pyarrow.parquet.write_table(pyarrow.table({"body": ["A", None, "C"], "id": [1, 2, None]}), path)
    records = read(format=kind, paths=(str(path),), columns={"text": "body", "label": "id"})
    assert [tuple(record.fields.values()) for record in records] == [("A", "1"), ("", "2"), ("C", "")]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_does_not_exist_is_named_with_the_choice(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind}"
    TABLES[kind](ROWS, path)
    with pytest.raises(CorpusError, match=r"rows\.\w+: there is no column 'title'") as caught:
        read(format=kind, paths=(str(path),), columns={"text": "title"})
    assert caught.value.remedy == "choose from 'body', 'topic', 'author', 'id'"


def test_a_row_of_json_without_the_column_is_bad_by_itself(write) -> None:
    path = write("a.jsonl", '{"body": "a"}\n{"title": "b"}\n')
    assert defects(format="jsonl", paths=(path,), columns={"text": "body"}) == [("missing_column", 2, 14)]


def test_a_group_column_that_does_not_exist_is_named(tmp_path: Path) -> None:
    as_csv(ROWS, tmp_path / "rows.csv")
    with pytest.raises(CorpusError, match="no column 'writer'"):
        read(format="csv", paths=(str(tmp_path / "rows.csv"),), columns=TOPICS, group_column="writer")


def test_a_quoted_csv_cell_may_hold_newlines_and_commas(write) -> None:
    path = write("a.csv", 'body,topic\n"one,\ntwo",x\nthree,y\n')
    assert fields_of(read(format="csv", paths=(path,), columns=TOPICS)) == [
        {"text": "one,\ntwo", "label": "x"},
        {"text": "three", "label": "y"},
    ]


def test_quotes_mean_nothing_in_tsv(write) -> None:
    path = write("a.tsv", 'body\ttopic\n"Open\tx\nShut"\ty\n')
    assert fields_of(read(format="tsv", paths=(path,), columns=TOPICS)) == [
        {"text": '"Open', "label": "x"},
        {"text": 'Shut"', "label": "y"},
    ]


def test_a_table_without_a_header_has_numbered_columns(write) -> None:
    path = write("a.tsv", "ham\tSee you\nspam\tWin now\n")
    records = read(format="tsv", paths=(path,), columns={"text": "2", "label": "1"}, header=False)
    assert fields_of(records) == [{"text": "See you", "label": "ham"}, {"text": "Win now", "label": "spam"}]


def test_a_column_that_is_there_twice_is_an_error(write) -> None:
    with pytest.raises(CorpusError, match=r"a\.csv: the column 'body' is there twice"):
        read(format="csv", paths=(write("a.csv", "body,body\na,b\n"),), columns={"text": "body"})


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_row_that_does_not_fit_the_header_costs_itself_and_no_other(write, kind: str) -> None:
    rows = "body,topic\na,b\nd,e,f\n\ng\nh,i\n"
    path = write(f"a.{kind}", rows.replace(",", "\t" if kind == "tsv" else ","))
    options = {"format": kind, "paths": (path,), "columns": TOPICS}
    assert [item.fields["text"] for item in read_all(**options) if isinstance(item, Record)] == ["a", "h"]
    assert defects(**options) == [("cells", 3, 15), ("cells", 5, 22)]


def test_a_quote_that_nothing_closes_costs_its_own_row_and_no_other(write) -> None:
    path = write("a.csv", 'body,topic\n"open,x\nb,y\nc,z\n"q ""q"" q",w\n"bad"tail,v\nd,u\n')
    options = {"format": "csv", "paths": (path,), "columns": TOPICS}
    texts = [item.fields["text"] for item in read_all(**options) if isinstance(item, Record)]
    assert texts == ["b", "c", 'q "q" q', "d"]
    assert defects(**options) == [("quotes", 2, 11), ("quotes", 6, 41)]


def test_a_quote_that_nothing_closes_until_the_end_is_found_too(write) -> None:
    path = write("a.csv", 'body,topic\nb,y\n"open,x\n' + "c,z\n" * 1000)
    options = {"format": "csv", "paths": (path,), "columns": TOPICS}
    assert defects(**options) == [("quotes", 3, 15)]
    assert len(read_all(**options)) == 1002


def test_a_row_does_not_go_on_across_a_line_that_cannot_be_read(write) -> None:
    path = write("a.csv", b'body,topic\n"one\n\xff\ntwo",x\nthree,y\n')
    assert [d[0] for d in defects(format="csv", paths=(path,), columns=TOPICS)] == ["quotes", "not_utf8"]


def test_parquet_is_read_out_of_an_archive_too(tmp_path: Path) -> None:
    as_parquet(ROWS, tmp_path / "rows.parquet")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "rows.parquet", "rows.parquet")
    records = read(format="parquet", paths=(str(tmp_path / "a.zip"),), columns=TOPICS)
    assert [record.fields["text"] for record in records] == [row["body"] for row in ROWS]
