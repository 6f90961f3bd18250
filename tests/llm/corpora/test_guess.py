"""What a name tells about a source, and what is asked for where it does not."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from llm.corpora.guess import guess_options
from llm.errors import CorpusError


@pytest.mark.parametrize(
    ("name", "content", "kind", "columns"),
    [
        ("a.txt", "Text.", "txt", None),
        ("a.md", "Text.", "txt", None),
        ("a.jsonl", '{"Body": "x", "team": "y", "id": 1}\n', "jsonl", {"text": "Body", "label": "team"}),
        ("a.csv", 'id,"message",Category\n1,x,y\n', "csv", {"text": "message", "label": "Category"}),
        ("a.tsv", "en\tde\ttranslation\n", "tsv", {"source": "en", "target": "translation"}),
    ],
)
def test_the_ending_tells_the_format_and_usual_names_the_columns(
    name: str, content: str, kind: str, columns: dict[str, str] | None, tmp_path: Path
) -> None:
    plain, packed, archive = tmp_path / name, tmp_path / f"{name}.gz", tmp_path / "a.zip"
    plain.write_text(content)
    packed.write_bytes(gzip.compress(content.encode()))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"folder/{name}", content)
    for path in (plain, packed, archive):
        options = guess_options(str(path))
        assert options["format"] == kind
        assert options.get("columns") == columns
        assert options["paths"] == [str(path)]


def test_the_schema_of_a_parquet_file_names_its_columns(tmp_path: Path) -> None:
    pd.DataFrame({"text": ["a"], "label": ["b"]}).to_parquet(tmp_path / "a.parquet")
    assert guess_options(str(tmp_path / "a.parquet"))["columns"] == {"text": "text", "label": "label"}


def test_a_built_in_corpus_goes_by_its_name() -> None:
    assert guess_options("plays") == {"source": "plays"}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.dat", "x", "its name does not tell the format"),
        ("a.csv", "id,name\n", "no column has a usual name; there are 'id', 'name'"),
        ("a.jsonl", "{", "its first line is not JSON"),
        ("a.jsonl", "", "its first line cannot be read: holds no byte"),
    ],
)
def test_what_cannot_be_guessed_is_asked_for(name: str, content: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=problem):
        guess_options(str(tmp_path / name))
