"""Language-model training, tokens a second: ours beside nanoGPT, litgpt and transformers; one JSON line.

Every contestant trains about the same number of parameters on the same random tokens, with AdamW and clipping. Ours is
the training loop that `nightshift run` runs, in float32 and in bfloat16; the others run in float32 as they ship, and
with tcmalloc preloaded.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.race import Contestant, Round, compare, parser, run

_MODULE = "benchmarks.train_lm"
_STREAM = 400_000  # tokens to draw windows from


@dataclass(frozen=True)
class Size:
    """A decoder; `inner` is the width of SwiGLU's halves that makes as many parameters as GPT-2's four widths."""

    layers: int
    width: int
    heads: int
    context: int
    batch: int
    inner: int
    steps: int  # of a round
    vocabulary: int = 4096


def _scaled(*, width: int, context: int) -> Size:
    """The small size, wider or with longer texts; a batch keeps its number of tokens, a head its width."""
    return Size(
        layers=4,
        width=width,
        heads=width // 32,
        context=context,
        batch=4096 // context,
        inner=width * 43 // 16,
        steps=6,
    )


SIZES = {
    "small": Size(layers=4, width=128, heads=4, context=128, batch=32, inner=344, steps=12),
    "medium": Size(layers=6, width=384, heads=6, context=256, batch=12, inner=1024, steps=4),
    **{f"context-{context}": _scaled(width=128, context=context) for context in (256, 512, 1024)},
    **{f"width-{width}": _scaled(width=width, context=128) for width in (256, 512)},
}


def stream(size: Size) -> np.ndarray:
    """(tokens,) int32: random ids, the same for everyone."""
    return np.random.default_rng(1).integers(4, size.vocabulary, size=_STREAM, dtype=np.int32)


def ours(precision: str) -> Callable[[argparse.Namespace], Round]:
    """Our Trainer: packed windows, schedule, clipping, checkpoints and all."""

    def build(options: argparse.Namespace) -> Round:
        import torch

        from llm.families.generation import Generation
        from llm.model.config import DecoderConfig
        from llm.model.decoder import DecoderModel
        from llm.tokens import TokenColumn, TokenTable
        from llm.training.config import TrainingConfig
        from llm.training.trainer import Trainer

        size = SIZES[options.size]
        steps = size.steps
        table = TokenTable(columns={"text": TokenColumn.of([stream(size).tolist()])})
        torch.manual_seed(1)
        sizes = DecoderConfig(
            width=size.width,
            heads=size.heads,
            kv_heads=size.heads,
            layers=size.layers,
            feed_forward=size.inner,
            max_positions=size.context,
        )
        model = DecoderModel(sizes, size.vocabulary)
        config = TrainingConfig(
            steps=steps,
            batch_tokens=size.batch * size.context,
            context=size.context,
            learning_rate=1e-3,
            warmup=1,
            validation_batches=1,
            validate_every=steps,
            threads=options.threads,
            precision=precision,
            device="cpu",
        )

        def one_round() -> float:
            with tempfile.TemporaryDirectory() as folder:
                trainer = Trainer(
                    family=Generation(),
                    model=model,
                    train=table,
                    validation=table,
                    config=config,
                    folder=Path(folder),
                    report=lambda *_: None,
                )
                progress = trainer.run()
            return steps * size.batch * size.context / progress.seconds

        return one_round

    return build


def torch_loop(make: Callable[[Size, argparse.Namespace], tuple]) -> Callable[[argparse.Namespace], Round]:
    """The usual loop around a model of others; `make` returns model, optimizer and loss(ids, labels)."""

    def build(options: argparse.Namespace) -> Round:
        import torch

        torch.set_num_threads(options.threads)
        torch.manual_seed(1)
        size = SIZES[options.size]
        model, optimizer, loss = make(size, options)
        model.train()
        data = stream(size)
        random = np.random.default_rng(2)

        def one_round() -> float:
            started = time.perf_counter()
            for _ in range(SIZES[options.size].steps):
                starts = random.integers(0, data.size - size.context - 1, size=size.batch)
                windows = torch.from_numpy(data[starts[:, None] + np.arange(size.context + 1)].astype(np.int64))
                loss(windows[:, :-1].contiguous(), windows[:, 1:].contiguous()).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            tokens = SIZES[options.size].steps * size.batch * size.context
            return tokens / (time.perf_counter() - started)

        return one_round

    return build


def _nanogpt(size: Size, options: argparse.Namespace) -> tuple:
    import sys

    sys.path.insert(0, options.nanogpt)
    from model import GPT, GPTConfig

    config = GPTConfig(
        block_size=size.context,
        vocab_size=size.vocabulary,
        n_layer=size.layers,
        n_head=size.heads,
        n_embd=size.width,
        dropout=0.0,
        bias=False,
    )
    model = GPT(config)
    return model, model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu"), lambda ids, labels: model(ids, labels)[1]


def _litgpt(size: Size, options: argparse.Namespace) -> tuple:
    import torch
    from litgpt.config import Config
    from litgpt.model import GPT

    del options
    config = Config(
        block_size=size.context,
        vocab_size=size.vocabulary,
        padded_vocab_size=size.vocabulary,
        n_layer=size.layers,
        n_head=size.heads,
        n_embd=size.width,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
        intermediate_size=size.inner,
    )
    model = GPT(config)
    model.lm_head.weight = model.transformer.wte.weight

    def loss(ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), labels.flatten())

    return model, torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True), loss


def _llama_model(size: Size):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=size.context,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def _llama(size: Size, options: argparse.Namespace) -> tuple:
    import torch

    del options
    model = _llama_model(size)

    # `labels` are shifted inside: handing over the inputs is what a user of this class does.
    def loss(ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        del labels
        return model(ids, labels=ids).loss

    return model, torch.optim.AdamW(model.parameters(), lr=1e-3), loss


def hugging_face_trainer(options: argparse.Namespace) -> Round:
    """The Trainer of transformers around its Llama, with its defaults."""
    import torch
    from transformers import Trainer, TrainingArguments

    torch.set_num_threads(options.threads)
    size = SIZES[options.size]
    steps = size.steps
    data = stream(size).astype(np.int64)
    windows = [
        {"input_ids": data[start : start + size.context], "labels": data[start : start + size.context]}
        for start in range(0, data.size - size.context, size.context)
    ]
    model = _llama_model(size)

    def one_round() -> float:
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=size.batch,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
            )
            started = time.perf_counter()
            Trainer(model=model, args=arguments, train_dataset=windows).train()
            return steps * size.batch * size.context / (time.perf_counter() - started)

    return one_round


def _needs_nanogpt(options: argparse.Namespace) -> str:
    return "" if options.nanogpt else "name a checkout of nanoGPT with --nanogpt"


def _needs_litgpt(options: argparse.Namespace) -> str:
    del options
    # Asked without importing it: that would take this process seconds.
    return "" if find_spec("litgpt") else "install litgpt, as benchmarks/README.md says"


CONTESTANTS = {
    "ours": Contestant(ours("float32")),
    "ours+tcmalloc": Contestant(ours("float32"), allocator="tcmalloc"),
    "ours_bfloat16": Contestant(ours("bfloat16")),
    "nanogpt": Contestant(torch_loop(_nanogpt), available=_needs_nanogpt),
    "nanogpt+tcmalloc": Contestant(torch_loop(_nanogpt), allocator="tcmalloc", available=_needs_nanogpt),
    "litgpt": Contestant(torch_loop(_litgpt), available=_needs_litgpt),
    "litgpt+tcmalloc": Contestant(torch_loop(_litgpt), allocator="tcmalloc", available=_needs_litgpt),
    "llama": Contestant(torch_loop(_llama)),
    "llama+tcmalloc": Contestant(torch_loop(_llama), allocator="tcmalloc"),
    "trainer": Contestant(hugging_face_trainer),
}


def operations_per_token(size: Size) -> float:
    """Floating-point operations of training on a token: six a weight, and attention's two products (not halved)."""
    weights = size.layers * (4 * size.width**2 + 3 * size.width * size.inner) + size.width * size.vocabulary
    return 6.0 * weights + 12.0 * size.layers * size.context * size.width


def limit(size: Size, threads: int) -> dict[str, float]:
    """GFLOP/s of our own linear layers' products."""
    from benchmarks.limits import Product, limits

    rows = size.batch * size.context
    shapes = [
        Product(rows, size.width, 3 * size.width, size.layers),
        Product(rows, size.width, size.width, size.layers),
        Product(rows, size.width, 2 * size.inner, size.layers),
        Product(rows, size.inner, size.width, size.layers),
        Product(rows, size.width, size.vocabulary),
    ]
    return limits(shapes, threads=threads)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line."""
    found = parser(_MODULE, __doc__)
    found.add_argument("--size", choices=sorted(SIZES), default="small", help="small: 4 x 128, medium: 6 x 384")
    found.add_argument("--nanogpt", default="", help="folder of a checkout of karpathy/nanoGPT")
    options = found.parse_args(arguments)
    facts = run(_MODULE, CONTESTANTS, options)
    if facts is None:
        return
    size = SIZES[options.size]
    facts = compare(
        facts, list(CONTESTANTS), operations=operations_per_token(size), gflops=limit(size, options.threads)
    )
    print(json.dumps({"benchmark": "train_lm", "unit": "tokens/s", "size": options.size} | facts))


if __name__ == "__main__":
    main()
