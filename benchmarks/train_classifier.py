"""Classifier training, texts a second: ours beside BERT of transformers in a loop and in its Trainer; one JSON line.

Every contestant trains an encoder of the same sizes on the texts of SST-2, cut into the same tokens, about 32 a batch,
with AdamW, clipping and dropout. Ours is the training loop that `nightshift run` runs, with the model that its family
builds. BERT takes 32 texts a batch, drawn at random, or the very batches that ours takes.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.our_training import make_round
from benchmarks.race import Contestant, Round, compare, parser, run

if TYPE_CHECKING:
    import tokenizers

    from llm.recipe import Recipe
    from llm.tokenizer import TextTokenizer
    from llm.tokens import TokenTable

_MODULE = "benchmarks.train_classifier"
_STEPS = 40  # of a round


@dataclass(frozen=True)
class Size:
    """The model and its batches, in texts."""

    layers: int = 4
    width: int = 256
    heads: int = 8
    inner: int = 1024
    vocabulary: int = 8000
    batch: int = 32
    context: int = 128
    dropout: float = 0.1


SIZE = Size()


@dataclass(frozen=True)
class Data:
    """The training texts in tokens, with what made them."""

    recipe: Recipe
    table: TokenTable
    trained: tokenizers.Tokenizer
    tokenizer: TextTokenizer

    @property
    def lengths(self) -> np.ndarray:
        """(N,): real tokens of each text, those past the context left out."""
        return np.minimum(self.table.columns["text"].lengths, SIZE.context)

    def plan(self, seed: int) -> list[np.ndarray]:
        """The rows of an epoch of our batches."""
        from llm.families.classification import Classification

        return Classification().plan(self.table, self.recipe.training, seed=seed)


def read(options: argparse.Namespace, *, precision: str = "float32") -> Data:
    """SST-2's train split, cut as the family's own recipe cuts, and batches of that many tokens as make 32 texts."""
    from llm.families.classification import Classification
    from llm.tokenizer import TextTokenizer
    from llm.tokenizer_training import train_tokenizer

    family = Classification()
    with (Path(options.data) / "train.tsv").open(encoding="utf-8", newline="") as file:
        found = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        rows = [{"text": row["text"], "label": row["label"]} for row in found]
    recipe = family.presets()["quick"].vary(
        tokenizer={"vocabulary": SIZE.vocabulary},
        model={
            "width": SIZE.width,
            "heads": SIZE.heads,
            "layers": SIZE.layers,
            "feed_forward": SIZE.inner,
            "max_positions": SIZE.context,
            "dropout": SIZE.dropout,
        },
    )
    trained = train_tokenizer([row["text"] for row in rows], recipe.tokenizer, template=family.template)
    tokenizer = TextTokenizer(trained)
    table = family.tokenize(rows, tokenizer, family.survey(rows, tokenizer))
    training = {
        "steps": _STEPS,
        "batch_tokens": round(SIZE.batch * float(table.columns["text"].lengths.mean())),
        "context": SIZE.context,
        "learning_rate": 1e-4,
        "warmup": 1,
        # What changes texts is work that the others do not do.
        "subword_dropout": 0.0,
        "word_crop": 0.0,
        "validation_batches": 1,
        "validate_every": _STEPS,
        "threads": options.threads,
        "precision": precision,
        "device": "cpu",
    }
    return Data(recipe.vary(training=training), table, trained, tokenizer)


def ours(precision: str) -> Callable[[argparse.Namespace], Round]:
    """Our Trainer: buckets, schedule, clipping, checkpoints and all."""

    def build(options: argparse.Namespace) -> Round:
        import torch

        from llm.families.classification import Classification

        data = read(options, precision=precision)
        torch.manual_seed(1)
        model = Classification().build_model(data.recipe, data.table, data.tokenizer)
        return make_round(
            family=Classification(), model=model, table=data.table, config=data.recipe.training, units=len
        )

    return build


def bucketed_rows(data: Data) -> Iterator[np.ndarray]:
    """The rows of our own batches, epoch after epoch."""
    for seed in itertools.count(1):
        yield from data.plan(seed)


def random_rows(data: Data) -> Iterator[np.ndarray]:
    """Rows at random."""
    random = np.random.default_rng(1)
    while True:
        order = random.permutation(len(data.table))
        for start in range(0, order.size - SIZE.batch + 1, SIZE.batch):
            yield order[start : start + SIZE.batch]


def _bert_model(data: Data) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    from llm.tokenizer import PAD_ID

    config = BertConfig(
        vocab_size=data.tokenizer.size,
        hidden_size=SIZE.width,
        num_hidden_layers=SIZE.layers,
        num_attention_heads=SIZE.heads,
        intermediate_size=SIZE.inner,
        max_position_embeddings=SIZE.context,
        hidden_dropout_prob=SIZE.dropout,
        # Ours drops no attention weights either.
        attention_probs_dropout_prob=0.0,
        num_labels=len(data.table.facts["labels"]),
        pad_token_id=PAD_ID,
    )
    return BertForSequenceClassification(config)


def bert(batches: Callable[[Data], Iterator[np.ndarray]]) -> Callable[[argparse.Namespace], Round]:
    """BertForSequenceClassification in the usual loop, padded to the longest text of each batch."""

    def build(options: argparse.Namespace) -> Round:
        import torch

        from llm.families.classification import Classification

        torch.set_num_threads(options.threads)
        torch.manual_seed(1)
        data = read(options)
        model = _bert_model(data)
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        rows_of = batches(data)

        def one_round() -> float:
            texts = 0
            started = time.perf_counter()
            for _ in range(_STEPS):
                rows = next(rows_of)
                batch = Classification().collate(data.table, rows, data.recipe.training)
                model(
                    input_ids=batch["ids"], attention_mask=batch["mask"].long(), labels=batch["labels"]
                ).loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                texts += len(rows)
            return texts / (time.perf_counter() - started)

        return one_round

    return build


def hugging_face_trainer(options: argparse.Namespace) -> Round:
    """The Trainer of transformers around its BERT, with its defaults; its own clock, which leaves its set-up out."""
    import torch
    from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast, Trainer, TrainingArguments

    from llm.tokenizer import PAD_ID, SPECIAL_TOKENS

    torch.set_num_threads(options.threads)
    data = read(options)
    column, labels = data.table.columns["text"], data.table.numbers["label"]
    rows = [
        {"input_ids": column.row(row)[: SIZE.context].tolist(), "labels": int(label)}
        for row, label in enumerate(labels)
    ]
    model = _bert_model(data)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=data.trained, pad_token=SPECIAL_TOKENS[PAD_ID])
    seeds = itertools.count(1)

    def one_round() -> float:
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=_STEPS,
                per_device_train_batch_size=SIZE.batch,
                seed=next(seeds),
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
            )
            trainer = Trainer(
                model=model, args=arguments, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer)
            )
            return _STEPS * SIZE.batch / trainer.train().metrics["train_runtime"]

    return one_round


CONTESTANTS = {
    "ours": Contestant(ours("float32")),
    "ours+tcmalloc": Contestant(ours("float32"), allocator="tcmalloc"),
    "ours_bfloat16": Contestant(ours("bfloat16")),
    "bert_random": Contestant(bert(random_rows)),
    "bert_random+tcmalloc": Contestant(bert(random_rows), allocator="tcmalloc"),
    "bert_bucketed": Contestant(bert(bucketed_rows)),
    "bert_bucketed+tcmalloc": Contestant(bert(bucketed_rows), allocator="tcmalloc"),
    "trainer": Contestant(hugging_face_trainer),
}


def operations_per_text(data: Data) -> float:
    """Floating-point operations of training on a text of mean length, padding none: six a weight, and attention."""
    length = float(data.lengths.mean())
    weights = SIZE.layers * (4 * SIZE.width**2 + 2 * SIZE.width * SIZE.inner)
    return length * (6.0 * weights + 12.0 * SIZE.layers * SIZE.width * length)


def limit(data: Data, threads: int) -> dict[str, float]:
    """GFLOP/s of our own linear layers' products, of a batch of mean size, padding counted."""
    from benchmarks.limits import Product, limits

    lengths = data.lengths
    rows = round(float(np.mean([len(rows) * lengths[rows].max() for rows in data.plan(1)])))
    shapes = [
        Product(rows, SIZE.width, 3 * SIZE.width, SIZE.layers),
        Product(rows, SIZE.width, SIZE.width, SIZE.layers),
        Product(rows, SIZE.width, SIZE.inner, SIZE.layers),
        Product(rows, SIZE.inner, SIZE.width, SIZE.layers),
    ]
    return limits(shapes, threads=threads)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line."""
    found = parser(_MODULE, __doc__)
    found.add_argument("--data", required=True, help="folder of SST-2: train.tsv")
    options = found.parse_args(arguments)
    facts = run(_MODULE, CONTESTANTS, options)
    if facts is None:
        return
    data = read(options)
    facts["texts_per_batch"] = round(len(data.table) / len(data.plan(1)), 1)
    facts = compare(facts, list(CONTESTANTS), operations=operations_per_text(data), gflops=limit(data, options.threads))
    print(json.dumps({"benchmark": "train_classifier", "unit": "texts/s"} | facts))


if __name__ == "__main__":
    main()
