"""Runs of thirteen words: two texts have a run in common if and only if they share one, and then a fingerprint too."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.ingest.word_runs import WORDS, fingerprints, quoted_run, runs

NUMBERS = [f"word{number}" for number in range(40)]
HAN = "天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往秋收冬藏閏餘成歲律呂調陽雲騰致雨露結為霜"
# Two texts of few words, so that they often share long runs.
TEXTS = st.lists(st.sampled_from(["a", "b"]), min_size=8, max_size=40).map(" ".join)


def by_hand(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)}


def of_each(texts: list[str]) -> list[set[int]]:
    hashes, starts = runs(texts)
    return [set(hashes[start:end].tolist()) for start, end in pairwise(starts)]


def fingerprints_of_each(texts: list[str]) -> list[list[int]]:
    values, counts = fingerprints(texts)
    return [found.tolist() for found in np.split(values, np.cumsum(counts)[:-1])]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(one=TEXTS, other=TEXTS)
def test_texts_share_a_hash_where_they_share_a_run_and_then_a_fingerprint(one: str, other: str) -> None:
    first, second = of_each([one, other])
    if min(len(one.split()), len(other.split())) >= WORDS:
        assert len(first & second) == len(by_hand(one) & by_hand(other))
    marks = fingerprints_of_each([one, other])
    if by_hand(one) & by_hand(other):
        assert set(marks[0]) & set(marks[1])


def test_what_a_text_gives_does_not_depend_on_the_texts_beside_it() -> None:
    texts = ["", " ".join(NUMBERS), HAN, "short", "***", " ".join(NUMBERS[5:30]), f"{HAN} and a few words"]
    assert of_each(texts) == [of_each([text])[0] for text in texts]
    assert fingerprints_of_each(texts) == [fingerprints_of_each([text])[0] for text in texts]


def test_a_text_of_fewer_words_is_one_run_and_has_no_fingerprint() -> None:
    texts = [" ".join(NUMBERS[:12]), "", " ", "---"]
    assert list(map(len, of_each(texts))) == [1, 0, 0, 1]
    assert list(map(len, fingerprints_of_each(texts))) == [0, 0, 0, 0]


def test_case_spacing_and_punctuation_make_no_difference() -> None:
    one, other = of_each([" ".join(NUMBERS[:20]), ",\n".join(NUMBERS[:20]).upper() + "!"])
    assert one == other
    assert len(one) == 8


def test_two_of_seven_short_runs_are_kept_on_average() -> None:
    draw = random.Random(1)
    text = " ".join(str(draw.random()).replace(".", "") for _ in range(20_000))
    assert len(fingerprints_of_each([text])[0]) == pytest.approx(20_000 * 2 / 7, rel=0.02)


def test_in_writing_without_spaces_a_run_is_as_many_characters_as_make_thirteen_words() -> None:
    whole, same, fewer = f"{HAN}。", f"始{HAN[3:29]}終。始終始終", f"始{HAN[3:28]}終。始終始終"
    first, second, third = of_each([whole, same, fewer])
    assert len(first & second) == 1
    assert not first & third
    marks = fingerprints_of_each([whole, same])
    assert set(marks[0]) & set(marks[1])


def test_a_run_is_quoted_in_the_letters_of_the_text() -> None:
    text = "Before it: " + ", ".join(NUMBERS[:14]) + "."
    assert quoted_run(text, 2) == ", ".join(NUMBERS[:13])
    assert quoted_run("Two words!", 0) == "two words"
