"""What the contestants of benchmarks.decode share: models with their inputs, and how each engine writes texts.

Weights are random, and then `</s>` cannot win: all texts have one length, and speed alone is compared. Or they are
those of a trained translator, and the inputs are sentences: texts end where they end, and beams share what they begin
with, as they do in use.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

Inputs = list[list[int]]
# (inputs, beams) -> the tokens of each text
Writer = Callable[[Inputs, int], list[list[int]]]

READ = 16  # tokens of a random prompt or source


@dataclass(frozen=True)
class Setup:
    """A model and what it reads; `forced`: every text gets `new` tokens, else at most so many."""

    model: nn.Module
    tokens: list[str]
    inputs: Inputs
    kind: str  # CTranslate2's class
    new: int
    forced: bool


def random_decoder(options: argparse.Namespace) -> Setup:
    """Six layers 384 wide."""
    from llm.model.config import DecoderConfig
    from llm.model.decoder import DecoderModel
    from llm.tokenizer import BOS_ID

    sizes = DecoderConfig(width=384, heads=6, kv_heads=6, layers=6, feed_forward=1024, max_positions=256)
    return _random(sizes, DecoderModel, 4096, lambda ids: [BOS_ID, *ids], "Generator", options)


def random_translator(options: argparse.Namespace) -> Setup:
    """Four and four layers 256 wide."""
    from llm.model.config import EncoderDecoderConfig
    from llm.model.encoder_decoder import EncoderDecoderModel
    from llm.tokenizer import EOS_ID

    sizes = EncoderDecoderConfig(
        width=256, heads=4, encoder_layers=4, decoder_layers=4, feed_forward=1024, max_positions=256
    )
    return _random(sizes, EncoderDecoderModel, 8000, lambda ids: [*ids, EOS_ID], "Translator", options)


def _random(
    sizes: Any, assembly: Any, vocabulary: int, frame: Callable[[list[int]], list[int]], kind: str, options: Any
) -> Setup:
    import torch

    from llm.tokenizer import EOS_ID, SPECIAL_TOKENS

    torch.manual_seed(1)
    model = assembly(sizes, vocabulary).eval()
    # A score of 0 is in the middle of thousands of random ones, far from the best few.
    model.embedding.weight.data[EOS_ID] = 0.0
    tokens = [*SPECIAL_TOKENS, *(f"t{number}" for number in range(len(SPECIAL_TOKENS), vocabulary))]
    drawn = torch.randint(len(SPECIAL_TOKENS), vocabulary, (32, READ - 1)).tolist()
    return Setup(model, tokens, [frame(row) for row in drawn], kind, options.new_tokens, forced=True)


def trained_translator(options: argparse.Namespace) -> Setup:
    """The translator in `options.model`, and the sources of Multi30k's test set in `options.data`."""
    from llm.model.folder import load_model
    from llm.tokenizer import TextTokenizer

    tokenizer = TextTokenizer.load(Path(options.model))
    sources = gzip.decompress((options.data / "test_2016_flickr.en.gz").read_bytes()).decode().splitlines()
    return Setup(
        load_model(Path(options.model)),
        tokenizer.tokens(),
        tokenizer.encode_batch(sources),
        "Translator",
        new=96,
        forced=False,
    )


SETUPS: dict[str, Callable[[argparse.Namespace], Setup]] = {
    "decoder_6x384": random_decoder,
    "encoder_decoder_4+4x256": random_translator,
    "multi30k": trained_translator,
}


def ours(name: str) -> Callable[[Setup, Path, int], Writer]:
    """One of our engines."""

    def make(setup: Setup, folder: Path, threads: int) -> Writer:
        import torch

        from llm.decoding.config import SearchConfig
        from llm.engines.base import load_engine

        torch.set_num_threads(threads)

        class Tokens:
            def tokens(self) -> list[str]:
                return setup.tokens

        engine = load_engine(name, folder=folder, model=setup.model, tokenizer=Tokens())  # type: ignore[arg-type]
        return lambda inputs, beams: engine.write(inputs, SearchConfig(max_new_tokens=setup.new, num_beams=beams))

    return make


def transformers_generate(setup: Setup, folder: Path, threads: int) -> Writer:
    """`generate` of the twin."""
    import torch
    import transformers

    from llm.decoding.search import until
    from llm.tokenizer import EOS_ID, PAD_ID

    torch.set_num_threads(threads)
    config = transformers.AutoConfig.from_pretrained(folder)
    model = getattr(transformers, config.architectures[0]).from_pretrained(folder).eval()

    def write(inputs: Inputs, beams: int) -> list[list[int]]:
        longest = max(map(len, inputs))
        ids = torch.tensor([text + [PAD_ID] * (longest - len(text)) for text in inputs])
        with torch.inference_mode():
            texts = model.generate(
                input_ids=ids,
                attention_mask=(ids != PAD_ID).long(),
                do_sample=False,
                num_beams=beams,
                max_new_tokens=setup.new,
                min_new_tokens=setup.new if setup.forced else 0,
                pad_token_id=PAD_ID,
                eos_token_id=EOS_ID,
            )
        # A target begins with one token that is not text, a continuation with its prompt.
        before = 1 if config.is_encoder_decoder else longest
        return [until(text, EOS_ID) for text in texts[:, before:].tolist()]

    return write


def bare_ctranslate2(setup: Setup, folder: Path, threads: int) -> Writer:
    """The package alone, int8, over the files that our engine converts: workers of one thread."""
    from llm.engines.ctranslate2_folder import converted, import_ctranslate2

    files = converted(folder, setup.model, tokens=setup.tokens, compute_type="int8")
    kind = getattr(import_ctranslate2(), setup.kind)
    writer = kind(str(files), compute_type="int8", inter_threads=threads, intra_threads=1)
    places = {token: place for place, token in enumerate(setup.tokens)}
    shortest = setup.new if setup.forced else 0

    def write(inputs: Inputs, beams: int) -> list[list[int]]:
        texts = [[setup.tokens[id_] for id_ in ids] for ids in inputs]
        # A worker needs a batch of its own to have anything to do.
        options = {"beam_size": beams, "max_batch_size": min(32, -(-len(inputs) // threads))}
        if setup.kind == "Generator":
            found = writer.generate_batch(
                texts, max_length=setup.new, min_length=shortest, include_prompt_in_result=False, **options
            )
            written = [result.sequences[0] for result in found]
        else:
            found = writer.translate_batch(
                texts, max_decoding_length=setup.new, min_decoding_length=shortest, **options
            )
            written = [result.hypotheses[0] for result in found]
        return [[places[token] for token in text] for text in written]

    return write


WRITERS: dict[str, Callable[[Setup, Path, int], Writer]] = {
    "ours_torch": ours("torch"),
    "ours_torch_float16": ours("torch-float16"),
    "ours_torch_bfloat16": ours("torch-bfloat16"),
    "ours_ctranslate2_float32": ours("ctranslate2-float32"),
    "ours_ctranslate2_int8": ours("ctranslate2-int8"),
    "transformers": transformers_generate,
    "ctranslate2_int8": bare_ctranslate2,
}
