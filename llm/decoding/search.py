"""The one entry of the room: turns a SearchConfig into greedy search, sampling or beam search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from llm.decoding import beam, sampling
from llm.decoding.config import SearchConfig
from llm.decoding.steps import NextToken


@torch.inference_mode()
def search(
    steps: NextToken, config: SearchConfig, *, eos_id: int, pad_id: int, numbers: Sequence[int] | None = None
) -> list[list[int]]:
    """New tokens of each text, without the prompt and without `eos_id`.

    Greedy search and beam search give the tokens that transformers' `generate` gives for the same model (beam search
    with `early_stopping=False`). Sampling draws from `generator` (a CPU one), by default a new one seeded with
    `config.seed`: the same seed gives the same texts, whatever the global random state, and leaves that as it was. Pass
    one generator to several calls when their texts must not share their random numbers.

    Raises InputError when the texts do not fit the model with `config.max_new_tokens` more tokens.
    """
    if steps.rows == 0:
        return []
    if config.num_beams > 1:
        written = beam.write(
            steps,
            num_beams=config.num_beams,
            length_penalty=config.length_penalty,
            max_new_tokens=config.max_new_tokens,
            eos_id=eos_id,
            pad_id=pad_id,
        )
    else:
        choose = _choice(config, range(steps.rows) if numbers is None else numbers)
        written = sampling.write(steps, choose, max_new_tokens=config.max_new_tokens, eos_id=eos_id, pad_id=pad_id)
    return [until(ids, eos_id) for ids in written.tolist()]


@torch.inference_mode()
def search_one(steps: NextToken, config: SearchConfig, *, eos_id: int) -> Iterator[int]:
    """The tokens of one text as `search` would write it alone, each as soon as it is chosen; no beam search.

    Raises InputError when the text does not fit the model with `config.max_new_tokens` more tokens.
    """
    assert steps.rows == 1
    assert config.num_beams == 1, "a beam search knows no token before it knows all"
    choose = _choice(config, [0])
    yield from sampling.write_one(steps, choose, max_new_tokens=config.max_new_tokens, eos_id=eos_id)


def _choice(config: SearchConfig, numbers: Sequence[int]) -> sampling.Choose:
    if config.temperature == 0:
        return sampling.greedy
    return sampling.Sampler(
        uniform=sampling.uniform_numbers(numbers, seed=config.seed, count=config.max_new_tokens),
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
    )


def until(ids: list[int], eos_id: int) -> list[int]:
    """What stands before the first `eos_id`."""
    return ids[: ids.index(eos_id)] if eos_id in ids else ids
