"""Your own files, by names and patterns, packed or not, and what is said of one that is not there."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from local_reading import fields_of, read
from pydantic import ValidationError

from llm.corpora.local_files import LocalFiles, LocalFilesConfig
from llm.errors import CorpusError
from llm.files import sha256_of


@pytest.mark.parametrize(
    ("document", "texts"),
    [
        ("file", ["One.\nStill one.\n\n \n\nTwo.\u2028Still two.\n"]),
        ("paragraph", ["One.\nStill one.", "Two.\u2028Still two."]),
        ("line", ["One.", "Still one.", "", " ", "", "Two.\u2028Still two."]),
    ],
)
def test_a_text_file_is_one_document_or_one_a_paragraph_or_line(write, document: str, texts: list[str]) -> None:
    path = write("a.txt", "One.\nStill one.\n\n \n\nTwo.\u2028Still two.\n")
    assert fields_of(read(format="txt", paths=(path,), document=document)) == [{"text": text} for text in texts]


def test_a_record_says_where_it_was_read_and_leaves_its_group_to_its_text(write) -> None:
    path = write("a.txt", "Yes.\nAnd so on.\n\n\nNo.\n")
    records = read(format="txt", paths=(path,))
    assert [(record.group, record.origin, record.position) for record in records] == [(None, path, 1), (None, path, 5)]


def test_patterns_are_expanded_in_order_and_no_file_is_read_twice(write, tmp_path: Path) -> None:
    for name in ("b/2.txt", "a/1.txt", "a/deep/3.txt", "a/4.md"):
        write(name, name)
    records = read(format="txt", paths=(str(tmp_path / "a/1.txt"), str(tmp_path / "**/*.txt")))
    assert [record.fields["text"] for record in records] == ["a/1.txt", "a/deep/3.txt", "b/2.txt"]


def test_a_name_with_brackets_is_not_taken_for_a_pattern(write) -> None:
    assert fields_of(read(format="txt", paths=(write("notes [1].txt", "Here."),))) == [{"text": "Here."}]


def test_a_byte_order_mark_is_no_part_of_the_text(write) -> None:
    paths = (write("a.txt", b"\xef\xbb\xbfHello"), write("b.txt", "World"))
    for document in ("file", "paragraph", "line"):
        records = read(format="txt", paths=paths, document=document)
        assert fields_of(records) == [{"text": "Hello"}, {"text": "World"}]
    assert fields_of(
        read(format="csv", paths=(write("a.csv", b"\xef\xbb\xbfbody,x\nA,1\n"),), columns={"text": "body"})
    ) == [{"text": "A"}]


@pytest.mark.parametrize("name", ["a.txt.bz2", "a.7z", "a.csv.xz"])
def test_what_is_packed_in_another_way_is_refused(write, name: str) -> None:
    with pytest.raises(CorpusError, match=r"is not read") as caught:
        read(format="txt", paths=(write(name, "x"),))
    assert ".gz" in caught.value.remedy


def test_the_files_of_an_archive_are_read_one_after_another(write, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one/a.txt", "One.\n\nTwo.\n")
        archive.writestr("b.txt", "Three.\n")
    records = read(format="txt", paths=(str(tmp_path / "a.zip"),))
    assert [record.fields["text"] for record in records] == ["One.", "Two.", "Three."]
    assert [(Path(record.origin).name, record.position) for record in records] == [
        ("a.txt", 1),
        ("a.txt", 3),
        ("a.zip: b.txt", 1),
    ]


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    for pattern in ("none.txt", "none/*.txt"):
        config = LocalFilesConfig(format="txt", paths=(str(tmp_path / pattern),))
        with pytest.raises(CorpusError, match="no such file"):
            LocalFiles().content(config, checksum=sha256_of)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is a folder") as caught:
        LocalFiles().content(LocalFilesConfig(format="txt", paths=(str(tmp_path),)), checksum=sha256_of)
    assert "*.txt" in caught.value.remedy


def test_the_content_changes_with_a_file(write) -> None:
    config = LocalFilesConfig(format="txt", paths=(write("a.txt", "One"),))
    before = LocalFiles().content(config, checksum=sha256_of)
    write("a.txt", "Two")
    assert LocalFiles().content(config, checksum=sha256_of) != before


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"format": "csv"}, "columns belongs to"),
        ({"format": "txt", "columns": {"text": "a"}}, "columns belongs to"),
        ({"format": "csv", "columns": {"label": "a"}}, "must name the column of the field text"),
        ({"format": "csv", "columns": {"texd": "a"}}, "'text', 'label', 'source' or 'target'"),
        ({"format": "parallel"}, "target_paths belongs to"),
        ({"format": "txt", "target_paths": ("b",)}, "target_paths belongs to"),
        ({"format": "txt", "group_column": "a"}, "group_column belongs to"),
        ({"format": "tmx"}, "languages belongs to"),
        ({"format": "tmx", "languages": ("en",)}, "languages belongs to"),
        ({"format": "txt", "languages": ("en", "de")}, "languages belongs to"),
        ({"format": "csv", "columns": {"text": "a"}, "document": "line"}, "document belongs to"),
        ({"format": "jsonl", "columns": {"text": "a"}, "header": False}, "header belongs to"),
    ],
)
def test_options_that_contradict_the_format_are_refused(options: dict, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        LocalFilesConfig(paths=("a",), **options)
