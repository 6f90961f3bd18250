"""What every entry of FAMILIES must do, on a small real corpus with the smoke recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from llm.errors import ConfigError, InputError, NightshiftError
from llm.evaluate import evidence_of, row_columns
from llm.evidence.attention import attention_maps, attention_pictures
from llm.evidence.base import drawn
from llm.families import FAMILIES, load_family
from llm.files import read_jsonl
from llm.model.folder import load_model
from llm.predictor import Predictor
from llm.stages import Stage
from llm.statistics.measures import is_better
from llm.training.config import AUGMENTATIONS
from llm.training.machine import deterministic
from llm.training.stage import training_stage

AUTO = {
    "LlamaForCausalLM": AutoModelForCausalLM,
    "BertForSequenceClassification": AutoModelForSequenceClassification,
    "PegasusForConditionalGeneration": AutoModelForSeq2SeqLM,
}


@pytest.mark.parametrize("name", list(FAMILIES))
def test_its_presets_are_recipes_of_its_own_that_ask_for_baselines_it_has(name: str) -> None:
    family = load_family(name)
    presets = family.presets()
    assert family.name == name
    assert {"smoke", "quick", "standard"} <= set(presets)
    for recipe in presets.values():
        assert recipe.family == name
        assert set(recipe.evaluation.must_beat) <= set(family.baselines)
    assert presets["quick"].evaluation.must_beat
    assert presets["standard"].evaluation.must_beat


def test_a_batch_plan_holds_every_row_within_the_budget(trained: Any) -> None:
    table = trained.table("train")
    # The budget holds before subwords are dropped, which makes texts longer.
    config = trained.recipe.training.model_copy(update=dict.fromkeys(AUGMENTATIONS, 0.0))
    plan = trained.family.plan(table, config, seed=1)
    for rows in plan:
        batch = trained.family.collate(table, rows, config)
        padded = max(tensor.numel() for tensor in batch.values())
        assert padded <= config.batch_tokens or len(rows) == 1
        assert torch.is_floating_point(batch["labels"]) is False
    flat = np.concatenate(plan)
    assert len(set(flat.tolist())) == flat.size


def test_its_loss_is_the_mean_cross_entropy_times_the_targets(trained: Any) -> None:
    table, config = trained.table("train"), trained.recipe.training
    torch.manual_seed(1)
    model = trained.family.build_model(trained.recipe, table, trained.text_tokenizer).eval()
    batch = trained.family.collate(table, trained.family.plan(table, config, seed=1)[0], config)
    loss = trained.family.loss(model, batch, label_smoothing=0.0)
    # Fresh weights know nothing: every class is about equally likely.
    classes = len(table.facts["labels"]) if "labels" in table.facts else trained.text_tokenizer.size
    assert loss.count == batch["labels"].numel()
    assert loss.total.item() / loss.count == pytest.approx(np.log(classes), rel=0.25)


def test_training_reports_its_curve_and_lowers_the_loss(trained: Any) -> None:
    losses = [values["validation_loss"] for _, values in trained.curve if "validation_loss" in values]
    assert len(losses) == 2
    assert losses[-1] < losses[0]
    assert trained.training.facts["steps"] == trained.recipe.training.steps


def test_a_second_training_is_reused(trained: Any) -> None:
    again = training_stage(
        trained.recipe,
        corpus=trained.corpus,
        tokens=trained.tokens,
        tokenizer=trained.tokenizer,
        root=trained.training.path.parents[1],
        report=lambda _step, _values: pytest.fail("trained again"),
    )
    assert again.reused
    assert again.key == trained.training.key


def test_the_folder_repeats_the_predictions_made_after_training(trained: Any) -> None:
    stored = json.loads((trained.training.path / "predictions.json").read_text())
    assert stored["inputs"]
    assert trained.predictor.predict(stored["inputs"]) == stored["answers"]


def test_the_folder_is_an_ordinary_hugging_face_folder_with_the_same_scores(trained: Any) -> None:
    config = json.loads((trained.folder / "config.json").read_text())
    twin = AUTO[config["architectures"][0]].from_pretrained(trained.folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(trained.folder)
    text = trained.rows("test")[0][trained.family.input_field]
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert ids[0].tolist() == trained.predictor.tokenizer.encode(text)
    model = load_model(trained.folder)
    with torch.inference_mode():
        extra = {"decoder_input_ids": torch.tensor([[0, 5, 6]])} if config.get("is_encoder_decoder") else {}
        expected = twin(input_ids=ids, **extra).logits
        found = model(ids, *extra.values())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_the_folder_holds_safetensors_and_json_only(trained: Any) -> None:
    endings = {path.suffix for path in trained.training.path.rglob("*") if path.is_file()}
    assert endings <= {".json", ".jsonl", ".safetensors"}


def test_answers_come_in_order_whatever_the_batches(trained: Any) -> None:
    texts = [row[trained.family.input_field] for row in trained.rows("test")][:6]
    greedy = {"temperature": 0.0, "max_new_tokens": 8} if "temperature" in trained.family.params.model_fields else {}
    together = trained.predictor.predict(texts, **greedy)
    alone = [trained.predictor.predict([text], **greedy)[0] for text in texts]
    assert _labels(together) == _labels(alone)


def _labels(answers: list[object]) -> list[object]:
    return [answer["label"] if isinstance(answer, dict) else answer for answer in answers]


def test_evaluation_in_a_process_of_its_own_gives_the_metric_that_decides(trained: Any, evaluated: Stage) -> None:
    here = trained.family.evaluate(trained.predictor, trained.rows("test"))
    assert trained.family.metric.name in evaluated.facts["metrics"]
    assert evaluated.facts["metrics"] == pytest.approx(here.metrics, rel=1e-5)


def test_an_unknown_parameter_is_refused_by_name(trained: Any) -> None:
    with pytest.raises(ConfigError, match="temperatur_e"):
        trained.predictor.predict(["a"], temperatur_e=1)


def test_input_that_is_too_long_is_told_not_cut(trained: Any) -> None:
    with pytest.raises(InputError, match=r"text 1 .*tokens"):
        trained.predictor.predict(["short", "word " * 3000])


@pytest.mark.parametrize("texts", [[""], ["short", " \n"]])
def test_an_empty_text_is_told(trained: Any, texts: list[str]) -> None:
    with pytest.raises(InputError, match=f"text {len(texts) - 1} is empty"):
        trained.predictor.predict(texts)


@pytest.mark.parametrize("text", [None, 3, ["a"], b"a"])
def test_what_is_no_text_is_told(trained: Any, text: object) -> None:
    with pytest.raises(InputError, match=f"text 1 is {type(text).__name__}, not str"):
        trained.predictor.predict(["short", text])


def test_input_that_fits_only_without_what_is_to_be_written_is_told_not_cut(trained: Any) -> None:
    predictor = trained.predictor
    words = next(
        n for n in range(1, 400) if len(predictor.tokenizer.encode("house " * n)) > predictor.max_positions - 8
    )
    text = "house " * (words - 1)
    if "max_new_tokens" in trained.family.params.model_fields and trained.family.target_field == "text":
        with pytest.raises(InputError, match=r"the model takes 226 beside max_new_tokens = 30 \(256 in all\)"):
            predictor.predict([text], max_new_tokens=30)
    else:
        assert predictor.predict([text])


def test_a_long_text_is_shortened_to_what_the_model_takes_and_a_short_one_is_left_alone(trained: Any) -> None:
    predictor = trained.predictor
    assert predictor.shortened("house river") == "house river"
    short = predictor.shortened("house " * 3000)
    assert 50 < len(short) < 3000
    assert ("house " * 3000).startswith(short)
    predictor.check([short], trained.family.params())


def test_an_answer_that_is_streamed_is_the_answer_in_pieces(trained: Any) -> None:
    predictor = trained.predictor
    if "max_new_tokens" not in trained.family.params.model_fields:
        with pytest.raises(InputError, match="writes no text"):
            predictor.stream("house river")
        return
    for params in ({"temperature": 0.0, "num_beams": 1}, {"temperature": 1.0, "num_beams": 1}, {"num_beams": 3}):
        values = {"max_new_tokens": 20, "temperature": 0.0, **params}
        pieces = list(predictor.stream("house {river} stone", **values))
        assert "".join(pieces) == predictor.predict(["house {river} stone"], **values)[0]
        assert all(pieces)
    with pytest.raises(InputError, match="text 0 is empty"):
        predictor.stream("")


def test_requests_that_are_answered_together_get_the_answers_they_get_alone(trained: Any) -> None:
    predictor = trained.predictor
    texts = [row[trained.family.input_field][:60] for row in trained.rows("test")][:7]
    requests = [texts[:1], texts[1:4], texts[4:]]
    draws = {"temperature": 1.0, "max_new_tokens": 12} if "temperature" in trained.family.params.model_fields else {}
    if "num_beams" in trained.family.params.model_fields:
        draws["num_beams"] = 1
    config = predictor.parse_params(draws)
    assert predictor.engine.independent(config)
    together = predictor.answer_together(requests, config)
    assert [_labels(answers) for answers in together] == [
        _labels(predictor.predict(request, **draws)) for request in requests
    ]


def test_one_text_instead_of_a_list_is_refused(trained: Any) -> None:
    with pytest.raises(InputError, match="list"):
        trained.predictor.predict("one text")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "nightshift.json"])
def test_a_missing_or_cut_file_is_named(trained: Any, tmp_path: Path, name: str) -> None:
    for path in trained.folder.iterdir():
        data = path.read_bytes()
        (tmp_path / path.name).write_bytes(data[: len(data) // 2] if path.name == name else data)
    with pytest.raises(NightshiftError, match=name.replace(".", r"\.")) as caught:
        Predictor.load(tmp_path)
    assert caught.value.remedy


def test_the_columns_of_the_test_rows_add_up_to_the_metric_that_decides(trained: Any, evaluated: Stage) -> None:
    columns, metric = row_columns(evaluated), trained.family.metric
    assert columns.shape == (len(trained.rows("test")), len(metric.columns))
    assert float(metric.value(columns.sum(axis=0))) == pytest.approx(evaluated.facts["metrics"][metric.name], rel=1e-6)


def test_every_metric_is_a_figure_of_sums_over_the_test_rows_and_has_an_interval_about_it(
    trained: Any, evaluated: Stage
) -> None:
    found = trained.family.evaluate(trained.predictor, trained.rows("test"))
    assert {name: one.figure() for name, one in found.sums.items()} == pytest.approx(found.metrics, rel=1e-6)
    assert {one.rows for one in found.sums.values()} == {len(trained.rows("test"))}
    assert set(evaluated.facts["intervals"]) == set(evaluated.facts["metrics"])
    for name, (low, high) in evaluated.facts["intervals"].items():
        assert low <= evaluated.facts["metrics"][name] <= high


def test_slices_are_masks_over_the_rows_and_none_depends_on_what_a_model_answers(trained: Any) -> None:
    rows = trained.rows("test")
    slices = trained.family.slices(rows)
    assert len(slices) >= 3
    for mask in slices.values():
        assert (mask.shape, mask.dtype) == ((len(rows),), np.dtype(bool))
    lengths = [mask for name, mask in slices.items() if name.startswith("length: ")]
    assert (np.sum(lengths, axis=0) == 1).all()


def test_metrics_compare_in_the_right_direction() -> None:
    directions = {name: load_family(name).metric.higher_is_better for name in FAMILIES}
    assert directions["translation"]
    assert directions["classification"]
    assert not directions["generation"]
    assert is_better(load_family("generation").metric, 1.9, 2.0)
    assert not is_better(load_family("generation").metric, 2.0, 2.0)
    assert is_better(load_family("translation").metric, 21.0, 20.0)


def test_its_evidence_has_samples_tables_pictures_and_figures_for_everyone(trained: Any, evaluated: Stage) -> None:
    found = evidence_of(evaluated)
    assert found["figures"]
    assert all(np.isfinite(value) for value in found["figures"].values())
    titles = [table["title"] for table in found["tables"]]
    assert len(titles) == len(set(titles)) >= 3
    assert "Worst and best test rows" in titles
    for table in found["tables"]:
        assert table["note"]
        assert all(len(row) == len(table["head"]) for row in table["rows"])
    assert max(len(table["rows"]) for table in found["tables"]) >= min(20, len(trained.rows("test")))
    folder = evaluated.path / "evidence"
    names = sorted(["evidence.json", "attention.jsonl", *found["pictures"]])
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all(path.stat().st_size < 100_000 for path in folder.glob("*.png"))


def test_it_reads_a_test_row_as_in_training_and_names_the_tokens(trained: Any) -> None:
    predictor, row = trained.predictor, trained.rows("test")[0]
    tokenizer, config = trained.text_tokenizer, trained.recipe.training
    config = config.model_copy(update={**dict.fromkeys(AUGMENTATIONS, 0.0), "context": 32})
    table = trained.family.tokenize([row], tokenizer, trained.family.survey(trained.rows("test"), tokenizer))
    batch = trained.family.collate(table, np.zeros(1, dtype=np.int64), config)
    read = trained.family.read(predictor, row, longest=32)
    assert read == [batch[name].tolist()[0] for name in ("ids", "source", "target") if name in batch]
    assert [ids[:2] for ids in read] == trained.family.read(predictor, row, longest=2)


def test_attention_maps_are_named_numbered_and_the_same_when_they_are_made_again(
    trained: Any, evaluated: Stage
) -> None:
    folder, rows = evaluated.path / "evidence", trained.rows("test")
    pictures = [name for name in evidence_of(evaluated)["pictures"] if name.startswith("attention_")]
    lines = list(read_jsonl(folder / "attention.jsonl"))
    assert len(pictures) == len({line["kind"] for line in lines}) > 0
    assert [line["row"] for line in lines if line["kind"] == lines[0]["kind"]] == drawn(len(rows), most=4)
    for line in lines:
        heads = np.array(line["heads"])
        assert heads.shape == (line["total_heads"], len(line["queries"]["tokens"]), len(line["keys"]["tokens"]))
        if line["keys"]["total"] == heads.shape[2]:
            assert heads.sum(axis=2) == pytest.approx(np.ones(heads.shape[:2]), abs=0.01)
    with deterministic(1):
        maps = attention_maps(trained.predictor, rows)
    assert [json.loads(json.dumps(one.facts())) for one in maps] == lines
    again = attention_pictures(maps, family=trained.family.name)
    assert {name: (folder / name).read_bytes() for name in pictures} == again


def test_attention_maps_change_no_answer_and_leave_no_hook(trained: Any) -> None:
    predictor, rows = trained.predictor, trained.rows("test")[:4]
    texts = [row[trained.family.input_field][:40] for row in rows]
    short = {"max_new_tokens": 8} if "max_new_tokens" in trained.family.params.model_fields else {}
    before = predictor.predict(texts, **short)
    attention_maps(predictor, rows)
    assert predictor.predict(texts, **short) == before
    assert not any(module._forward_pre_hooks for module in predictor.model.modules())


def test_its_evidence_is_the_same_when_it_is_made_again(trained: Any, evaluated: Stage) -> None:
    predictor, rows = trained.predictor, trained.rows("test")
    again = trained.family.evidence(predictor, rows, trained.family.evaluate(predictor, rows), trained.rows("train"))
    assert dict(again.figures) == pytest.approx(evidence_of(evaluated)["figures"], rel=1e-4)
