"""Shingles: which changes of a text leave it alike, in any writing, as the clusters of near duplicates show."""

from __future__ import annotations

import pytest
from writings import CHINESE, HINDI, SENTENCE, THAI

from llm.near_duplicates import THRESHOLD, clusters, signatures


def together(*texts: str) -> bool:
    return len(set(clusters(signatures(texts), threshold=THRESHOLD))) == 1


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
