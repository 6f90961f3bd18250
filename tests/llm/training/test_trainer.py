"""Training learns, repeats itself to the bit, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from copying import VOCABULARY, KilledError, copy_table, options, same_bits, train, train_and_tell

from llm.engines.torch_engine import TorchEngine
from llm.errors import TrainingError
from llm.families.translation import Translation
from llm.model.config import EncoderDecoderConfig
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.model.products import Products, choose_products
from llm.predictor import Predictor
from llm.tokenizer import EOS_ID, TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer
from llm.tokens import Survey, TokenColumn, TokenTable
from llm.training.trainer import Trainer


def test_the_same_seed_gives_bit_identical_weights_and_another_does_not(tmp_path: Path) -> None:
    first, _ = train(tmp_path / "1", options())
    torch.rand(7)  # whatever else the process draws must not matter
    second, _ = train(tmp_path / "2", options())
    other, _ = train(tmp_path / "3", options(seed=2))
    assert same_bits(first, second)
    assert not same_bits(first, other)


@pytest.mark.parametrize("kill_at", [3, 7, 13, 23])
def test_a_killed_training_ends_in_the_weights_of_an_unbroken_one(tmp_path: Path, kill_at: int) -> None:
    whole, unbroken = train(tmp_path / "whole", options())
    with pytest.raises(KilledError):
        train(tmp_path / "killed", options(), kill_at=kill_at)
    resumed, trainer = train(tmp_path / "killed", options())
    assert same_bits(whole, resumed)
    losses = [
        [point["training_loss"] for point in run.progress.history if "training_loss" in point]
        for run in (unbroken, trainer)
    ]
    assert losses[0] == losses[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("kill_at", [3, 13])
def test_on_a_gpu_too_a_killed_training_ends_in_the_weights_of_an_unbroken_one(tmp_path: Path, kill_at: int) -> None:
    config = options(device="cuda", precision="auto")
    whole, _ = train(tmp_path / "whole", config)
    with pytest.raises(KilledError):
        train(tmp_path / "killed", config, kill_at=kill_at)
    resumed, _ = train(tmp_path / "killed", config)
    assert same_bits(whole, resumed)


@pytest.mark.parametrize("kill_at", [7, 13])
@pytest.mark.parametrize(
    "changes", [{"optimizer": "muon"}, {"average": 0.9}, {"targets": 4000, "decay": "late"}], ids=str
)
def test_every_part_of_the_state_goes_on_after_a_kill(tmp_path: Path, changes: dict[str, object], kill_at: int) -> None:
    whole, unbroken = train(tmp_path / "whole", options(**changes))
    with pytest.raises(KilledError):
        train(tmp_path / "killed", options(**changes), kill_at=kill_at)
    resumed, trainer = train(tmp_path / "killed", options(**changes))
    assert same_bits(whole, resumed)
    assert trainer.progress.targets == unbroken.progress.targets
    plain, _ = train(tmp_path / "plain", options())
    assert not same_bits(whole, plain)


def test_a_number_of_targets_ends_the_training(tmp_path: Path) -> None:
    _, trainer = train(tmp_path, options(targets=600))
    assert trainer.progress.step < 24
    assert trainer.progress.targets >= 600
    # The last step is validated and written, wherever it falls.
    assert trainer.progress.history[-1].keys() == {"step", "validation_loss"}
    assert (tmp_path / f"step-{trainer.progress.step:08d}").is_dir()


def test_minutes_end_the_training(tmp_path: Path) -> None:
    _, trainer = train(tmp_path, options(steps=1000, warmup=0, minutes=1e-9))
    assert trainer.progress.step == 1
    assert trainer.progress.best_step == 1


def in_hours(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


def test_a_time_to_end_at_ends_the_training_with_what_it_has_learned_validated_and_written(tmp_path: Path) -> None:
    _, trainer = train(tmp_path, options(steps=1000, warmup=0), until=in_hours(-1))
    progress = trainer.progress
    assert (progress.step, progress.best_step, progress.clocked) == (1, 1, True)
    assert (tmp_path / "step-00000001").is_dir()


def test_the_learning_rate_falls_towards_the_time_to_end_at(tmp_path: Path) -> None:
    _, trainer = train(tmp_path, options(steps=10**6, warmup=0), until=in_hours(2 / 3600))
    rates = [point["learning_rate"] for point in trainer.progress.history if "learning_rate" in point]
    assert trainer.progress.step < 10**6
    assert rates[-1] < options().learning_rate / 2


@pytest.mark.parametrize(
    ("changes", "hours"),
    [({"targets": 600}, None), ({"warmup": 0, "minutes": 1e-9}, None), ({"warmup": 0}, -1.0)],
    ids=["targets", "minutes", "clock"],
)
def test_reports_say_how_much_of_the_budget_is_used_whatever_ends_it(
    tmp_path: Path, changes: dict[str, object], hours: float | None
) -> None:
    told: list[tuple[float, float]] = []

    def report(step: int, values: Mapping[str, float]) -> None:
        told.append((values["budget_used"], values["seconds_left"]))

    config = options(**{"steps": 1000, **changes})
    _, trainer = train_and_tell(tmp_path, config, report, until=None if hours is None else in_hours(hours))
    assert trainer.progress.step < 100
    assert told[-1] == (1.0, 0.0)
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert not any("budget_used" in point for point in trainer.progress.history)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_training_without_a_finite_validation_loss_fails_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    monkeypatch.setattr("llm.training.trainer.validation_loss", lambda *_, **__: math.nan)
    with pytest.raises(TrainingError, match="in 6 steps no validation loss was finite") as caught:
        train(tmp_path, options(steps=6, validate_every=2, keep=keep))
    assert "lower training.learning_rate" in caught.value.remedy


def test_a_training_that_is_over_long_before_its_time_has_the_weights_of_one_without(tmp_path: Path) -> None:
    plain, _ = train(tmp_path / "plain", options())
    with pytest.raises(KilledError):
        train(tmp_path / "timed", options(), kill_at=13, until=in_hours(24))
    timed, trainer = train(tmp_path / "timed", options(), until=in_hours(24))
    assert same_bits(plain, timed)
    assert not trainer.progress.clocked


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, _ = train(tmp_path / "whole", options())
    with pytest.raises(KilledError):
        train(tmp_path / "killed", options(), kill_at=13)
    newest = tmp_path / "killed" / "step-00000012" / "state.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        resumed, _ = train(tmp_path / "killed", options())
    assert "step-00000012" in caplog.text
    assert same_bits(whole, resumed)


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    train(tmp_path, options(keep_checkpoints=2))
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000018", "step-00000024"]
    state = json.loads((tmp_path / "step-00000024" / "state.json").read_text())
    assert state["progress"]["step"] == 24


def test_accumulated_small_batches_take_the_step_of_one_large_batch(tmp_path: Path) -> None:
    # All rows are of one length, so the budget alone decides how many rows a batch holds.
    rows = [[5 + i % 9, 6, 7, EOS_ID] for i in range(8)]
    table = TokenTable(columns={"source": TokenColumn.of(rows), "target": TokenColumn.of(rows)})
    weights = []
    for accumulation in (1, 2):
        torch.manual_seed(1)
        sizes = EncoderDecoderConfig(
            width=32, heads=2, encoder_layers=1, decoder_layers=1, feed_forward=64, max_positions=32
        )
        model = EncoderDecoderModel(sizes, VOCABULARY).double()
        config = options(
            steps=1, warmup=0, validate_every=1, batch_tokens=64 // accumulation, accumulation=accumulation
        )
        trainer = Trainer(
            family=Translation(),
            model=model,
            train=table,
            validation=table,
            config=config,
            folder=tmp_path / str(accumulation),
            report=lambda _step, _values: None,
        )
        trainer.run()
        weights.append(model)
    for one, other in zip(weights[0].parameters(), weights[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=0)


def test_the_time_left_is_told_during_the_warm_up_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="llm.training.trainer")
    train(tmp_path, options(steps=8, warmup=6, validate_every=2))
    told = [line for line in caplog.messages if "validation loss" in line]
    assert len(told) == 4
    assert all(re.search(r", about \d+ s left$", line) for line in told)
    assert told[-1].endswith("about 0 s left")


def test_training_stops_when_validation_has_not_improved_for_long(tmp_path: Path) -> None:
    # A learning rate that wrecks the model: the first validation stays the best.
    config = options(steps=60, learning_rate=1.0, warmup=0, decay="constant", validate_every=2, patience=3)
    _, trainer = train(tmp_path, config)
    assert trainer.progress.step < 60
    assert trainer.progress.stale == 3
    assert trainer.progress.best_step == trainer.progress.step - 6


def test_the_best_or_the_last_weights_come_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every validation is worse than the one before, so the first stays the best.
    losses = count()
    monkeypatch.setattr("llm.training.trainer.validation_loss", lambda *_, **__: float(next(losses)))
    short = {"steps": 6, "validate_every": 2}
    best, trainer = train(tmp_path / "best", options(**short))
    last, _ = train(tmp_path / "last", options(**short, keep="last"))
    again, _ = train(tmp_path / "last", options(**short, keep="last"))  # all done: its checkpoint alone is read
    assert trainer.progress.best_step == 2
    assert not same_bits(best, last)
    assert same_bits(last, again)
    assert not last.training


def test_the_last_weights_are_the_mean_where_one_is_kept(tmp_path: Path) -> None:
    plain, _ = train(tmp_path / "plain", options(keep="last"))
    mean, trainer = train(tmp_path / "mean", options(keep="last", average=0.9))
    assert not same_bits(plain, mean)
    # What was trained lies where the mean was, and the mean in the model.
    means = trainer.trained.average.means
    assert all(torch.equal(means[name], weight) for name, weight in plain.named_parameters())


def test_a_train_split_without_a_batch_is_refused(tmp_path: Path) -> None:
    empty = TokenTable(columns={name: TokenColumn.of([]) for name in ("source", "target")})
    torch.manual_seed(1)
    sizes = EncoderDecoderConfig(
        width=32, heads=2, encoder_layers=1, decoder_layers=1, feed_forward=64, max_positions=32
    )
    trainer = Trainer(
        family=Translation(),
        model=EncoderDecoderModel(sizes, VOCABULARY),
        train=empty,
        validation=copy_table(4, seed=1),
        config=options(),
        folder=tmp_path,
        report=lambda _step, _values: None,
    )
    with pytest.raises(TrainingError, match="train split"):
        trainer.run()


def test_a_tiny_encoder_decoder_learns_to_copy(tmp_path: Path) -> None:
    """The whole way in seconds: train, then translate text that was never seen, by beam search."""
    letters = "abcdefghij"
    random = np.random.default_rng(3)

    def words(count: int) -> list[str]:
        return [" ".join(random.choice(list(letters), size=random.integers(2, 6))) for _ in range(count)]

    seen, unseen = words(1500), words(60)
    unseen = [text for text in unseen if text not in set(seen)]
    family = Translation()
    tokenizer = TextTokenizer(train_tokenizer(seen, TokenizerConfig(vocabulary=300), template=family.template))
    rows = [[{"source": t, "target": t} for t in texts] for texts in (seen, unseen)]
    tables = [family.tokenize(part, tokenizer, Survey()) for part in rows]
    torch.manual_seed(1)
    sizes = EncoderDecoderConfig(
        width=64, heads=4, encoder_layers=1, decoder_layers=1, feed_forward=128, max_positions=64
    )
    model = EncoderDecoderModel(sizes, tokenizer.size)
    trainer = Trainer(
        family=family,
        model=model,
        train=tables[0],
        validation=tables[1],
        config=options(steps=400, batch_tokens=1024, warmup=40, validate_every=100, learning_rate=5e-3),
        folder=tmp_path,
        report=lambda _step, _values: None,
    )
    trainer.run()
    engine = TorchEngine(model)
    predictor = Predictor(family=family, model=model, tokenizer=tokenizer, description={}, engine=engine)
    answers = predictor.predict(unseen, max_new_tokens=32)
    right = sum(answer == text for answer, text in zip(answers, unseen, strict=True))
    assert len(unseen) >= 20
    assert right / len(unseen) >= 0.9


def test_how_many_kernels_stay_is_limited_before_the_first_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    limits = []

    def choose(precision: Literal["auto", "float32", "bfloat16"], device: torch.device) -> Products:
        limits.append(os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY"))
        return choose_products(precision, device)

    monkeypatch.setattr("llm.training.trainer.choose_products", choose)
    train(tmp_path, options())
    assert limits == ["512"]
