"""Near duplicates: signatures that never change, clusters of what similar pairs connect, in flat memory."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from writings import CHINESE, HINDI, SENTENCE, THAI

from llm import near_duplicates
from llm.near_duplicates import (
    PERMUTATIONS,
    THRESHOLD,
    SignatureFile,
    clusters,
    estimated_similarity,
    signatures,
)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Open the door", "open  the\tdoor!"),
        ("Open the door", "(Open the *door*)"),
        ("cafe\u0301 society", "Café Society"),
        ("\uff21\uff22\uff23 one", "abc one"),
        (SENTENCE, SENTENCE.upper().replace(" ", "\n") + "."),
        ("", ""),
    ],
)
def test_case_spacing_punctuation_and_form_of_characters_make_no_difference(a: str, b: str) -> None:
    assert np.array_equal(*signatures([a, b]))


def test_a_text_has_the_same_signature_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [SENTENCE, "", CHINESE, "***", "Open the door", THAI, HINDI, "\ud800", SENTENCE[:70], "x" * 300]
    alone = np.concatenate([signatures([text]) for text in texts])
    assert np.array_equal(signatures(texts), alone)
    assert np.array_equal(signatures(texts[::-1]), alone[::-1])
    monkeypatch.setattr(near_duplicates, "_CHARACTERS_AT_ONCE", 100)
    assert np.array_equal(signatures(texts), alone)


def test_signatures_are_the_ones_they_have_always_been() -> None:
    # Written down once: a change here (ours, or of rensa) makes signatures on disk worthless.
    script = f"from llm.near_duplicates import signatures; print(*signatures([{SENTENCE!r}, {CHINESE!r}])[:, :4].flat)"
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert [int(number) for number in printed.split()] == [64115, 22508, 26181, 56616, 16192, 56768, 39960, 63345]


def test_of_a_very_long_text_the_beginning_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_LONGEST", len(SENTENCE))
    assert np.array_equal(*signatures([SENTENCE, SENTENCE + " and more"]))


def test_a_cluster_is_what_similar_pairs_connect() -> None:
    rng = np.random.default_rng(0)
    a, b, c, alone = rng.integers(0, 1 << 16, (4, PERMUTATIONS), dtype=np.uint16)
    # b has two thirds of a, c two thirds of b and a third of a.
    b[: PERMUTATIONS * 2 // 3] = a[: PERMUTATIONS * 2 // 3]
    c[PERMUTATIONS // 3 :] = b[PERMUTATIONS // 3 :]
    assert clusters(np.array([c, alone, a]), threshold=0.6).tolist() == [0, 1, 2]
    assert clusters(np.array([c, alone, a, b]), threshold=0.6).tolist() == [0, 1, 0, 0]


def test_records_below_the_threshold_stay_apart_though_a_band_agrees() -> None:
    rows = np.random.default_rng(0).integers(0, 1 << 16, (2, PERMUTATIONS), dtype=np.uint16)
    rows[1, : PERMUTATIONS // 2] = rows[0, : PERMUTATIONS // 2]
    assert clusters(rows, threshold=0.5).tolist() == [0, 0]
    assert clusters(rows, threshold=0.51).tolist() == [0, 1]


def alike_in_one_band(row: NDArray[np.uint16], *, band: int, place: int) -> NDArray[np.uint16]:
    """A signature that has three numbers of each band of another, and all four of one band."""
    copy = row.copy()
    copy[place::4] += 1
    copy[4 * band : 4 * band + 4] = row[4 * band : 4 * band + 4]
    return copy


def test_similar_records_are_found_behind_an_unlike_one_of_their_run() -> None:
    unlike, a = np.random.default_rng(0).integers(0, 1 << 16, (2, PERMUTATIONS), dtype=np.uint16)
    unlike[:4] = a[:4]
    assert clusters(np.array([unlike, a, alike_in_one_band(a, band=0, place=1)]), threshold=0.7).tolist() == [0, 1, 1]


def test_a_cluster_that_is_joined_to_an_earlier_one_takes_its_number() -> None:
    row = np.random.default_rng(0).integers(0, 1 << 16, PERMUTATIONS, dtype=np.uint16)
    early, late = alike_in_one_band(row, band=23, place=0), alike_in_one_band(row, band=0, place=1)
    assert clusters(np.array([early, row, late]), threshold=0.7).tolist() == [0, 0, 0]


def test_families_are_those_that_comparing_all_pairs_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_RECORDS_AT_ONCE", 7)
    monkeypatch.setattr(near_duplicates, "_PAIRS_AT_ONCE", 3)
    rng = np.random.default_rng(0)
    family = rng.integers(0, 40, 200)
    rows = rng.integers(0, 1 << 16, (40, PERMUTATIONS), dtype=np.uint16)[family]
    noise = rng.random(rows.shape) < 0.05
    rows[noise] = rng.integers(0, 1 << 16, int(noise.sum()))
    assert clusters(rows, threshold=0.6).tolist() == [int(np.argmax(family == one)) for one in family]


@pytest.mark.parametrize("at_once", [10, 1 << 18])
def test_a_run_of_many_copies_is_compared_once_each(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    compared = 0

    def counting(a: NDArray[np.uint16], b: NDArray[np.uint16]) -> NDArray[np.float64]:
        nonlocal compared
        compared += len(a)
        return estimated_similarity(a, b)

    monkeypatch.setattr(near_duplicates, "estimated_similarity", counting)
    monkeypatch.setattr(near_duplicates, "_RECORDS_AT_ONCE", at_once)
    rows = np.repeat(signatures([SENTENCE, CHINESE]), 500, axis=0)
    assert clusters(rows, threshold=THRESHOLD).tolist() == [0] * 500 + [500] * 500
    assert compared == 998


def test_a_run_of_unlike_records_costs_no_more_than_it_has_members(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counting(a: NDArray[np.uint16], b: NDArray[np.uint16]) -> NDArray[np.float64]:
        nonlocal compared
        compared += len(a)
        return estimated_similarity(a, b)

    monkeypatch.setattr(near_duplicates, "estimated_similarity", counting)
    rows = np.random.default_rng(0).integers(0, 1 << 16, (1000, PERMUTATIONS), dtype=np.uint16)
    rows[:, :4] = 7
    assert clusters(rows, threshold=THRESHOLD).tolist() == list(range(1000))
    assert compared < 1000 * 8


RECORDS = st.lists(st.sampled_from([SENTENCE, CHINESE, THAI, "Open the door", "", "***"]), max_size=40)


@settings(max_examples=50, deadline=None)
@given(RECORDS, st.randoms(use_true_random=False))
def test_equal_texts_share_a_cluster_named_by_the_first_in_any_order(texts: list[str], random: object) -> None:
    order = list(range(len(texts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    for records in (texts, [texts[i] for i in order]):
        found = clusters(signatures(records), threshold=THRESHOLD)
        assert found.dtype == np.int64
        assert found.tolist() == [records.index(text) for text in records]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=200), max_size=10), st.integers(0, 9))
def test_any_text_is_joined_with_its_copy(texts: list[str], place: int) -> None:
    records = [*texts, *texts[place : place + 1]]
    found = clusters(signatures(records), threshold=1.0)
    assert all(found[found] == found)
    assert all(found <= np.arange(len(records)))
    if place < len(texts):
        assert found[-1] == found[place]


def test_memory_is_two_numbers_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_RECORDS_AT_ONCE", 1 << 12)
    rows = np.random.default_rng(0).integers(0, 1 << 16, (100_000, PERMUTATIONS), dtype=np.uint16)
    tracemalloc.start()
    try:
        clusters(rows, threshold=THRESHOLD)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(rows) + (1 << 19)


def test_a_file_gives_back_what_was_appended(tmp_path: Path) -> None:
    rows = signatures([SENTENCE, "Open the door", CHINESE])
    with SignatureFile(tmp_path) as file:
        assert file.array().shape == (0, PERMUTATIONS)
        file.append(rows[:2])
        file.append(rows[:0])
        file.append(rows[2:])
        assert np.array_equal(file.array(), rows)
        file.append(rows[::-1])
        assert clusters(file.array(), threshold=THRESHOLD).tolist() == [0, 1, 2, 2, 1, 0]
        assert not file.array().flags.writeable
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_signature_is_refused(tmp_path: Path) -> None:
    with SignatureFile(tmp_path) as file:
        with pytest.raises(ValueError, match=r"uint16 \(96,\) a row, not int64 \(96,\)"):
            file.append(np.zeros((1, 96), dtype=np.int64))
        with pytest.raises(ValueError, match=r"not uint16 \(8,\)"):
            file.append(np.zeros((1, 8), dtype=np.uint16))
    with pytest.raises(ValueError, match="multiple of 4 uint16, not 6 uint16"):
        clusters(np.zeros((2, 6), dtype=np.uint16), threshold=0.5)
    for threshold in (0.0, 1.1):
        with pytest.raises(ValueError, match=rf"threshold = {threshold}"):
            clusters(signatures([SENTENCE]), threshold=threshold)


@pytest.mark.parametrize("texts", [[], [SENTENCE]])
def test_few_records_make_few_clusters(texts: list[str]) -> None:
    assert clusters(signatures(texts), threshold=THRESHOLD).tolist() == list(range(len(texts)))
