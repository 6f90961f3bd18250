"""Fixtures of both assemblies, saved with a tokenizer of their size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from saved_models import VOCABULARY, Saved, make_decoder, make_encoder_decoder, make_prompts, make_sources, save

from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(train_tokenizer(["a b"], TokenizerConfig(vocabulary=VOCABULARY), template="$A </s>"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(
    params=[(make_decoder, make_prompts), (make_encoder_decoder, make_sources)], ids=["decoder", "encoder_decoder"]
)
def saved(request: pytest.FixtureRequest, tmp_path: Path, tokenizer: TextTokenizer) -> Saved:
    return save(request.param[0], request.param[1], tmp_path / "model", tokenizer)


@pytest.fixture
def decoder(tmp_path: Path, tokenizer: TextTokenizer) -> Saved:
    return save(make_decoder, make_prompts, tmp_path / "model", tokenizer)


@pytest.fixture
def encoder_decoder(tmp_path: Path, tokenizer: TextTokenizer) -> Saved:
    return save(make_encoder_decoder, make_sources, tmp_path / "model", tokenizer)
