"""A YAML file that says what the nights do: presets, files of options and options, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.configuration import load_config
from flows.nights_file import load_nights
from llm.corpora.local_files import LocalFilesConfig
from llm.errors import ConfigError

SUPPORT = """
corpus:
  source: local_files
  format: csv
  paths: [/data/tickets/*.csv]
  columns: {text: body, label: team}
training:
  steps: 3000
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "nights.yaml"
    file.write_text(text)
    return file


def test_each_family_has_its_preset_then_its_file_then_its_own_options(tmp_path: Path) -> None:
    (tmp_path / "support.yaml").write_text(SUPPORT)
    found = load_nights(
        written(
            tmp_path,
            """
            finish_by: "06:00"
            keep_days: 60
            families:
            - family: classification
              preset: small
              config: support.yaml
              training: {learning_rate: 0.0005}
            - family: translation
            """,
        )
    )
    assert (found.finish_by, found.keep_days) == ("06:00", 60)
    tickets, translation = found.families
    assert isinstance(tickets.corpus, LocalFilesConfig)
    assert tickets.corpus.paths == ("/data/tickets/*.csv",)
    assert (tickets.training.steps, tickets.training.learning_rate, tickets.training.made_texts) == (3000, 0.0005, True)
    assert translation == load_config("translation", preset="standard")


def test_paths_start_from_where_the_file_is_read_and_not_from_where_the_night_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows").mkdir()
    found = load_nights(
        written(
            tmp_path,
            """
            families:
            - family: classification
              preset: pretrained
              corpus: {source: hub_dataset, name: rows, columns: {text: body, label: team}}
              model: {weights: {kind: folder, path: weights/mini}}
              cleaning: {keep_out: [{format: txt, paths: [bench/*.txt, /data/b.txt]}]}
            - family: translation
              corpus: {source: local_files, format: parallel, paths: [s3://b/en], target_paths: [de.txt]}
            """,
        )
    ).model_dump(mode="json")
    tickets, translation = found["families"]
    assert tickets["corpus"]["name"] == f"{tmp_path}/rows"
    assert tickets["model"]["weights"]["path"] == f"{tmp_path}/weights/mini"
    assert tickets["cleaning"]["keep_out"][0]["paths"] == [f"{tmp_path}/bench/*.txt", "/data/b.txt"]
    assert (translation["corpus"]["paths"], translation["corpus"]["target_paths"]) == (
        ["s3://b/en"],
        [f"{tmp_path}/de.txt"],
    )


@pytest.mark.parametrize("address", ["https://h.example/a.txt?key=s3cret", "https://u:s3cret@h.example/a.txt"])
def test_an_address_that_may_hold_a_secret_is_refused_and_not_shown(tmp_path: Path, address: str) -> None:
    corpus = f"{{source: local_files, format: txt, paths: ['{address}']}}"
    with pytest.raises(ConfigError, match="entry 1 of families: an address in paths holds a login, a query") as caught:
        load_nights(written(tmp_path, f"families: [{{family: generation, corpus: {corpus}}}]"))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("hour", "means"), [("22:30", "22:30"), ("06:00", "06:00"), ("'00:30'", "00:30")])
def test_an_hour_needs_no_quotes(tmp_path: Path, hour: str, means: str) -> None:
    found = load_nights(written(tmp_path, f"finish_by: {hour}\nfamilies: [{{family: generation}}]"))
    assert found.finish_by == means


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "families is no list of entries"),
        ("families: classification", "families is no list of entries"),
        ("families: [classification]", "families is no list of entries"),
        ("families: []", "families = []: List should have at least 1 item"),
        ("families: [{preset: quick}]", "entry 1 of families: family = None, but must be a name"),
        ("families: [{family: poetry}]", "entry 1 of families: there is no family 'poetry'"),
        ("families: [{family: generation, preset: 3}]", "entry 1 of families: preset = 3, but must be a name"),
        ("families: [{family: generation, preset: huge}]", "generation has no preset 'huge'"),
        ("families: [{family: generation, config: gone.yaml}]", "gone.yaml: cannot be read"),
        (
            "families: [{family: translation}, {family: generation, training: {stepz: 3}}]",
            "entry 2 of families: options training={'stepz': 3}: there is no option 'training.stepz'",
        ),
        ("families: [{family: generation}]\nfinish_by: 25:00", "finish_by = '25:00': String should match pattern"),
        ("families: [{family: generation}]\nfinish: 06:00", "there is no option 'finish'"),
        ("families: [{family: generation}, {family: generation}]", "generation is there twice"),
    ],
)
def test_what_is_wrong_is_told_with_the_file_the_entry_and_the_value(tmp_path: Path, text: str, told: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_nights(file)
    assert caught.value.problem.startswith(f"{file}: ")
    assert told in caught.value.problem
    assert caught.value.remedy
