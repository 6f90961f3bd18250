"""JoeyNMT's model, loss, loader and training step, on tokens that were made elsewhere.

Its tokenizer, which it runs anew in every epoch, is left out; so are validations and checkpoints.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# What JoeyNMT imports; its own requirements pin versions that do not go with ours.
_NEEDS = ("sentencepiece", "subword_nmt", "tensorboard", "plotly", "importlib_metadata")
# In the order of their numbers: unknown, padding, begin, end.
_SPECIAL = ("<unk>", "<pad>", "<s>", "</s>")


def missing(folder: str) -> str:
    """Why JoeyNMT cannot run here, or nothing."""
    if not folder:
        return "name a checkout of JoeyNMT with --joeynmt"
    if not (Path(folder) / "joeynmt" / "training.py").is_file():
        return f"{folder} is not a checkout of JoeyNMT"
    absent = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    return f"JoeyNMT needs {', '.join(absent)}" if absent else ""


def make_steps(
    folder: str,
    *,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    model: dict[str, Any],
    training: dict[str, Any],
) -> Callable[[], int]:
    """A function that does one training step and returns its real tokens, source and target, </s> included.

    sources and targets are token ids without control tokens; `model` and `training` are sections of its configuration.
    """
    sys.path.insert(0, folder)
    from joeynmt.config import parse_test_args, parse_train_args
    from joeynmt.model import build_model
    from joeynmt.training import TrainManager
    from joeynmt.vocabulary import Vocabulary

    symbols = SimpleNamespace(lang_tags=[], sep_token=None, sep_id=None)
    for number, (name, token) in enumerate(zip(("unk", "pad", "bos", "eos"), _SPECIAL, strict=True)):
        setattr(symbols, f"{name}_token", token)
        setattr(symbols, f"{name}_id", number)
    highest = max(itertools.chain.from_iterable(itertools.chain(sources, targets)))
    vocabulary = Vocabulary([str(number) for number in range(len(_SPECIAL), highest + 1)], symbols)
    built = build_model(model, src_vocab=vocabulary, trg_vocab=vocabulary)
    arguments = parse_train_args(training)
    built.loss_function = (arguments.loss, arguments.label_smoothing)
    loader = _dataset(sources, targets, vocabulary).make_iter(
        batch_size=arguments.batch_size,
        batch_type=arguments.batch_type,
        shuffle=True,
        pad_index=vocabulary.pad_index,
        eos_index=vocabulary.eos_index,
    )
    kept = tempfile.TemporaryDirectory()
    manager = TrainManager(
        rank=0,
        model=built,
        model_dir=Path(kept.name),
        device=next(built.parameters()).device,
        autocast={"device_type": "cpu", "enabled": False},
        train_args=arguments,
        dev_args=parse_test_args({}),
    )
    batches = _endless(loader)
    steps = itertools.count()

    def step() -> int:
        assert Path(kept.name).is_dir()  # its event file lives as long as this function
        batch = next(batches)
        tokens = int(batch.src_length.sum()) + int(batch.ntokens)
        manager._train_step(batch)
        manager.clip_grad_fun(parameters=manager.model.parameters())
        manager.optimizer.step()
        manager.scheduler.step(next(steps))
        manager.model.zero_grad()
        return tokens

    return step


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _dataset(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], vocabulary: Any) -> Any:
    from joeynmt.datasets import BaseDataset

    sides = {
        "source": [[str(number) for number in row] for row in sources],
        "target": [[str(number) for number in row] for row in targets],
    }

    class Tokens(BaseDataset):
        """Rows that are cut already."""

        def get_item(self, idx: int, lang: str, is_train: bool | None = None) -> list[str]:
            """Tokens of a text."""
            del is_train
            return sides[lang][idx]

        def __len__(self) -> int:
            return len(sides["source"])

    dataset = Tokens(
        path="",
        src_lang="source",
        trg_lang="target",
        has_trg=True,
        has_prompt=dict.fromkeys(sides, False),
        sequence_encoder=dict.fromkeys(sides, vocabulary.sentences_to_ids),
    )
    dataset.reset_indices()
    return dataset
