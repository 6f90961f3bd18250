"""Translation training, tokens a second: ours beside Marian of transformers and JoeyNMT; one JSON line.

Every contestant trains an encoder-decoder of the same sizes on the same texts (Multi30k, English to German), cut into
the same tokens, with AdamW or Adam, clipping, dropout and label smoothing. Counted are real source and target tokens,
</s> included and padding not. Ours is the training loop that `nightshift run` runs. Marian takes as many sentences a
batch as ours does, drawn at random, or the very batches that ours takes. JoeyNMT makes its own: sentences in random
order, until the longest times their number reaches the half of ours, for either side.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.our_training import make_round
from benchmarks.race import Contestant, Round, compare, parser, run
from benchmarks.translation_data import SIZE, STEPS, Data, read, training

_MODULE = "benchmarks.train_translation"


def ours(precision: str) -> Callable[[argparse.Namespace], Round]:
    """Our Trainer: buckets, schedule, clipping, checkpoints and all."""

    def build(options: argparse.Namespace) -> Round:
        import torch

        from llm.families.translation import Translation
        from llm.model.config import EncoderDecoderConfig
        from llm.model.encoder_decoder import EncoderDecoderModel

        data = read(Path(options.data))
        torch.manual_seed(1)
        sizes = EncoderDecoderConfig(
            width=SIZE.width,
            heads=SIZE.heads,
            encoder_layers=SIZE.layers,
            decoder_layers=SIZE.layers,
            feed_forward=SIZE.inner,
            max_positions=SIZE.context,
            dropout=SIZE.dropout,
        )
        model = EncoderDecoderModel(sizes, data.vocabulary)
        config = training(options, precision=precision)
        return make_round(family=Translation(), model=model, table=data.table, config=config, units=data.tokens)

    return build


def bucketed_rows(data: Data, options: argparse.Namespace) -> Iterator[np.ndarray]:
    """The rows of our own batches, epoch after epoch."""
    from llm.families.translation import Translation

    for seed in itertools.count(1):
        yield from Translation().plan(data.table, training(options), seed=seed)


def random_rows(data: Data, options: argparse.Namespace) -> Iterator[np.ndarray]:
    """Rows at random, as many a batch as our own batches hold on average."""
    from llm.families.translation import Translation

    batches = len(Translation().plan(data.table, training(options), seed=1))
    random = np.random.default_rng(1)
    while True:
        yield from np.array_split(random.permutation(len(data.table)), batches)


def marian(batches: Callable[[Data, argparse.Namespace], Iterator[np.ndarray]]) -> Callable[..., Round]:
    """MarianMTModel in the usual loop, its labels padded with -100 as its own training scripts do."""

    def build(options: argparse.Namespace) -> Round:
        import torch

        from llm.families.translation import Translation
        from llm.tokenizer import PAD_ID

        torch.set_num_threads(options.threads)
        torch.manual_seed(1)
        data = read(Path(options.data))
        model = _marian_model(data.vocabulary)
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        rows_of = batches(data, options)
        config = training(options)

        def one_round() -> float:
            tokens = 0
            started = time.perf_counter()
            for _ in range(STEPS):
                rows = next(rows_of)
                batch = Translation().collate(data.table, rows, config)
                labels = torch.full_like(batch["target"], -100)
                labels[batch["select"]] = batch["labels"]
                scores = model(
                    input_ids=batch["source"],
                    attention_mask=batch["source_mask"].long(),
                    decoder_input_ids=batch["target"],
                    decoder_attention_mask=(labels != -100).long(),
                ).logits
                torch.nn.functional.cross_entropy(
                    scores.flatten(0, 1), labels.flatten(), label_smoothing=SIZE.label_smoothing
                ).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                tokens += data.tokens(rows)
            return tokens / (time.perf_counter() - started)

        assert model.config.pad_token_id == PAD_ID
        return one_round

    return build


def _marian_model(vocabulary: int) -> Any:
    from transformers import MarianConfig, MarianMTModel

    from llm.tokenizer import EOS_ID, PAD_ID

    config = MarianConfig(
        vocab_size=vocabulary,
        d_model=SIZE.width,
        encoder_layers=SIZE.layers,
        decoder_layers=SIZE.layers,
        encoder_attention_heads=SIZE.heads,
        decoder_attention_heads=SIZE.heads,
        encoder_ffn_dim=SIZE.inner,
        decoder_ffn_dim=SIZE.inner,
        activation_function="relu",
        scale_embedding=True,
        max_position_embeddings=SIZE.context,
        dropout=SIZE.dropout,
        use_cache=False,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        forced_eos_token_id=EOS_ID,
        decoder_start_token_id=PAD_ID,
    )
    return MarianMTModel(config)


def joeynmt(options: argparse.Namespace) -> Round:
    """JoeyNMT's training step; half of our batch on either side, since it counts the longer one."""
    import torch

    from benchmarks.joeynmt_peer import make_steps

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    data = read(Path(options.data))
    columns = [data.table.columns[name] for name in ("source", "target")]
    # Without </s>, which it adds.
    sources, targets = (
        [column.row(row)[: length - 1].tolist() for row, length in enumerate(data.lengths(name))]
        for name, column in zip(("source", "target"), columns, strict=True)
    )
    side = {
        "type": "transformer",
        "num_layers": SIZE.layers,
        "num_heads": SIZE.heads,
        "hidden_size": SIZE.width,
        "ff_size": SIZE.inner,
        "dropout": SIZE.dropout,
        "layer_norm": "pre",
        "embeddings": {"embedding_dim": SIZE.width, "scale": True, "dropout": SIZE.dropout},
    }
    step = make_steps(
        options.joeynmt,
        sources=sources,
        targets=targets,
        model={"encoder": side, "decoder": side, "tied_embeddings": True, "tied_softmax": True},
        training={
            "optimizer": "adam",
            "scheduling": "warmupinversesquareroot",
            "learning_rate": 1e-3,
            "learning_rate_warmup": 1000,
            "clip_grad_norm": 1.0,
            "normalization": "tokens",
            "label_smoothing": SIZE.label_smoothing,
            "batch_size": SIZE.batch_tokens // 2,
            "batch_type": "token",
        },
    )

    def one_round() -> float:
        started = time.perf_counter()
        tokens = sum(step() for _ in range(STEPS))
        return tokens / (time.perf_counter() - started)

    return one_round


