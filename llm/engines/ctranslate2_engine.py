"""CTranslate2 as an engine: int8 or float32 on the CPU, one worker a core, over files converted from our weights."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from llm.config import Config
from llm.decoding.config import SearchConfig
from llm.decoding.search import until
from llm.decoding.steps import check_prompt, check_room, check_source
from llm.engines.ctranslate2_folder import import_ctranslate2
from llm.errors import InputError, ModelFolderError
from llm.files import read_json
from llm.model.decoder import DecoderModel
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.tokenizer import EOS_ID

_ROWS = 32  # texts that one worker writes together
_MOST_SEEDS = 1 << 32
# The seed is the package's, not a model's.
_SAMPLING = threading.Lock()


class CTranslate2Engine:
    """See llm.engines.base.Engine; `files` is a converted folder of `model`.

    Greedy search writes what torch writes, up to rounding; beam search nearly always. Sampling draws other texts than
    torch from the same distribution; one seed gives the same texts again.
    """

    def __init__(self, files: Path, model: nn.Module, *, compute_type: str) -> None:
        self._package = import_ctranslate2()
        self._files = files
        self._compute_type = compute_type
        self._assembly = _ASSEMBLIES[type(model)]
        self._positions: int = model.max_positions  # type: ignore[assignment]
        self._tokens: list[str] = read_json(files / self._assembly.vocabulary)
        self._ids = {token: number for number, token in enumerate(self._tokens)}
        # Workers of one thread: two threads in one worker wait for each other more than they compute.
        self._workers = torch.get_num_threads()
        self._writer = self._load(workers=self._workers)

    def _load(self, *, workers: int) -> Any:
        kind = getattr(self._package, self._assembly.kind)
        try:
            return kind(
                str(self._files), device="cpu", compute_type=self._compute_type, inter_threads=workers, intra_threads=1
            )
        except (RuntimeError, ValueError, MemoryError) as error:
            raise ModelFolderError(
                f"{self._files}: CTranslate2 cannot load it ({error})", remedy="delete it: it will be made anew"
            ) from None

    def write(
        self, inputs: Sequence[Sequence[int]], config: SearchConfig, *, numbers: Sequence[int] | None = None
    ) -> list[list[int]]:
        """See Engine.

        Raises InputError too for a seed that CTranslate2 does not take.
        """
        del numbers  # its random numbers are those of a whole call
        for number, ids in enumerate(inputs):
            self._assembly.check(ids, config, number=number, positions=self._positions)
        tokens = [[self._tokens[id_] for id_ in ids] for ids in inputs]
        written = self._sample(tokens, config) if config.temperature > 0 else self._search(tokens, config)
        return [until([self._ids[token] for token in text], EOS_ID) for text in written]

    def stream(self, ids: Sequence[int], config: SearchConfig) -> Iterator[int]:
        """See Engine: CTranslate2 writes the whole text first."""
        yield from self.write([ids], config)[0]

    def independent(self, config: Config) -> bool:
        """See Engine: samples depend on the texts that are drawn before them."""
        return not isinstance(config, SearchConfig) or config.temperature == 0

    def _search(self, tokens: list[list[str]], config: SearchConfig) -> list[list[str]]:
        # A batch smaller than all workers' full ones is shared out among them.
        rows = min(_ROWS, -(-len(tokens) // self._workers))
        options: dict[str, Any] = {"beam_size": config.num_beams, "max_batch_size": rows}
        if config.num_beams > 1:
            # Its score of a text is ours: the sum of log-probabilities / length ** penalty, the end token counted. But
            # it ends a search once num_beams texts are complete, we when no running text can enter the best num_beams:
            # a patience of 2 finds our texts more often and takes 1.3 times as long.
            options["length_penalty"] = config.length_penalty
        return self._assembly.run(self._writer, tokens, config.max_new_tokens, options)

    def _sample(self, tokens: list[list[str]], config: SearchConfig) -> list[list[str]]:
        if config.seed >= _MOST_SEEDS:
            raise InputError(
                f"seed = {config.seed}, but CTranslate2 takes seeds below {_MOST_SEEDS}", remedy="use a smaller seed"
            )
        options = {
            "beam_size": 1,
            "max_batch_size": _ROWS,
            "sampling_temperature": config.temperature,
            "sampling_topk": config.top_k,
            "sampling_topp": config.top_p,
        }
        with _SAMPLING:
            self._package.set_random_seed(config.seed)
            # A worker's random stream begins with its thread and is never set back: a new worker repeats itself.
            return self._assembly.run(self._load(workers=1), tokens, config.max_new_tokens, options)


class _Assembly(Protocol):
    """How one of our assemblies is called."""

    @property
    def kind(self) -> str:
        """CTranslate2's class."""

    @property
    def vocabulary(self) -> str:
        """The converted file that holds the tokens by id."""

    def check(self, ids: Sequence[int], config: SearchConfig, *, number: int, positions: int) -> None:
        """Raise InputError when input `number` does not fit the model."""

    def run(self, writer: Any, tokens: list[list[str]], longest: int, options: dict[str, Any]) -> list[list[str]]:
        """Tokens of the texts."""


class _Decoder:
    kind = "Generator"
    vocabulary = "vocabulary.json"

    def check(self, ids: Sequence[int], config: SearchConfig, *, number: int, positions: int) -> None:
        check_prompt(ids, number=number)
        check_room(len(ids), config.max_new_tokens, max_positions=positions)

    def run(self, writer: Any, tokens: list[list[str]], longest: int, options: dict[str, Any]) -> list[list[str]]:
        written: list[list[str]] = [[] for _ in tokens]
        # A prompt of one token makes CTranslate2 4.8 return the prompts of the longer ones in its batch as their text.
        alone = [row for row, prompt in enumerate(tokens) if len(prompt) == 1]
        others = [row for row, prompt in enumerate(tokens) if len(prompt) > 1]
        for rows in (alone, others):
            prompts = [tokens[row] for row in rows]
            found = writer.generate_batch(prompts, max_length=longest, include_prompt_in_result=False, **options)
            for row, result in zip(rows, found, strict=True):
                written[row] = result.sequences[0]
        return written


class _EncoderDecoder:
    kind = "Translator"
    vocabulary = "shared_vocabulary.json"

    def check(self, ids: Sequence[int], config: SearchConfig, *, number: int, positions: int) -> None:  # noqa: ARG002
        check_source(len(ids), max_positions=positions)
        check_room(0, config.max_new_tokens, max_positions=positions)

    def run(self, writer: Any, tokens: list[list[str]], longest: int, options: dict[str, Any]) -> list[list[str]]:
        # Its defaults would cut sources, and forbid a text to end at once.
        limits = {"max_input_length": 0, "min_decoding_length": 0, "max_decoding_length": longest}
        return [result.hypotheses[0] for result in writer.translate_batch(tokens, **limits, **options)]


_ASSEMBLIES: dict[type[nn.Module], _Assembly] = {DecoderModel: _Decoder(), EncoderDecoderModel: _EncoderDecoder()}
