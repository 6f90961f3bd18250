"""Pictures are small PNG files, whatever the names in them, and matplotlib keeps nothing."""

from __future__ import annotations

import numpy as np
import pytest

from llm.evidence import pictures
from llm.metrics.calibration import reliability

NAMES = ["$\\frac{$", "<script>", "日本語", "a_b^c", "x" * 300, ""]
SCORES = np.random.default_rng(0).beta(8, 1, 500)
HISTORY = [{"step": step, "training_loss": 5 / step} for step in range(1, 500)]


@pytest.mark.parametrize(
    "picture",
    [
        lambda: pictures.reliability(reliability(SCORES, SCORES > 0.8)),
        lambda: pictures.reliability(reliability([0.5], [1])),
        lambda: pictures.confusion(NAMES, np.arange(36).reshape(6, 6)),
        lambda: pictures.confusion(NAMES, np.zeros((6, 6), dtype=np.int64)),
        lambda: pictures.confusion([f"language {n}" for n in range(20)], np.eye(20, dtype=np.int64)),
        lambda: pictures.by_length([5.0, 80.0], [(90.0, 88.0, 91.0), (95.0, 95.0, 95.0)], metric="bleu"),
        lambda: pictures.loss_curve([*HISTORY, {"step": 9, "validation_loss": 2.0}]),
        lambda: pictures.loss_curve(HISTORY[:1]),
    ],
    ids=["reliability", "one row", "odd names", "no counts", "20 classes", "length", "loss", "one step"],
)
def test_each_is_a_png_file_of_less_than_100_kilobytes(picture):
    found = picture()
    assert found.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(found) < 100_000


def test_no_figure_is_kept_and_no_window_chosen():
    import matplotlib.pyplot as plt

    pictures.reliability(reliability([0.5, 0.9], [0, 1]))
    assert plt.get_fignums() == []
