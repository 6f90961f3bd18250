"""A recipe carried out once more beside what was recorded the first time: stage by stage, down to the bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch

from llm.chain import corpus_of, evaluation_of, tokenizer_of, tokens_of
from llm.errors import ModelFolderError
from llm.files import sha256_of
from llm.ingest.corpus import CorpusPlan
from llm.model.config import WEIGHTS_FILE
from llm.recipe import Recipe
from llm.stages import Stage, file_list, restore_stage
from llm.tokenizer import TextTokenizer
from llm.training.stage import MODEL_FOLDER, training_stage
from llm.training.start import Start, choose_start

_SHOWN = 16
_MOST_TENSORS = 5
Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class Recorded:
    """What a first time left behind: manifests (of files only where they were recorded), the model's folder, figures.

    `start` is the folder of the model that the training went on from; None: it started fresh.
    """

    corpus: Manifest
    tokenizer: Manifest
    tokens: Manifest
    model: Path
    metrics: Mapping[str, float]
    start: Path | None


@dataclass(frozen=True)
class Line:
    """One thing beside itself: `then` and `now` stand for its content, `notes` say what is not the same."""

    name: str
    then: str
    now: str
    notes: tuple[str, ...] = ()
    # Whether what follows can still come out the same.
    goes_on: bool = True

    @property
    def same(self) -> bool:
        """True when nothing differs."""
        return self.then == self.now and not self.notes


def rebuild(recipe: Recipe, recorded: Recorded, *, root: Path, downloads: Path) -> Iterator[Line]:
    """Carry out the recipe in the folder `root`, which should be empty; yields each comparison when it can be made.

    Raises what the stages raise, and StageError when the tokenizer that was kept is not the recorded one.
    """
    corpus = corpus_of(recipe, root=root, downloads=downloads)
    yield compare_stage("corpus", recorded.corpus, corpus)
    start = choose_start(recipe, corpus, recorded.start) if recorded.start is not None else None
    if start is not None:
        _restore_tokenizer(start, recorded.tokenizer, root)
    tokenizer = tokenizer_of(recipe, corpus, start, root=root, downloads=downloads)
    yield compare_stage("tokenizer", recorded.tokenizer, tokenizer)
    tokens = tokens_of(recipe, corpus, tokenizer, root=root)
    yield compare_stage("tokens", recorded.tokens, tokens)
    training = training_stage(
        recipe, corpus=corpus, tokens=tokens, tokenizer=tokenizer, start=start, root=root, report=_unheard
    )
    yield compare_models(recorded.model, training.path / MODEL_FOLDER)
    metrics = evaluation_of(recipe, training, corpus, root=root).facts["metrics"]
    for name in dict.fromkeys([*recorded.metrics, *metrics]):
        # As Python writes them, which is to the last bit.
        yield Line(name, str(recorded.metrics.get(name, "none")), str(metrics.get(name, "none")))


def compare_stage(name: str, recorded: Manifest, stage: Stage) -> Line:
    """A stage beside the manifest of the first time: keys, and the SHA-256 of each file where they were recorded."""
    then, now = (
        {file: entry["sha256"] for file, entry in manifest.get("files", {}).items()}
        for manifest in (recorded, stage.manifest)
    )
    notes = tuple(_different(then, now)) if then else ("its files were not recorded",)
    if recorded["key"] != stage.key and not notes:
        notes = ("another key, for the same files: other options or another version of the code",)
    return Line(name, recorded["key"], stage.key, notes, goes_on=not then or not _different(then, now))


def compare_models(registered: Path, rebuilt: Path) -> Line:
    """Two model folders: all files, and of weights that differ the tensors that do so most.

    Raises ModelFolderError when weights are missing or cannot be read.
    """
    files = [{file: entry["sha256"] for file, entry in file_list(folder).items()} for folder in (registered, rebuilt)]
    then, now = (_sum_of_weights(folder)[:_SHOWN] for folder in (registered, rebuilt))
    notes = _different(*files)
    if then != now:
        notes += [
            f"{tensor}: by up to {largest:.3g}" if largest is not None else f"{tensor}: another shape, or only in one"
            for tensor, largest in weight_differences(registered, rebuilt)[:_MOST_TENSORS]
        ]
    return Line("weights", then, now, tuple(notes))


def weight_differences(one: Path, other: Path) -> list[tuple[str, float | None]]:
    """Tensors that differ between two model folders with the largest difference of a number, largest first.

    None, first of all, stands for a tensor that only one has, or that has another shape there.
    """
    first, second = (_weights(folder) for folder in (one, other))
    found: list[tuple[str, float | None]] = []
    for name in dict.fromkeys([*first, *second]):
        a, b = first.get(name), second.get(name)
        if a is None or b is None or a.shape != b.shape:
            found.append((name, None))
        elif not a.equal(b):
            found.append((name, float((a.double() - b.double()).abs().max())))
    return sorted(found, key=lambda pair: -float("inf") if pair[1] is None else -pair[1])


def changed_sources(recorded: Mapping[str, Mapping[str, str]], plan: CorpusPlan) -> list[str]:
    """What a corpus would be read from now that is not what it was read from then, in a sentence each.

    `recorded` holds the SHA-256 of what each part was read from, by its name; nothing of a part that was not recorded.
    """
    now = {part: spec.input_keys for part, spec in plan.shards.items()}
    found = []
    for part in dict.fromkeys([*recorded, *now]):
        if part not in now:
            found.append(f"{part}: is gone")
        elif part not in recorded:
            found.append(f"{part}: is new")
        elif recorded[part]:
            found += [
                f"{name}: SHA-256 was {then}, is {now[part].get(name, 'gone')}"
                for name, then in recorded[part].items()
                if now[part].get(name) != then
            ]
    return found


def _restore_tokenizer(start: Start, recorded: Manifest, root: Path) -> None:
    """Put the tokenizer that the training kept where it was then: the corpus that it was learnt from is long gone."""
    if recorded["stage"] == "tokenizer" and recorded["key"] == start.tokenizer and "files" in recorded:
        restore_stage(recorded, TextTokenizer.load(start.folder).save, root=root)


def _different(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: SHA-256 was {then.get(name, 'none')[:_SHOWN]}, is {now.get(name, 'none')[:_SHOWN]}"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]


def _sum_of_weights(folder: Path) -> str:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ModelFolderError(f"{path}: no such file", remedy="restore the version's artifacts")
    return sha256_of(path)


def _weights(folder: Path) -> dict[str, Any]:
    path = folder / WEIGHTS_FILE
    try:
        return dict(safetensors.torch.load_file(str(path)))
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelFolderError(f"{path}: cannot be read ({error})", remedy="restore the version's artifacts") from None


def _unheard(step: int, values: Mapping[str, float]) -> None:
    """The curve is of no interest here."""
