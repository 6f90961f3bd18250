"""Checks of prose: each bound from both sides, by texts made for it."""

from __future__ import annotations

import pytest

from llm.cleaning.quality import QUALITY_CHECKS

PROSE = """The harbour of Vale lies between two hills that have kept the wind from it since anybody can remember. In
winter the boats are drawn up on the shingle, and their owners mend nets in the long sheds behind the church.

When spring comes, the first to go out is always old Marten with his grandson. He says that the fish know him, and
nobody contradicts an old man who brings home more of them than all the others."""


def distinct(count: int, *, start: int = 0) -> str:
    """Words of five characters, all different."""
    return " ".join(f"w{i:04}" for i in range(start, start + count))


def repeating(phrase: str, *, times: int, words: int) -> str:
    """`phrase`, `times` over and never next to itself, in `words` words of which all others are different."""
    others = distinct(words - times * len(phrase.split())).split()
    step = len(others) // times
    pieces = [f"{phrase} {' '.join(others[step * i : step * (i + 1)])}" for i in range(times)]
    return " ".join([*pieces, *others[step * times :]])


def bulleted(count: int, *, of: int, bullet: str) -> str:
    return "\n\n".join(f"{bullet if i < count else ''} line" for i in range(of))


def trailing(count: int, *, of: int, ellipsis: str) -> str:
    return "\n".join(f"line{ellipsis if i < count else ''} " for i in range(of))


# (check, a text that just passes, one that just does not, the reason).
BOUNDS = [
    ("words", distinct(50), distinct(49), "words: 49, fewer than 50"),
    ("words", "a " * 100_000, "a " * 100_001, "words: 100001, more than 100000"),
    ("word_length", "abc " * 4, "abc abc abc ab", "characters per word: 2.75, fewer than 3"),
    (
        "word_length",
        "abcdefghij " * 4,
        "abcdefghij " * 3 + "abcdefghijk",
        "characters per word: 10.25, more than 10",
    ),
    ("hashes", "#a #b" + " c" * 18, "#a ##" + " c" * 18, "hashes per word: 0.15, more than 0.1"),
    ("ellipses", "a... b\u2026" + " c" * 18, "a... b\u2026" + " c" * 17, "ellipses per word: 0.1053, more than 0.1"),
    (
        "bullet_lines",
        bulleted(9, of=10, bullet="\u2022"),
        bulleted(10, of=11, bullet="-"),
        "share of lines that begin with a bullet: 0.9091, more than 0.9",
    ),
    (
        "ellipsis_lines",
        trailing(3, of=10, ellipsis="..."),
        trailing(3, of=9, ellipsis="\u2026"),
        "share of lines that end in an ellipsis: 0.3333, more than 0.3",
    ),
    ("alphabetic_words", "a b1 'c é 5", "a b c 4", "share of words with a letter: 0.75, less than 0.8"),
    ("english_stop_words", "The day that came", "the the ofthe", "English stop words: 1, fewer than 2"),
    (
        "repeated_lines",
        "\n".join("abcdefgaaa"),
        "\n\n".join("abcdefa a a"),
        "share of lines that repeat another: 0.3333, more than 0.3",
    ),
    (
        "repeated_paragraphs",
        "a\na\n\nb\n\nb\n\nc\n\nd",
        "a\nb\n \n a\nb\n\nc",
        "share of paragraphs that repeat another: 0.3333, more than 0.3",
    ),
    (
        "repeated_line_characters",
        "ab\nab\ncdefgh",
        "ab\nab\ncdefg",
        "share of characters in repeated lines: 0.2222, more than 0.2",
    ),
    (
        "repeated_paragraph_characters",
        "ab\n\nab\n\ncdefgh",
        "ab\n\nab\n\ncdefg",
        "share of characters in repeated paragraphs: 0.2222, more than 0.2",
    ),
    (
        "top_ngrams",
        repeating("aaaaa bbbbb", times=5, words=50),
        repeating("aaaaa bbbbb", times=5, words=49),
        "share of characters in the top 2-gram: 0.2041, more than 0.2",
    ),
    (
        "top_ngrams",
        repeating("aaaaa bbbbb ccccc", times=3, words=50),
        repeating("aaaaa bbbbb ccccc", times=3, words=49),
        "share of characters in the top 3-gram: 0.1837, more than 0.18",
    ),
    (
        "top_ngrams",
        repeating("aaaaa bbbbb ccccc ddddd", times=2, words=50),
        repeating("aaaaa bbbbb ccccc ddddd", times=2, words=49),
        "share of characters in the top 4-gram: 0.1633, more than 0.16",
    ),
    ("lorem_ipsum", "lorem, ipsum", "a Lorem Ipsum dolor", 'holds the placeholder text "lorem ipsum"'),
    ("curly_bracket", "a [b] (c)", "a {b}", "curly brackets: 2, more than 0"),
    (
        "javascript_notice",
        "JavaScript is a language. They support JavaScript.",
        "Please enable JavaScript now",
        "a notice about JavaScript: 'enable JavaScript'",
    ),
    (
        "javascript_notice",
        "He learnt Javascript\nand was disabled.",
        "Javascript is disabled in your browser.",
        "a notice about JavaScript: 'Javascript is disabled'",
    ),
]


