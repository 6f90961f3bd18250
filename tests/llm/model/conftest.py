"""A checkpoint to start from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_bert import save_checkpoint, tiny_config
from transformers import BertModel


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(4)
    return save_checkpoint(BertModel(tiny_config()), tmp_path / "checkpoint")