def _needs_joeynmt(options: argparse.Namespace) -> str:
    from benchmarks.joeynmt_peer import missing

    return missing(options.joeynmt)


CONTESTANTS = {
    "ours": Contestant(ours("float32")),
    "ours+tcmalloc": Contestant(ours("float32"), allocator="tcmalloc"),
    "ours_bfloat16": Contestant(ours("bfloat16")),
    "marian_random": Contestant(marian(random_rows)),
    "marian_bucketed": Contestant(marian(bucketed_rows)),
    "marian_bucketed+tcmalloc": Contestant(marian(bucketed_rows), allocator="tcmalloc"),
    "joeynmt": Contestant(joeynmt, available=_needs_joeynmt),
    "joeynmt+tcmalloc": Contestant(joeynmt, allocator="tcmalloc", available=_needs_joeynmt),
}


def operations_per_token(data: Data) -> float:
    """Floating-point operations of training on a real token, padding none: six a weight, and attention's products.

    Averaged over source and target tokens in their numbers; attention reaches over texts of mean length.
    """
    source, target = (float(data.lengths(column).mean()) for column in ("source", "target"))
    square, inner = SIZE.width**2, 2 * SIZE.width * SIZE.inner
    # A source token passes the encoder, and becomes keys and values of every decoder layer.
    source_weights = SIZE.layers * (4 * square + inner + 2 * square)
    target_weights = SIZE.layers * (4 * square + 2 * square + inner) + SIZE.width * data.vocabulary
    reach = 12.0 * SIZE.layers * SIZE.width
    of_source = 6.0 * source_weights + reach * source
    of_target = 6.0 * target_weights + reach * (target + source)
    return (source * of_source + target * of_target) / (source + target)


def limit(data: Data, options: argparse.Namespace) -> dict[str, float]:
    """GFLOP/s of our own linear layers' products, of a batch of mean size; padded but for the scores."""
    from benchmarks.limits import Product, limits
    from llm.families.translation import Translation

    batches = Translation().plan(data.table, training(options), seed=1)
    lengths = {column: data.lengths(column) for column in ("source", "target")}
    source, target = (
        round(float(np.mean([len(rows) * of[rows].max() for rows in batches]))) for of in lengths.values()
    )
    scores = round(float(np.mean([lengths["target"][rows].sum() for rows in batches])))
    width, inner, layers = SIZE.width, SIZE.inner, SIZE.layers
    shapes = [
        Product(source, width, 3 * width, layers),
        Product(source, width, width, layers),
        Product(source, width, inner, layers),
        Product(source, inner, width, layers),
        Product(target, width, 3 * width, layers),
        Product(target, width, width, 3 * layers),
        Product(source, width, 2 * width, layers),
        Product(target, width, inner, layers),
        Product(target, inner, width, layers),
        Product(scores, width, data.vocabulary),
    ]
    return limits(shapes, threads=options.threads)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line."""
    found = parser(_MODULE, __doc__)
    found.add_argument("--data", required=True, help="folder of Multi30k: train.en.gz and train.de.gz")
    found.add_argument("--joeynmt", default="", help="folder of a checkout of joeynmt/joeynmt")
    options = found.parse_args(arguments)
    facts = run(_MODULE, CONTESTANTS, options)
    if facts is None:
        return
    data = read(Path(options.data))
    facts = compare(facts, list(CONTESTANTS), operations=operations_per_token(data), gflops=limit(data, options))
    print(json.dumps({"benchmark": "train_translation", "unit": "source and target tokens/s"} | facts))


if __name__ == "__main__":
    main()
