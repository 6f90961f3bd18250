"""Near duplicates: edited copies are found, other records are let alone, in flat memory."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llm import near_duplicates
from llm.near_duplicates import (
    PERMUTATIONS,
    THRESHOLD,
    SignatureFile,
    clusters,
    estimated_similarity,
    signatures,
)

Words = list[str]
Edit = Callable[[Words, np.random.Generator], Words]
WORDS = np.array(["".join(pair) + str(i) for i, pair in enumerate(["ab", "cd", "ef", "gh"] * 1000)])
ZIPF = (1 / np.arange(1, len(WORDS) + 1)) / np.sum(1 / np.arange(1, len(WORDS) + 1))
SENTENCE = "the committee will meet on the second Tuesday of every month to look at what the members have sent in"


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


def together(*texts: str) -> bool:
    return len(set(clusters(signatures(texts), threshold=THRESHOLD))) == 1


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


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Open the door", "Close the door"),
        ("Turn on the light in the kitchen", "Turn on the light in the bedroom"),
        ("door", ""),
        ("***", "---"),
        ("1 2", "12"),
        ("the door open", "open the door"),
        ("打开厨房的灯", "关闭厨房的灯"),
        ("เปิดไฟในครัว", "ปิดไฟในครัว"),
    ],
)
def test_short_texts_are_duplicates_only_of_their_equals(a: str, b: str) -> None:
    assert not together(a, b)
    assert together(a, a)


def test_ten_words_are_enough_for_one_to_differ() -> None:
    words = SENTENCE.split()[:10]
    assert together(" ".join(words), " ".join([*words[:9], "July"]))
    assert not together(" ".join(words[:9]), " ".join([*words[:8], "July"]))


CHINESE = (
    "委员会每个月的第二个星期二开会讨论成员提交的意见并决定下一步的工作安排如果有人不能参加会议应当提前三天通知秘书处"
)
THAI = (
    "คณะกรรมการจะประชุมทุกวันอังคารที่สองของเดือนเพื่อพิจารณาข้อเสนอของสมาชิก"
    "และกำหนดแผนงานต่อไปหากผู้ใดไม่สามารถเข้าร่วมได้ต้องแจ้งล่วงหน้าสามวัน"
)
HINDI = "समिति हर महीने के दूसरे मंगलवार को बैठक करेगी और सदस्यों के सुझावों पर विचार करके आगे की योजना तय करेगी"


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        (CHINESE, "星期二", "星期五"),
        (THAI, "อังคาร", "ศุกร์"),
        (HINDI, "मंगलवार", "शुक्रवार"),
        ("0123456789abcdef" * 9, "5", "50"),
    ],
)
def test_a_changed_copy_is_found_in_any_writing(text: str, old: str, new: str) -> None:
    assert old in text
    assert together(text, text.replace(old, new, 1))


def test_other_texts_of_the_same_writing_are_not_joined() -> None:
    chinese = (
        "这本书介绍了如何在家里种植蔬菜和香草包括土壤的选择浇水的时间以及常见的病虫害防治方法适合没有经验的读者阅读"
    )
    thai = "หนังสือเล่มนี้แนะนำวิธีปลูกผักสวนครัวและสมุนไพรที่บ้านตั้งแต่การเลือกดินการรดน้ำไปจนถึงการป้องกันโรคและแมลงเหมาะสำหรับผู้เริ่มต้น"
    assert not together(CHINESE, chinese)
    assert not together(THAI, thai)


def test_a_vowel_sign_is_part_of_its_word() -> None:
    assert not together("की का", "क क")


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