@pytest.mark.parametrize(("name", "passing", "failing", "reason"), BOUNDS)
def test_each_bound_holds_to_the_last_word(name: str, passing: str, failing: str, reason: str) -> None:
    assert QUALITY_CHECKS[name](passing) is None
    assert QUALITY_CHECKS[name](failing) == reason


@pytest.mark.parametrize(("n", "percent"), [(5, 15), (6, 14), (7, 13), (8, 12), (9, 11), (10, 10)])
def test_the_bounds_on_repeated_ngrams_hold_to_the_last_word(n: int, percent: int) -> None:
    # The first occurrence repeats nothing: n * percent words of n * 100 do.
    phrase = " ".join("abcdefghij"[:n])
    check, times = QUALITY_CHECKS["repeated_ngrams"], percent + 1
    assert check(repeating(_five(phrase), times=times, words=n * 100)) is None
    share = n * percent / (n * 100 - 1)
    assert check(repeating(_five(phrase), times=times, words=n * 100 - 1)) == (
        f"share of characters in repeated {n}-grams: {share:.4g}, more than {percent / 100}"
    )


def _five(phrase: str) -> str:
    return " ".join(letter * 5 for letter in phrase.split())


def test_every_check_is_tried_at_its_bound() -> None:
    assert {name for name, *_ in BOUNDS} | {"repeated_ngrams"} == set(QUALITY_CHECKS)


def test_prose_passes_every_check() -> None:
    assert {name: check(PROSE) for name, check in QUALITY_CHECKS.items() if check(PROSE)} == {}


@pytest.mark.parametrize("text", ["", " \n\n "])
def test_of_an_empty_text_only_the_missing_words_are_reported(text: str) -> None:
    assert {name for name, check in QUALITY_CHECKS.items() if check(text)} == {"words", "english_stop_words"}


def test_words_in_overlapping_ngrams_count_once() -> None:
    # Of 15 words 3 are in the top 2-gram; its two occurrences would make it 4.
    assert QUALITY_CHECKS["top_ngrams"]("aaaaa aaaaa aaaaa " + distinct(12)) is None
    # The phrase of 10 words twice in 100: six of its 5-grams return, 10 words in all.
    assert QUALITY_CHECKS["repeated_ngrams"](repeating(_five("a b c d e f g h i j"), times=2, words=100)) is None


def test_of_equally_frequent_ngrams_the_longest_counts() -> None:
    text = f"a b {distinct(4)} a b {'c' * 20} {'d' * 20} x {'c' * 20} {'d' * 20}"
    assert (QUALITY_CHECKS["top_ngrams"](text) or "").startswith("share of characters in the top 2-gram: 0.7")


@pytest.mark.parametrize(
    "notice",
    [
        "You need to turn on JavaScript",
        "JavaScript must be switched on.",
        "This page requires JavaScript",
        "Your browser doesn't support JavaScript",
        "JAVASCRIPT REQUIRED",
    ],
)
def test_notices_about_javascript_come_in_several_words(notice: str) -> None:
    assert (QUALITY_CHECKS["javascript_notice"](notice) or "").startswith("a notice about JavaScript")


@pytest.mark.parametrize("name", QUALITY_CHECKS)
@pytest.mark.parametrize("piece", ["a ", "a\n", " \n"])
def test_twenty_thousand_words_or_lines_end(name: str, piece: str) -> None:
    QUALITY_CHECKS[name](piece * 20_000)


@pytest.mark.parametrize("piece", ["javascript ", "enable ", "enable\t", "n't support", "\n"])
def test_the_search_for_a_notice_about_javascript_ends(piece: str) -> None:
    assert QUALITY_CHECKS["javascript_notice"]("javascript\n" + piece * (1_000_000 // len(piece))) is None
