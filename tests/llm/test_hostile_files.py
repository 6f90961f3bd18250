"""Files that somebody else has made to harm: none runs code, none writes anywhere, each is refused by its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile_archives  # noqa: F401  (each adds its cases)
import hostile_configs  # noqa: F401
import hostile_stages  # noqa: F401
import hostile_weights  # noqa: F401
import pytest
import torch
from hostile_cases import CASES, HARMLESS, Case, Made, fill

from llm.families import load_family
from llm.model.config import EncoderConfig
from llm.model.encoder import EncoderClassifier
from llm.model.folder import save_model
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer

_CHILD = Path(__file__).with_name("hostile_child.py")
_REPOSITORY = Path(__file__).parents[2]


def good_models(root: Path) -> dict[str, Path]:
    """The model that each opener reads, with random weights."""
    folders = {}
    for name in ("classification", "generation"):
        family = load_family(name)
        recipe = family.presets()["smoke"]
        words = TokenizerConfig(vocabulary=270)
        tokenizer = TextTokenizer(train_tokenizer(["apple pear plum"] * 9, words, template=family.template))
        sizes = EncoderConfig(width=16, heads=2, feed_forward=32, max_positions=64, layers=1)
        model = (
            EncoderClassifier(sizes, tokenizer.size, labels=("fruit", "tool"))
            if name == "classification"
            else family.build_model(recipe, None, tokenizer)
        )
        folders[name] = root / name
        facts = {"family": name, "recipe": recipe.model_dump(mode="json"), "params": {}}
        save_model(folders[name], model.eval(), description=facts, generation=None)
        tokenizer.save(folders[name])
    (root / "good").symlink_to(folders["classification"])
    encoder = folders["classification"]
    return {"predictor": encoder, "pretrained": encoder, "start": encoder, "converted": folders["generation"]}


def tree(root: Path) -> dict[str, tuple[int, int, int]]:
    """Everything under `root` but what the product may write, as mode, size and time of change."""
    found = {}
    for folder, folders, files in os.walk(root):
        if Path(folder).parent == root:
            folders[:] = [name for name in folders if name != "work"]
        for name in (*folders, *files):
            status = (Path(folder) / name).lstat()
            found[str(Path(folder) / name)] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What became of each case, by name, and `changed`: files that were made or changed outside of a `work`."""
    root = tmp_path_factory.mktemp("hostile")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        good = good_models(root)
    cases = CASES | {name: Case("predictor", make, "opened", "") for name, make in HARMLESS.items()}
    for name, case in cases.items():
        (root / name / "work").mkdir(parents=True)
        fill(case, Made(root / name / "given", root / f"canary-{name}"), good)
    (root / "cases.json").write_text(json.dumps({name: case.opener for name, case in cases.items()}))
    before = tree(root)
    environment = os.environ | {"PYTHONPATH": str(_REPOSITORY), "OMP_NUM_THREADS": "1", "NIGHTSHIFT_HOME": str(root)}
    command = [sys.executable, "-P", str(_CHILD), str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr[-4000:]
    found = {one.pop("case"): one for one in map(json.loads, done.stdout.splitlines())}
    after = tree(root)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return found | {"changed": {"files": changed}}


# Half a minute in all: each case has a process of its own, with bounds on its memory and time.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_refused_by_name(opened: dict[str, dict[str, Any]], name: str) -> None:
    found = opened[name]
    assert found["kind"] == CASES[name].kind, found
    assert CASES[name].names in found["problem"]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_lies_beside_a_model_is_not_opened(opened: dict[str, dict[str, Any]], name: str) -> None:
    assert opened[name]["kind"] == "opened", opened[name]


def test_nothing_was_executed_and_nothing_written_outside(opened: dict[str, dict[str, Any]]) -> None:
    assert opened["changed"]["files"] == []


def test_there_are_thirty_cases_and_more() -> None:
    assert len(CASES) >= 30
