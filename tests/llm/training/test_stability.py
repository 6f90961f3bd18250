"""Bad batches and a bad learning rate: what is skipped, what is gone back from, and what fails."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from copying import VOCABULARY, KilledError, copy_table, options, same_bits, train

from llm.errors import TrainingError
from llm.families.base import LossSum
from llm.families.translation import Translation
from llm.model.config import EncoderDecoderConfig
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.training.stability import Policy, Stability, finite
from llm.training.trainer import Trainer

_SEED = 1_000_003  # of the first epoch, where training.seed is 1


class Planted(Translation):
    """Multiplies the loss of the batches at these places, counted over all epochs, by `factor`.

    At the place `interrupted_at`, SIGINT comes.
    """

    def __init__(self, places: Iterable[int], factor: float, *, interrupted_at: int | None = None) -> None:
        self.places = frozenset(places)
        self.factor = factor
        self.interrupted_at = interrupted_at
        self.numbers: dict[bytes, int] = {}

    def plan(self, table, config, *, seed):
        plan = super().plan(table, config, seed=seed)
        if seed >= _SEED:
            first = (seed - _SEED) * len(plan)
            self.numbers |= {rows.tobytes(): first + number for number, rows in enumerate(plan)}
        return plan

    def collate(self, table, rows, config):
        place = self.numbers.get(rows.tobytes(), -1) if len(table.columns["source"]) == 300 else -1
        return super().collate(table, rows, config) | {"place": torch.tensor(place)}

    def loss(self, model, batch, *, label_smoothing):
        found = super().loss(model, batch, label_smoothing=label_smoothing)
        place = int(batch["place"])
        if place == self.interrupted_at:
            signal.raise_signal(signal.SIGINT)
        return LossSum(found.total * (self.factor if place in self.places else 1.0), found.count)


def train_on(
    folder: Path,
    places: Iterable[int],
    factor: float,
    *,
    kill_at: int = 10**9,
    interrupted_at: int | None = None,
    policy: Policy | None = None,
    told: list | None = None,
    **changes,
) -> Trainer:
    config = options(steps=48, **changes)
    torch.manual_seed(config.seed)
    sizes = EncoderDecoderConfig(
        width=32, heads=2, encoder_layers=1, decoder_layers=1, feed_forward=64, max_positions=32, dropout=0.1
    )

    def report(step, values):
        if told is not None:
            told.append((step, dict(values)))
        if step >= kill_at and "training_loss" in values:
            raise KilledError

    trainer = Trainer(
        family=Planted(places, factor, interrupted_at=interrupted_at),
        model=EncoderDecoderModel(sizes, VOCABULARY),
        train=copy_table(300, seed=1),
        validation=copy_table(40, seed=2),
        config=config,
        folder=folder,
        report=report,
    )
    trainer.policy = policy or Policy(skips=3, high=3, window=4)
    trainer.run()
    return trainer


def finite_weights(trainer: Trainer) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in trainer.model.state_dict().values())


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_step_that_is_not_finite_changes_no_weights_and_is_counted(tmp_path, factor, caplog):
    trainer = train_on(tmp_path, {9, 20}, factor)
    assert finite_weights(trainer)
    assert (trainer.progress.step, trainer.progress.stability.skipped, trainer.progress.stability.rollbacks) == (
        48,
        2,
        0,
    )
    assert trainer.progress.history[-2]["skipped_steps"] == 2.0
    skipped = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert [line.split(":")[0] for line in skipped] == ["step 10 skipped", "step 21 skipped"]


def test_steps_in_a_row_that_are_not_finite_send_the_training_back_and_past_their_batches(tmp_path, caplog):
    trainer = train_on(tmp_path, range(14, 17), math.nan)
    assert finite_weights(trainer)
    found = trainer.progress.stability
    assert (trainer.progress.step, found.skipped, found.rollbacks) == (48, 3, 1)
    (line,) = [record.getMessage() for record in caplog.records if "back to" in record.getMessage()]
    assert line.startswith("step 17: loss nan, learning rate ")
    assert "3 steps in a row were not finite; back to step 12, past the batches since then and with 0.5 of" in line


def test_a_spike_of_the_loss_sends_the_training_back(tmp_path):
    trainer = train_on(tmp_path, range(14, 17), 20.0)
    assert (trainer.progress.stability.skipped, trainer.progress.stability.rollbacks) == (0, 1)


def test_trouble_before_the_first_checkpoint_sends_the_training_back_to_its_beginning(tmp_path, caplog):
    trainer = train_on(tmp_path, range(1, 4), math.nan)
    assert "back to step 0" in caplog.text
    assert (trainer.progress.step, trainer.progress.stability.rollbacks) == (48, 1)
    assert finite_weights(trainer)


def test_a_checkpoint_that_falls_into_trouble_is_not_the_one_to_go_back_to(tmp_path, caplog):
    # The validation at step 18 comes after the second bad step of three.
    train_on(tmp_path, range(16, 19), math.nan)
    assert "back to step 12" in caplog.text


@pytest.mark.parametrize("kill_at", [13, 19, 30])
def test_a_training_that_was_killed_decides_the_same(tmp_path, kill_at):
    whole = train_on(tmp_path / "whole", range(14, 17), math.nan)
    with pytest.raises(KilledError):
        train_on(tmp_path / "killed", range(14, 17), math.nan, kill_at=kill_at)
    again = train_on(tmp_path / "killed", range(14, 17), math.nan)
    assert same_bits(whole.model, again.model)
    assert asdict(whole.progress.stability) == asdict(again.progress.stability)


# At 0 no optimizer has anything to remember yet; at 3 the training goes back, to its beginning.
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_training_that_was_interrupted_in_trouble_goes_on_and_decides_the_same(tmp_path, at):
    whole = train_on(tmp_path / "whole", range(3), math.nan)
    assert whole.progress.stability.rollbacks == 1
    with pytest.raises(KeyboardInterrupt):
        train_on(tmp_path / "broken", range(3), math.nan, interrupted_at=at)
    again = train_on(tmp_path / "broken", range(3), math.nan)
    assert same_bits(whole.model, again.model)
    assert asdict(whole.progress.stability) == asdict(again.progress.stability)


@pytest.mark.parametrize("keep_checkpoints", [1, 2])
@pytest.mark.parametrize("at", [[15], [15, 16]], ids=["once", "twice"])
def test_the_checkpoint_to_go_back_to_outlives_those_of_interruptions_amid_trouble(
    tmp_path, at, keep_checkpoints, caplog
):
    changes = {"validate_every": 12, "keep_checkpoints": keep_checkpoints, "policy": Policy(skips=4, window=4)}
    whole = train_on(tmp_path / "whole", range(14, 18), math.nan, **changes)
    for place in at:
        with pytest.raises(KeyboardInterrupt):
            train_on(tmp_path / "broken", range(14, 18), math.nan, interrupted_at=place, **changes)
    again = train_on(tmp_path / "broken", range(14, 18), math.nan, **changes)
    assert [line for line in caplog.messages if "back to step" in line and "back to step 12" not in line] == []
    assert same_bits(whole.model, again.model)
    # Afterwards there are no more than asked for.
    assert len(list((tmp_path / "broken").glob("step-*"))) == keep_checkpoints


def test_after_a_roll_back_every_report_says_how_many_there_were(tmp_path):
    told = []
    train_on(tmp_path, range(14, 17), math.nan, told=told)
    steps = [step for step, _ in told]
    back = next(number for number in range(1, len(steps)) if steps[number] < steps[number - 1])
    assert steps[back - 1] > 12
    assert steps[back] == 13
    assert not any(values.get("rollbacks") for _, values in told[:back])
    assert all(values["rollbacks"] == 1.0 for _, values in told[back:])
    assert all(next(iter(values)) == "skipped_steps" for _, values in told[back:])
    assert any("validation_loss" in values for _, values in told[back:])


def test_trouble_that_does_not_end_fails_with_step_loss_rate_and_remedy(tmp_path):
    with pytest.raises(TrainingError) as caught:
        train_on(tmp_path, range(14, 10_000), math.nan)
    assert caught.value.problem.startswith("step 15: loss nan, learning rate ")
    assert caught.value.problem.endswith("3 steps in a row were not finite, and going back 3 times did not help")
    assert "lower training.learning_rate" in caught.value.remedy


def test_a_learning_rate_that_is_too_high_is_halved_until_the_loss_falls(tmp_path):
    trainer = train_on(tmp_path, (), 1.0, learning_rate=1.0)
    assert (trainer.progress.step, trainer.progress.stability.rollbacks > 0) == (48, True)


def test_a_learning_rate_that_is_too_high_to_be_mended_fails(tmp_path):
    with pytest.raises(TrainingError, match=r"learning rate .* far above its median .* going back 0 times"):
        train_on(tmp_path, (), 1.0, learning_rate=1.0, policy=Policy(skips=3, high=3, window=4, rollbacks=0))


def test_an_undisturbed_training_is_what_it_was_and_tells_nothing_of_this(tmp_path):
    plain, _ = train(tmp_path / "plain", options(steps=48))
    watched = train_on(tmp_path / "watched", (), 1.0)
    assert same_bits(plain, watched.model)
    assert not any("rollbacks" in point for point in watched.progress.history)


def test_what_it_remembers_is_json_and_a_spike_is_not_part_of_the_median():
    policy = Policy(high=3, window=3)
    found = Stability()
    for loss in (2.0, 2.1, 1.9, 5.0, 5.0):
        found.note(loss, policy)
    assert (found.losses, found.high, found.calm, found.trouble(policy)) == ([2.0, 2.1, 1.9], 2, False, "")
    found.note(5.0, policy)
    assert found.trouble(policy) == "the loss was far above its median (2) for 3 steps"
    found.note(2.0, policy)
    assert (found.high, found.calm) == (0, True)
    assert Stability(**json.loads(json.dumps(asdict(found)))) == found


def test_losses_near_zero_may_jump_by_factors():
    policy = Policy(high=1, window=3)
    found = Stability()
    for loss in (0.01, 0.01, 0.01, 0.5):
        found.note(loss, policy)
    assert found.trouble(policy) == ""


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (1.0, math.inf)])
def test_neither_a_loss_nor_a_gradient_that_is_not_finite_may_change_weights(loss, norm):
    assert not finite(loss, norm)
    assert finite(1.0, 1.0)


@pytest.mark.parametrize(
    ("usual", "loss", "high"),
    # By the factor a loss near 0 would be too high at once, by the distance one that is usually high.
    [(0.1, 0.9, False), (0.1, 1.2, True), (10.0, 14.0, False), (10.0, 16.0, True)],
)
def test_a_loss_is_too_high_when_it_is_by_factor_and_by_distance(usual, loss, high):
    policy = Policy(window=3, factor=1.5, nats=1.0)
    stability = Stability(losses=[usual] * 3)
    stability.note(loss, policy)
    assert stability.high == high
