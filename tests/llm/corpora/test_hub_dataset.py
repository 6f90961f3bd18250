"""Datasets as `datasets` reads them: folders for real, the hub by what is asked of it."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from pydantic import ValidationError

from llm.corpora.base import Record
from llm.corpora.hub_dataset import HubDataset, HubDatasetConfig
from llm.errors import CorpusError
from llm.files import sha256_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
COLUMNS = {"text": "sentence", "label": "tag"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "tag": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = {"sentence": ["One", "Two", "Three"], "tag": [1, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train-0.parquet")
    datasets.Dataset.from_dict({"sentence": ["Four"], "tag": [0]}, features=features).to_parquet(
        folder / "test-0.parquet"
    )
    return folder


def test_rows_of_the_split_become_records_and_labels_their_names(folder: Path, tmp_path: Path) -> None:
    config = HubDatasetConfig(name=str(folder), columns=COLUMNS)
    records = list(HubDataset().records(config, downloads=tmp_path))
    assert records == [
        Record(None, {"text": text, "label": label})
        for text, label in [("One", "yes"), ("Two", "no"), ("Three", "yes")]
    ]
    assert [record.position for record in records] == [1, 2, 3]
    other = HubDatasetConfig(name=str(folder), columns=COLUMNS, split="test")
    assert [record.fields["text"] for record in HubDataset().records(other, downloads=tmp_path)] == ["Four"]


def test_the_content_of_a_folder_is_that_of_its_files(folder: Path) -> None:
    config = HubDatasetConfig(name=str(folder), columns=COLUMNS)
    found = HubDataset().content(config, checksum=sha256_of)
    assert found == {str(path): sha256_of(path) for path in sorted(folder.iterdir())}


def test_at_the_hub_the_commit_stands_for_the_content() -> None:
    one, other = (
        HubDataset().content(HubDatasetConfig(name="someone/some", revision=r, columns=COLUMNS), checksum=sha256_of)
        for r in (COMMIT, COMMIT[::-1])
    )
    assert list(one) == [f"someone/some@{COMMIT}"]
    assert set(one.values()) != set(other.values())


@pytest.mark.parametrize("revision", [None, "main", COMMIT[:8]])
def test_a_name_without_a_commit_is_refused(revision: str | None) -> None:
    with pytest.raises(ValidationError, match="revision must be a commit of 40 hexadecimal digits"):
        HubDatasetConfig(name="someone/some", revision=revision, columns=COLUMNS)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"split": "dev"}, "not readable as a dataset"),
        ({"columns": {"text": "body"}}, "there is no column 'body'"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, tmp_path: Path, options: dict, problem: str) -> None:
    config = HubDatasetConfig(**{"name": str(folder), "columns": COLUMNS, **options})
    with pytest.raises(CorpusError, match=problem):
        list(HubDataset().records(config, downloads=tmp_path))
