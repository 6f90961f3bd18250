"""Bits per byte of the decoder, against scores summed by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from llm.families.generation import Generation, _score
from llm.model.config import DecoderConfig
from llm.model.decoder import DecoderModel
from llm.predictor import Predictor

VOCABULARY = 50


def predictor(max_positions: int) -> Predictor:
    torch.manual_seed(2)
    config = DecoderConfig(width=16, heads=2, kv_heads=2, layers=1, feed_forward=32, max_positions=max_positions)
    unused: Any = None
    model = DecoderModel(config, VOCABULARY).eval()
    return Predictor(family=Generation(), model=model, tokenizer=unused, description={}, engine=unused)


def stream(length: int) -> np.ndarray:
    ids = np.random.default_rng(1).integers(4, VOCABULARY, size=length).astype(np.int32)
    ids[0] = 1
    ids[length // 2] = 1  # a second text begins; <s> is given, never predicted
    return ids


def test_a_stream_within_one_window_is_the_sum_over_its_tokens() -> None:
    ids = stream(20)
    subject = predictor(64)
    nats = _score(subject, ids, window=64)
    with torch.inference_mode():
        logs = subject.model(torch.from_numpy(ids[None, :-1].astype(np.int64))).log_softmax(-1)[0]
    expected = [0.0, *(0.0 if token == 1 else -logs[place, token].item() for place, token in enumerate(ids[1:]))]
    assert nats.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("length", [17, 33, 64, 100, 101, 257])
def test_every_token_but_the_start_tokens_is_counted_once_whatever_the_length(length: int) -> None:
    nats = _score(predictor(16), stream(length), window=16)
    assert np.flatnonzero(nats == 0).tolist() == [0, length // 2]


def test_a_model_that_knows_nothing_scores_the_uniform_distribution() -> None:
    subject = predictor(16)
    torch.nn.init.zeros_(subject.model.embedding.weight)
    nats = _score(subject, stream(100), window=16)
    assert nats[nats > 0].tolist() == pytest.approx([math.log(VOCABULARY)] * 98, rel=1e-6)


def test_a_short_window_scores_as_a_model_that_holds_no_more_would() -> None:
    # The positions beyond the window exist in the model, but were never trained: they must not be used.
    ids = stream(100)
    long, short = predictor(64), predictor(16)
    long.model.load_state_dict(short.model.state_dict())
    assert _score(long, ids, window=16) == pytest.approx(_score(short, ids, window=16), rel=1e-6)
    assert _score(long, ids, window=64).sum() != pytest.approx(_score(long, ids, window=16).sum(), rel=1e-6)
