"""Which split a record belongs to: a hash of its group decides, so it never changes and near copies stay together."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field, model_validator

from llm.config import Config

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class SplitConfig(Config):
    """Shares of groups (not of rows) that are held out."""

    validation: float = Field(0.06, gt=0.0, lt=1.0, description="share of the groups that steer training")
    test: float = Field(0.06, gt=0.0, lt=1.0, description="share of the groups that only the final score sees")
    # Chosen for sizes alone: of only 38 plays it holds out 3 and 3 (7 % of the text each), of the 1,155 components 6 %.
    salt: str = Field(
        "nightshift-1949", description="another salt draws other groups; keep it to compare with earlier models"
    )

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> SplitConfig:
        if self.validation + self.test >= 1.0:
            raise ValueError(f"validation ({self.validation}) and test ({self.test}) must leave something to train on")
        return self


def split_of(group: str, config: SplitConfig) -> Split:
    """The split of every record of `group`, for ever: it depends on the group, the salt and the shares alone.

    A larger share only ever adds groups to a held-out split from the training data, and never swaps them.
    """
    position = _position(group, config.salt)
    if position < config.test:
        return "test"
    if position >= 1.0 - config.validation:
        return "validation"
    return "train"


def _position(group: str, salt: str) -> float:
    # Uniform in [0, 1): the top 53 bits of the hash, which a float holds exactly.
    digest = hashlib.sha256(f"{salt}\0{group}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)
