"""Near duplicates, measured: which share of edited copies is found, and which share of other records is let alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from llm.near_duplicates import PERMUTATIONS, THRESHOLD, clusters, estimated_similarity, signatures

Words = list[str]
Edit = Callable[[Words, np.random.Generator], Words]
WORDS = np.array(["".join(pair) + str(i) for i, pair in enumerate(["ab", "cd", "ef", "gh"] * 1000)])
ZIPF = (1 / np.arange(1, len(WORDS) + 1)) / np.sum(1 / np.arange(1, len(WORDS) + 1))


def drawn(rng: np.random.Generator, count: int) -> Words:
    words: Words = rng.choice(WORDS, size=count, p=ZIPF).tolist()
    return words


def a_tenth(words: Words, rng: np.random.Generator) -> list[int]:
    places: list[int] = rng.choice(len(words), size=round(len(words) / 10), replace=False).tolist()
    return sorted(places, reverse=True)


def replaced(words: Words, rng: np.random.Generator) -> Words:
    copy = list(words)
    fresh = iter(drawn(rng, 10 * len(words)))
    for place in a_tenth(words, rng):
        copy[place] = next(word for word in fresh if word != words[place])
    return copy


def inserted_and_deleted(words: Words, rng: np.random.Generator) -> Words:
    copy = list(words)
    fresh = drawn(rng, len(words))
    for turn, place in enumerate(a_tenth(words, rng)):
        copy[place : place + turn % 2] = [] if turn % 2 else fresh[turn : turn + 1]
    return copy


def shingles(text: str) -> set[tuple[str, str]]:
    words = re.findall(r"[^\W_]+", text.lower())
    return set(pairwise(words))


def jaccard(a: str, b: str) -> float:
    return len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))


def measured(originals: list[Words], *, edit: Edit, seed: int) -> tuple[float, float]:
    """Share of planted copies that were found, and of other records that were joined with something unlike them."""
    rng = np.random.default_rng(seed)
    copied = rng.choice(len(originals), size=len(originals) // 5, replace=False)
    texts = [" ".join(words) for words in originals]
    texts += [" ".join(edit(originals[i], rng)) for i in copied]
    order = rng.permutation(len(texts))
    first = np.empty(len(texts), dtype=np.int64)
    first[order] = order[clusters(signatures([texts[i] for i in order]), threshold=THRESHOLD)]
    others = np.setdiff1d(np.arange(len(originals)), copied)
    mates = [[j for j in np.flatnonzero(first == first[i]) if j != i] for i in others]
    # Paragraphs of documentation repeat each other: only what exact similarity does not bear out is an error.
    wrong = [
        bool(found) and max(jaccard(texts[i], texts[j]) for j in found) < THRESHOLD - 0.05
        for i, found in zip(others, mates, strict=True)
    ]
    return float(np.mean(first[copied] == first[len(originals) :])), float(np.mean(wrong))


@cache
def made_up(seed: int) -> list[Words]:
    rng = np.random.default_rng(100 + seed)
    ends = np.cumsum(rng.integers(30, 301, size=2500)).tolist()
    words = drawn(rng, ends[-1])
    return [words[start:end] for start, end in pairwise([0, *ends])]


@cache
def documentation() -> list[Words]:
    """Paragraphs of 30 to 300 words, each once."""
    found: dict[str, Words] = {}
    for package, file in [("numpy", "ma/core.py"), ("pandas", "core/generic.py")]:
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        for node in ast.walk(ast.parse((Path(spec.origin).parent / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
                    words = re.findall(r"[^\W_]+", paragraph.lower())
                    if 30 <= len(words) <= 300:
                        found[" ".join(words)] = words
    return list(found.values())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("edit", [replaced, inserted_and_deleted])
def test_copies_with_a_tenth_of_their_words_changed_are_found_and_nothing_else(edit: Edit, seed: int) -> None:
    found, wrong = measured(made_up(seed), edit=edit, seed=seed)
    assert found >= 0.95
    assert wrong <= 0.005


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("edit", [replaced, inserted_and_deleted])
def test_changed_copies_of_prose_are_found_and_nothing_else(edit: Edit, seed: int) -> None:
    assert len(documentation()) > 300
    found, wrong = measured(documentation(), edit=edit, seed=seed)
    assert found >= 0.95
    assert wrong <= 0.005


def test_the_estimate_is_near_the_exact_similarity() -> None:
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(400):
        words = drawn(rng, 150)
        start = int(rng.integers(0, 150))
        pairs.append((" ".join(words), " ".join([*words[start:], *drawn(rng, start)])))
    exact = np.array([jaccard(a, b) for a, b in pairs])
    errors = estimated_similarity(signatures([a for a, _ in pairs]), signatures([b for _, b in pairs])) - exact
    # Independent numbers would have a deviation of sqrt(J (1 - J) / P), and the mean of 400 a twentieth of that.
    deviation = np.sqrt(np.mean(exact * (1 - exact)) / PERMUTATIONS)
    assert abs(errors.mean()) < 5 * deviation / 20
    assert errors.std() < 1.2 * deviation
