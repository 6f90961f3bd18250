"""tinyshakespeare by characters: nanoGPT's three-minute CPU setting beside ours in the same time; one JSON line.

nanoGPT trains its model of 4 layers, 128 wide, on 2,000 batches of 12 windows of 64 characters. Ours has its layers,
width and context, and is given the same time, and a quarter of it. Both are scored on the same windows: the last tenth
of the text cut into pieces of 64, nats a character.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from benchmarks.race import machine
from llm.families.generation import Generation
from llm.model.config import DecoderConfig
from llm.model.decoder import DecoderModel
from llm.tokens import TokenColumn, TokenTable
from llm.training.config import TrainingConfig
from llm.training.trainer import Trainer

_LAYERS, _HEADS, _WIDTH, _CONTEXT = 4, 4, 128, 64
_INNER = 344  # SwiGLU of as many weights as GPT-2's four widths
_BATCH, _ITERATIONS, _WARMUP, _PEAK, _FLOOR = 12, 2000, 100, 1e-3, 1e-4  # nanoGPT's
_TRAIN_SHARE = 0.9
_TOO_MANY_STEPS = 1_000_000  # the time ends the training


def read(path: Path) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Ids of the train and the validation part, and how many characters there are."""
    text = path.read_text(encoding="utf-8")
    numbers = {character: number for number, character in enumerate(sorted(set(text)))}
    ids = np.asarray([numbers[character] for character in text], dtype=np.int32)
    cut = int(_TRAIN_SHARE * len(ids))
    return ids[:cut], ids[cut:], len(numbers)


def windows(ids: NDArray[np.int32]) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels, each (N, 64), that cut `ids` without overlap."""
    count = (ids.size - 1) // _CONTEXT
    stream = torch.from_numpy(ids[: count * _CONTEXT + 1].astype(np.int64))
    return stream[:-1].view(count, _CONTEXT), stream[1:].view(count, _CONTEXT)


def nanogpt(train: NDArray[np.int32], validation: NDArray[np.int32], vocabulary: int, folder: str) -> dict[str, float]:
    """nanoGPT's model and optimizer in the loop that its train.py runs."""
    sys.path.insert(0, folder)
    from model import GPT, GPTConfig

    torch.manual_seed(1337)
    model = GPT(
        GPTConfig(
            block_size=_CONTEXT,
            vocab_size=vocabulary,
            n_layer=_LAYERS,
            n_head=_HEADS,
            n_embd=_WIDTH,
            dropout=0.0,
            bias=False,
        )
    )
    optimizer = model.configure_optimizers(0.1, _PEAK, (0.9, 0.99), "cpu")
    data = train.astype(np.int64)
    started = time.perf_counter()
    for iteration in range(_ITERATIONS):
        for group in optimizer.param_groups:
            group["lr"] = _nanogpt_rate(iteration)
        starts = torch.randint(len(data) - _CONTEXT, (_BATCH,)).tolist()
        ids = torch.stack([torch.from_numpy(data[start : start + _CONTEXT]) for start in starts])
        labels = torch.stack([torch.from_numpy(data[start + 1 : start + 1 + _CONTEXT]) for start in starts])
        _, loss = model(ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - started
    inputs, labels = windows(validation)
    model.eval()
    with torch.no_grad():
        losses = [model(x, y)[1].item() * y.numel() for x, y in zip(inputs.split(64), labels.split(64), strict=True)]
    return {"loss": sum(losses) / labels.numel(), "seconds": seconds, "characters": _ITERATIONS * _BATCH * _CONTEXT}


def _nanogpt_rate(iteration: int) -> float:
    if iteration < _WARMUP:
        return _PEAK * (iteration + 1) / (_WARMUP + 1)
    done = (iteration - _WARMUP) / (_ITERATIONS - _WARMUP)
    return _FLOOR + 0.5 * (1.0 + math.cos(math.pi * done)) * (_PEAK - _FLOOR)


def ours(
    train: NDArray[np.int32], validation: NDArray[np.int32], vocabulary: int, config: TrainingConfig
) -> dict[str, Any]:
    """Our Trainer for a given time."""
    torch.manual_seed(config.seed)
    sizes = DecoderConfig(
        width=_WIDTH, heads=_HEADS, kv_heads=_HEADS, layers=_LAYERS, feed_forward=_INNER, max_positions=_CONTEXT
    )
    model = DecoderModel(sizes, vocabulary)
    tables = [TokenTable(columns={"text": TokenColumn.of([ids.tolist()])}) for ids in (train, validation)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            family=Generation(),
            model=model,
            train=tables[0],
            validation=tables[1],
            config=config,
            folder=Path(folder),
            report=lambda *_: None,
        )
        progress = trainer.run()
    inputs, labels = windows(validation)
    with torch.no_grad():
        scores = [model(x).flatten(0, 1) for x in inputs.split(64)]
    loss = F.cross_entropy(torch.cat(scores), labels.flatten()).item()
    return {"loss": loss, "seconds": progress.seconds, "characters": progress.targets, "products": progress.products}


def training(options: argparse.Namespace, *, minutes: float) -> TrainingConfig:
    """Our options; what was tried is in benchmarks/README.md."""
    return TrainingConfig(
        steps=_TOO_MANY_STEPS,
        minutes=minutes,
        batch_tokens=options.batch_tokens,
        context=_CONTEXT,
        learning_rate=options.learning_rate,
        warmup=20,
        adam_beta2=0.99,
        decay="linear",
        optimizer=options.optimizer,
        weight_decay=0.1,
        average=options.average,
        validate_every=_TOO_MANY_STEPS,  # once, when the time is over
        validation_batches=1,
        seed=options.seed,
        threads=options.threads,
        precision=options.precision,
        device="cpu",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shakespeare", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="tinyshakespeare's input.txt")
    parser.add_argument("--nanogpt", default="", help="folder of a checkout of karpathy/nanoGPT")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="time for ours without --nanogpt; else that of nanoGPT"
    )
    parser.add_argument("--rounds", type=int, default=1, help="repetitions, each from another seed of ours")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--seed", type=int, default=1, help="random seed of our first training")
    parser.add_argument("--precision", default="auto", help="as training.precision")
    parser.add_argument("--optimizer", default="muon", help="as training.optimizer")
    parser.add_argument("--learning-rate", type=float, default=7e-3)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--average", type=float, default=0.0)
    options = parser.parse_args(arguments)
    if not options.nanogpt and options.minutes <= 0:
        parser.error("name a checkout with --nanogpt, or a time with --minutes")
    torch.set_num_threads(options.threads)
    train, validation, vocabulary = read(options.data)
    results = []
    for number in range(options.rounds):
        found: dict[str, Any] = {}
        minutes = options.minutes
        if options.nanogpt:
            found["nanogpt"] = nanogpt(train, validation, vocabulary, options.nanogpt)
            minutes = found["nanogpt"]["seconds"] / 60
        seeded = argparse.Namespace(**vars(options) | {"seed": options.seed + number})
        for name, share in (("ours", 1.0), ("ours_in_a_quarter", 0.25)):
            found[name] = ours(train, validation, vocabulary, training(seeded, minutes=share * minutes))
        results.append(found)
    config = training(options, minutes=1.0).model_dump()
    print(json.dumps({"benchmark": "shakespeare", "results": results, "config": config, "machine": machine()}))


if __name__ == "__main__":
    main()
