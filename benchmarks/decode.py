"""Tokens a second while decoding: ours in torch and over CTranslate2, transformers' `generate`, CTranslate2 bare.

Weights are random, so no text means anything, and `</s>` cannot win: all texts have one length, and speed alone is
compared. Prompts and sources are random too. The contenders take turns, round by round; figures are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llm.decoding.config import SearchConfig
from llm.engines.ctranslate2_engine import CTranslate2Engine
from llm.engines.ctranslate2_folder import converted, import_ctranslate2
from llm.engines.torch_engine import TorchEngine
from llm.model.config import DecoderConfig, EncoderDecoderConfig
from llm.model.decoder import DecoderModel
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.model.folder import save_model
from llm.tokenizer import BOS_ID, EOS_ID, PAD_ID, SPECIAL_TOKENS

Inputs = list[list[int]]
# (inputs, beams, new): writes a text of `new` tokens for each input, and says how many tokens that were.
Contender = Callable[[Inputs, int, int], int]
_READ = 16  # tokens of a prompt or a source
_CASES = {"greedy_1": (1, 1), "greedy_32": (32, 1), "beam5_32": (32, 5)}  # inputs, beams


@dataclass(frozen=True)
class Setup:
    """A model in a folder; the converted files are made in it."""

    model: nn.Module
    vocabulary: int
    frame: Callable[[list[int]], list[int]]
    kind: str  # CTranslate2's class

    def inputs(self, count: int, generator: torch.Generator) -> Inputs:
        """Random ids in the frame of the family's template."""
        drawn = torch.randint(len(SPECIAL_TOKENS), self.vocabulary, (count, _READ - 1), generator=generator)
        return [self.frame(row) for row in drawn.tolist()]


def setups() -> dict[str, Setup]:
    """The decoder and the encoder-decoder."""
    decoder = DecoderConfig(width=384, heads=6, kv_heads=6, layers=6, feed_forward=1024, max_positions=256)
    translator = EncoderDecoderConfig(
        width=256, heads=4, encoder_layers=4, decoder_layers=4, feed_forward=1024, max_positions=256
    )
    torch.manual_seed(1)
    models = (DecoderModel(decoder, 4096).eval(), EncoderDecoderModel(translator, 8000).eval())
    for model in models:
        # A score of 0 is in the middle of thousands of random ones, far from the best few.
        model.embedding.weight.data[EOS_ID] = 0.0
    return {
        "decoder_6x384": Setup(models[0], 4096, lambda ids: [BOS_ID, *ids], "Generator"),
        "encoder_decoder_4+4x256": Setup(models[1], 8000, lambda ids: [*ids, EOS_ID], "Translator"),
    }


def contenders(setup: Setup, folder: Path, *, threads: int) -> dict[str, Contender]:
    """All that take part, by name."""
    save_model(folder, setup.model, description={}, generation=None)
    tokens = [*SPECIAL_TOKENS, *(f"t{number}" for number in range(len(SPECIAL_TOKENS), setup.vocabulary))]
    files = converted(folder, setup.model, tokens=tokens, compute_type="int8")
    return {
        "ours_torch": _ours(TorchEngine(setup.model)),
        "ours_torch_bfloat16": _ours(TorchEngine(setup.model, dtype=torch.bfloat16)),
        "ours_ctranslate2_int8": _ours(CTranslate2Engine(files, setup.model, compute_type="int8")),
        "transformers": _transformers(folder),
        "ctranslate2_int8": _ctranslate2(files, tokens, setup.kind, threads=threads),
    }


def _ours(engine: Any) -> Contender:
    def write(inputs: Inputs, beams: int, new: int) -> int:
        return sum(map(len, engine.write(inputs, SearchConfig(max_new_tokens=new, num_beams=beams))))

    return write


def _transformers(folder: Path) -> Contender:
    import transformers

    model: Any = transformers.AutoConfig.from_pretrained(folder)
    model = getattr(transformers, model.architectures[0]).from_pretrained(folder).eval()

    def write(inputs: Inputs, beams: int, new: int) -> int:
        ids = torch.tensor(inputs)
        with torch.inference_mode():
            texts = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                num_beams=beams,
                max_new_tokens=new,
                min_new_tokens=new,
                pad_token_id=PAD_ID,
            )
        # A target begins with one token that is not text, a continuation with its prompt.
        before = 1 if model.config.is_encoder_decoder else ids.shape[1]
        return int(texts.shape[0] * (texts.shape[1] - before))

    return write


def _ctranslate2(files: Path, tokens: list[str], kind: str, *, threads: int) -> Contender:
    writer = getattr(import_ctranslate2(), kind)(
        str(files), compute_type="int8", inter_threads=threads, intra_threads=1
    )

    def write(inputs: Inputs, beams: int, new: int) -> int:
        texts = [[tokens[id_] for id_ in ids] for ids in inputs]
        # A worker needs a batch of its own to have anything to do.
        options = {"beam_size": beams, "max_batch_size": -(-len(inputs) // threads)}
        if kind == "Generator":
            found = writer.generate_batch(
                texts, max_length=new, min_length=new, include_prompt_in_result=False, **options
            )
            return sum(len(result.sequences[0]) for result in found)
        found = writer.translate_batch(texts, max_decoding_length=new, min_decoding_length=new, **options)
        return sum(len(result.hypotheses[0]) for result in found)

    return write


def measure(setup: Setup, folder: Path, *, rounds: int, new: int, threads: int) -> dict[str, Any]:
    """Median tokens a second by case and contender, and ours over each peer."""
    taking_part = contenders(setup, folder, threads=threads)
    results: dict[str, Any] = {}
    for case, (count, beams) in _CASES.items():
        generator = torch.Generator().manual_seed(1)
        speeds: dict[str, list[float]] = {name: [] for name in taking_part}
        # Round 0 warms up and does not count.
        for number in range(rounds + 1):
            inputs = setup.inputs(count, generator)
            for name, write in taking_part.items():
                started = time.perf_counter()
                written = write(inputs, beams, new)
                assert written == count * new, f"{name} wrote {written} tokens"
                if number > 0:
                    speeds[name].append(count * new / (time.perf_counter() - started))
        medians = {name: statistics.median(found) for name, found in speeds.items()}
        results[case] = {"tokens_per_second": {name: round(value, 1) for name, value in medians.items()}}
        results[case]["ratio"] = {
            name: {peer: round(medians[name] / medians[peer], 2) for peer in ("transformers", "ctranslate2_int8")}
            for name in ("ours_torch", "ours_torch_bfloat16", "ours_ctranslate2_int8")
        }
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds of each case")
    parser.add_argument("--new-tokens", type=int, default=64, help="length of every text, in tokens")
    parser.add_argument("--threads", type=int, default=2, help="threads, and workers of CTranslate2")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    results = {}
    for name, setup in setups().items():
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measure(
                setup, Path(folder), rounds=options.rounds, new=options.new_tokens, threads=options.threads
            )
    print(
        json.dumps({"benchmark": "decode", "weights": "random", "new_tokens": options.new_tokens, "results": results})
    )


if __name__ == "__main__":
    main()
