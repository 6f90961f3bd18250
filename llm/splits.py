"""Which split a record belongs to: a hash of its group decides, so it never changes and near copies stay together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from llm.config import Config

Split = Literal["train", "validation", "test"]
# From what is trained on to what only the final score sees.
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
    return SPLITS[int(splits_of(group_places([group], config.salt), config)[0])]


def group_places(groups: Sequence[str], salt: str) -> NDArray[np.float64]:
    """(n,) numbers in [0, 1), uniform over groups, each of which stands for a group."""
    digests = b"".join([hashlib.sha256(f"{salt}\0{group}".encode()).digest()[:8] for group in groups])
    # The top 53 bits of the hash, which a float holds exactly.
    return (np.frombuffer(digests, dtype=">u8") >> np.uint64(11)) / np.float64(1 << 53)


def splits_of(places: NDArray[np.float64], config: SplitConfig) -> NDArray[np.int8]:
    """(N,) places of groups -> (N,) numbers of their splits in SPLITS."""
    held_out = np.where(places >= 1.0 - config.validation, SPLITS.index("validation"), SPLITS.index("train"))
    return np.where(places < config.test, SPLITS.index("test"), held_out).astype(np.int8)
