"""The test that a version must pass before a person's decision makes it champion: whole, loadable, and it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm.errors import GateError
from llm.files import temporary_folder
from llm.home import scratch_folder
from tasks.registry.folders import download_logged_model
from tasks.registry.versions import Version
from tasks.reload import FreshProcess

# A model of any family takes any text; what it says to these is not judged, but it must say something.
INPUTS = ("Good evening.", "Is anybody there?")


def load_test(version: Version, process: FreshProcess) -> str:
    """Download the version, check its SHA-256 sums and let it answer in `process`; returns what was seen.

    Raises ChecksumError when a file is not the one that was registered, RegistryError when the files cannot be fetched,
    GateError when the model does not load, or answers with what is no answer.
    """
    with temporary_folder(scratch_folder(), prefix="nightshift-") as temporary:
        folder = download_logged_model(version, Path(temporary))
        answered = process.ask(str(folder), INPUTS)
    failure = answered.failure or _wrong(answered.answers or ())
    if failure:
        raise GateError(
            f"{version.family} version {version.version} cannot be champion: {failure}",
            remedy=f"name another version; nightshift history {version.family} lists those that were champion",
        )
    # A version that somebody registered by hand.
    unknown = "registered without SHA-256 sums, so its files could not be checked"
    files = f"its {len(version.files)} files are those that were registered" if version.files else unknown
    return f"{files}; loads in a fresh process and answers {len(INPUTS)} of {len(INPUTS)} inputs"


def _wrong(answers: Sequence[Any]) -> str:
    if len(answers) != len(INPUTS):
        return f"the logged model gave {len(answers)} answers to {len(INPUTS)} inputs"
    for text, answer in zip(INPUTS, answers, strict=True):
        if not isinstance(answer, str | Mapping) or not _is_finite(answer):
            return f"the logged model answers {text!r} with {answer!r:.80}"
    return ""


def _is_finite(answer: Any) -> bool:
    if isinstance(answer, Mapping):
        return all(_is_finite(value) for value in answer.values())
    if isinstance(answer, list):
        return all(_is_finite(value) for value in answer)
    return not isinstance(answer, float) or math.isfinite(answer)
