"""The training loop: the same for every family, exactly resumable.

A training killed at any moment and started again ends in the weights that it would have ended in (on the same kind of
processor, with the same number of threads): model, optimizer, random state, place in the data and patience are one
checkpoint.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import torch
from torch import nn

from llm.errors import TrainingError
from llm.families.base import Batch, Family
from llm.model.products import choose_products, products
from llm.progress import track
from llm.tokens import TokenTable
from llm.training.ahead import ahead
from llm.training.averaging import WeightAverage
from llm.training.batches import Placed, batches_from
from llm.training.beginning import Beginning
from llm.training.budget import Budget
from llm.training.checkpoint import Progress, Trained, load_best, load_newest, save_best, save_checkpoint
from llm.training.clock import Clock
from llm.training.config import TrainingConfig
from llm.training.interruption import Interruption, interruptions
from llm.training.machine import deterministic, few_kernels_kept, freed_memory_kept
from llm.training.optimizers import gradients, make_optimizers
from llm.training.schedule import learning_rate
from llm.training.stability import Policy, finite
from llm.training.validation import validation_loss

log = logging.getLogger(__name__)

# (step, values): points of the curve, with what `Budget.standing` says.
Report = Callable[[int, Mapping[str, float]], None]

# A point on the training curve every so many steps: enough to see its shape, few enough to log.
_CURVE_POINTS = 100
_REMEDY = (
    "lower training.learning_rate, raise training.warmup, or set training.precision to float32; and look at the texts"
)


class Trainer:
    """Trains `model` on `train`; `folder` holds the checkpoints, `report(step, values)` gets the curve.

    It ends at `until` if nothing ends it before; the learning rate falls towards whichever end is nearer.
    """

    def __init__(
        self,
        *,
        family: Family,
        model: nn.Module,
        train: TokenTable,
        validation: TokenTable,
        config: TrainingConfig,
        folder: Path,
        report: Report,
        until: datetime | None = None,
    ) -> None:
        self.family = family
        self.model = model
        self.train = train
        self.validation = validation
        self.config = config
        self.folder = folder
        self.report = report
        self.budget = Budget(config, until)
        self.device = next(model.parameters()).device
        self.policy = Policy()
        self.trained = self._untrained()
        self.progress = Progress(products="float32")

    def run(self) -> Progress:
        """Train to the end and leave the weights that `config.keep` names in the model.

        Raises TrainingError when the loss is not finite or spikes again and again, no validation loss is finite, or an
        epoch holds no batch.
        """
        with deterministic(self.config.threads), few_kernels_kept(), freed_memory_kept():
            begin = Beginning(self.model)
            stored = load_newest(self.folder, self.trained)
            self.progress = stored or Progress(products=choose_products(self.config.precision, self.device))
            log.info("matrices are multiplied the %s way", self.progress.products)
            if stored is not None:
                log.info("resumed at step %d of %d", stored.step, self.config.steps)
            with products(self.progress.products, self.device):
                while trouble := self._loop():
                    self._roll_back(trouble, begin)
            if self.progress.best_loss is None:
                problem = f"in {self.progress.step} steps no validation loss was finite, so no weights can be judged"
                raise TrainingError(problem, remedy=_REMEDY)
            if self.config.keep == "best":
                load_best(self.folder, self.model, self.progress)
            else:
                self.trained.average.adopt()
            self.model.eval()
        return self.progress

    def _loop(self) -> str:
        """Train to the end; or say why the training must go back."""
        progress, config = self.progress, self.config
        every = max(1, config.steps // _CURVE_POINTS)
        batches = ahead(batches_from(progress.epoch, progress.batch, self.family, self.train, config))
        clock = Clock(progress.targets)
        used = self.budget.use(progress, running=clock.running())
        self.model.train()
        with interruptions() as interruption:
            if progress.validation_due:
                self._validate(clock, interruption)
            for step in track(range(progress.step, config.steps), label=f"training {self.family.name}"):
                if progress.finished:
                    break
                if self._exhausted():
                    log.info("stopped early: no better validation loss in %d validations", progress.stale)
                    break
                rate = self._rate(step, used)
                loss, count, norm = self._step(batches, rate)
                self._count(step + 1, loss, count, norm)
                if trouble := progress.stability.trouble(self.policy):
                    progress.seconds += clock.lap()
                    return f"step {step + 1}: loss {loss / count:.4g}, learning rate {rate:.3g}: {trouble}"
                used = self.budget.use(progress, running=clock.running())
                progress.finished = used >= 1.0
                if (progress.step % every == 0 or progress.finished) and progress.stability.bad == 0:
                    point = self._point(clock) | {"learning_rate": rate, "gradient_norm": norm}
                    self._record(point, running=clock.running())
                if progress.step % config.validate_every == 0 or progress.finished:
                    progress.seconds += clock.lap()
                    progress.validation_due = True
                    self._validate(clock, interruption)
                elif interruption.asked:
                    progress.seconds += clock.lap()
                    self._leave(interruption)
        return ""

    def _rate(self, step: int, used: float) -> float:
        rate = learning_rate(step, used, self.config)
        rollbacks = self.progress.stability.rollbacks
        return rate * self.policy.rate_factor**rollbacks if rollbacks else rate

    def _roll_back(self, trouble: str, begin: Beginning) -> None:
        """Go back to the last good checkpoint, but not in the data: what lies between is passed over."""
        here, stability = self.progress, self.progress.stability
        if stability.rollbacks >= self.policy.rollbacks:
            problem = f"{trouble}, and going back {stability.rollbacks} times did not help"
            raise TrainingError(problem, remedy=_REMEDY)
        stored = load_newest(self.folder, self.trained, calm=True)
        if stored is None:
            begin.restore(self.model)
            self.trained = self._untrained()
            stored = Progress(products=here.products)
        stored.epoch, stored.batch, stored.seconds = here.epoch, here.batch, here.seconds
        stored.stability.skipped, stored.stability.rollbacks = stability.skipped, stability.rollbacks + 1
        self.progress = stored
        log.warning(
            "%s; back to step %d, past the batches since then and with %.3g of the learning rate",
            *(trouble, stored.step, self.policy.rate_factor**stored.stability.rollbacks),
        )

    def _untrained(self) -> Trained:
        return Trained(
            model=self.model,
            optimizers=make_optimizers(self.model, self.config),
            average=WeightAverage(self.model, decay=self.config.average),
        )

    def _count(self, step: int, loss: float, count: int, norm: float) -> None:
        progress = self.progress
        progress.step = step
        if not finite(loss, norm):
            progress.stability.skip()
            log.warning("step %d skipped: loss %.4g, gradient norm %.4g: not finite", step, loss / count, norm)
            return
        progress.stability.note(loss / count, self.policy)
        progress.targets += count
        progress.loss += loss
        progress.counted += count
        self.trained.average.update(step)

    def _point(self, clock: Clock) -> dict[str, float]:
        """The mean since the last point of the curve."""
        progress = self.progress
        loss, progress.loss, progress.counted = progress.loss / progress.counted, 0.0, 0
        speed = clock.speed(progress.targets)
        return {"training_loss": loss, "targets_per_second": speed} | progress.stability.points()

    def _save(self) -> None:
        save_checkpoint(self.folder, self.trained, progress=self.progress, keep=self.config.keep_checkpoints)

    def _leave(self, interruption: Interruption) -> None:
        """Write where the training is, then let the interruption have its way."""
        self._save()
        log.info(
            "interrupted at step %d of %d; the same training goes on from there", self.progress.step, self.config.steps
        )
        interruption.deliver()

    def _exhausted(self) -> bool:
        return 0 < self.config.patience <= self.progress.stale

    def _step(self, batches: Iterator[Placed], rate: float) -> tuple[float, int, float]:
        """One optimizer step: summed loss (nats), targets, gradient norm."""
        for optimizer in self.trained.optimizers:
            optimizer.zero_grad(set_to_none=True)
        total, count = 0.0, 0
        for _ in range(self.config.accumulation):
            placed = next(batches)
            self.progress.epoch, self.progress.batch = placed.epoch, placed.done
            batch = self._to_device(placed.batch)
            loss = self.family.loss(self.model, batch, label_smoothing=self.config.label_smoothing)
            torch.autograd.backward(loss.total)
            total += loss.total.item()
            count += loss.count
        found = list(gradients(self.model.parameters()))
        # The gradients are of the sum; dividing by the targets of all accumulated batches makes their mean exact.
        norm = torch.nn.utils.get_total_norm(found).item() / count
        if not finite(total, norm):
            return total, count, norm
        scale = min(1.0, self.config.clip_norm / (norm + 1e-6)) / count
        torch._foreach_mul_(found, scale)
        for optimizer in self.trained.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        return total, count, norm

    def _validate(self, clock: Clock, interruption: Interruption) -> None:
        """Validate and write a checkpoint; when interrupted, one that says that the validation is still due."""
        while (loss := self._judge_weights(interruption)) is None:
            self._leave(interruption)
        self._tell(loss)
        self.progress.validation_due = False
        if self.progress.stability.calm:  # else the older one is the one to go back to
            self._save()
        clock.lap()

    def _judge_weights(self, interruption: Interruption) -> float | None:
        with self.trained.average.in_model():
            loss = validation_loss(
                *(self.family, self.model, self.validation, self.config),
                device=self.device,
                stop=lambda: interruption.asked,
            )
            if loss is not None:
                self._keep_if_best(loss)
        return loss

    def _keep_if_best(self, loss: float) -> None:
        progress = self.progress
        if math.isfinite(loss) and (progress.best_loss is None or loss < progress.best_loss):
            progress.best_loss, progress.best_step, progress.stale = loss, progress.step, 0
            save_best(self.folder, self.model, progress)
        else:
            progress.stale += 1

    def _tell(self, loss: float) -> None:
        progress, config = self.progress, self.config
        if math.isfinite(loss):
            self._record({"validation_loss": loss})
        log.info(
            "step %d of %d: validation loss %.4f (best %.4f at step %d), about %.0f s left",
            *(progress.step, config.steps, loss, progress.best_loss or math.nan, progress.best_step),
            self.budget.left(progress),
        )

    def _record(self, values: Mapping[str, float], *, running: float = 0.0) -> None:
        self.progress.history.append({"step": self.progress.step, **values})
        # Troubles first: who is cut off amid a report has then heard what its points belong to.
        trouble, standing = self.progress.stability.points(), self.budget.standing(self.progress, running=running)
        self.report(self.progress.step, {**trouble, **values, **standing})

    def _to_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.device) for name, tensor in batch.items()}
