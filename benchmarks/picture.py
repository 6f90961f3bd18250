"""Draw the README's picture: loss curves of the newest trainings, and what their models answer."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from llm.families import FAMILIES
from llm.files import read_json, read_jsonl
from llm.home import stages_folder
from llm.stages import Stage, open_stage
from llm.training.stage import HISTORY_FILE, PREDICTIONS_FILE

_SAMPLES = 3
_WIDTH = 40


def newest_trainings(root: Path) -> dict[str, Stage]:
    """The training stage of each family that was finished last."""
    found: dict[str, Stage] = {}
    stages = [open_stage(path.parent) for path in root.glob("training/*/manifest.json")]
    for stage in sorted(stages, key=lambda stage: stage.manifest["finished"]):
        found[stage.manifest["config"]["family"]] = stage
    return {family: found[family] for family in FAMILIES if family in found}


def draw_curve(axes: Axes, family: str, stage: Stage) -> None:
    """Training and validation loss over steps."""
    history = list(read_jsonl(stage.path / HISTORY_FILE))
    for name, style in (("training_loss", {"alpha": 0.45}), ("validation_loss", {"marker": "o", "markersize": 3})):
        points = [(point["step"], point[name]) for point in history if name in point]
        axes.plot(*zip(*points, strict=True), label=name.replace("_", " "), **style)
    axes.set_title(f"{family}: {stage.facts['parameters'] / 1e6:.1f} M parameters", fontsize=10)
    axes.set_xlabel("step")
    axes.set_ylabel("nats a target")
    axes.legend(fontsize=8)


def sample_lines(stage: Stage) -> list[tuple[str, str]]:
    """Inputs of the test split with the model's answers."""
    stored = read_json(stage.path / PREDICTIONS_FILE)
    pairs = list(zip(stored["inputs"], stored["answers"], strict=True))
    return [(text, answer_text(answer)) for text, answer in pairs[:: max(1, len(pairs) // _SAMPLES)][:_SAMPLES]]


def answer_text(answer: Any) -> str:
    """An answer in a few words."""
    return f"{answer['label']} ({answer['score']:.2f})" if isinstance(answer, dict) else str(answer)


def draw_samples(axes: Axes, stage: Stage) -> None:
    """A table of inputs and answers."""
    axes.axis("off")
    cells = [
        [textwrap.fill(textwrap.shorten(cell.replace("\n", " / "), 3 * _WIDTH), _WIDTH) for cell in pair]
        for pair in sample_lines(stage)
    ]
    table = axes.table(cellText=cells, colLabels=["input (test split)", "answer"], cellLoc="left", loc="upper center")
    table.auto_set_font_size(False)
    table.set_fontsize(6.5)
    table.scale(1, 3.4)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.picture", description=__doc__)
    parser.add_argument("out", type=Path, help="PNG file to write")
    out = parser.parse_args().out
    trainings = newest_trainings(stages_folder())
    figure, grid = plt.subplots(2, len(trainings), figsize=(5.4 * len(trainings), 7), squeeze=False)
    for column, (family, stage) in enumerate(trainings.items()):
        draw_curve(grid[0][column], family, stage)
        draw_samples(grid[1][column], stage)
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    print(out)


if __name__ == "__main__":
    main()
