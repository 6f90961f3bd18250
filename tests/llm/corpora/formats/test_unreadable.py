"""What cannot be read is located, and what follows it is read."""

from __future__ import annotations

import pytest
from local_reading import defects, read, read_all

from llm.corpora.base import Unreadable
from llm.errors import CorpusError


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv"])
@pytest.mark.parametrize("offset", [0, 5, (1 << 20) - 1, (1 << 20) + 7])
def test_bytes_that_are_not_utf8_are_located(write, kind: str, offset: int) -> None:
    path = write(f"a.{kind}", b"x" * offset + b"\xe9 and more\n")
    columns = {} if kind == "txt" else {"text": "body"}
    (found,) = read_all(format=kind, paths=(path,), columns=columns)
    assert isinstance(found, Unreadable)
    assert found.reason.startswith(f"byte {offset:,} (0xe9) is not UTF-8")


def test_a_character_cut_by_the_end_of_a_chunk_is_fine_and_by_the_end_of_the_file_is_not(write) -> None:
    start = (1 << 20) - 1
    good = write("good.txt", b"x" * start + "é".encode())
    assert read(format="txt", paths=(good,))[0].fields["text"].endswith("xé")
    cut = write("cut.txt", b"x" * start + b"\xc3")
    assert defects(format="txt", paths=(cut,)) == [("not_utf8", 1, 0)]


@pytest.mark.parametrize("document", ["line", "file"])
def test_a_line_or_file_that_is_too_large_is_bad_and_does_not_fill_the_memory(write, document: str) -> None:
    path = write("a.txt", "short\n" + "x" * 3_000_000 + "\nend\n")
    found = read_all(format="txt", paths=(path,), document=document, longest=1000)
    bad = [item for item in found if isinstance(item, Unreadable)]
    assert [item.defect for item in bad] == ["too_large"]
    assert len(bad[0].text) <= 200
    assert len(found) == (3 if document == "line" else 1)


@pytest.mark.parametrize(
    ("line", "defect"),
    [
        ('{"body": ', "not_json"),
        ('{"body": "a"} {"body": "b"}', "not_json"),
        ('["a"]', "not_an_object"),
        ('{"body": ["a"]}', "not_text"),
        ('{"body": 1.5}', "not_text"),
        ('{"body": true}', "not_text"),
        ('{"body": NaN}', "not_a_number"),
        ('{"body": "a", "other": -Infinity}', "not_a_number"),
        ('{"body": "a", "body": "b"}', "duplicate_key"),
        ('{"body": "a", "more": [{"k": 1, "k": 2}]}', "duplicate_key"),
        ('{"body": "\\ud800"}', "lone_surrogate"),
        ("[" * 100_000, "nested_too_deep"),
        ('{"body":' + "[" * 10_000 + "]" * 10_000 + "}", "nested_too_deep"),
    ],
)
def test_a_bad_line_of_json_is_located_and_the_next_is_read(write, line: str, defect: str) -> None:
    path = write("a.jsonl", '{"body": "fine"}\n\n' + line + '\n{"body": "fine too"}\n')
    options = {"format": "jsonl", "paths": (path,), "columns": {"text": "body"}}
    assert defects(**options) == [(defect, 3, 18)]
    assert len(read_all(**options)) == 3


def test_a_file_that_is_no_parquet_is_an_error(write) -> None:
    with pytest.raises(CorpusError, match=r"a\.parquet: not readable as parquet"):
        read(format="parquet", paths=(write("a.parquet", "not parquet"),), columns={"text": "body"})
