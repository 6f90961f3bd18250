"""Checks of whether a text is a document of prose: each gives the reason why it is not, or None.

From Gopher (Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", appendix
A.1.1 and table A1) all heuristics and bounds are taken. From C4 (Raffel et al. 2020, "Exploring the Limits of Transfer
Learning with a Unified Text-to-Text Transformer", section 2.2) those that judge a whole text: placeholder text, curly
brackets, and notices about JavaScript. Not taken: the rules that cut lines out of a page, since a check changes no
text; the least number of sentences, which the least number of words covers; the list of bad words, which also drops
what is written about medicine or minorities; duplicates across pages; and the language (llm/cleaning/languages.py).

Words are what white space separates, so that texts in Chinese, Japanese or Thai cannot be judged by them. Lines are
those that hold something. None of this fits texts of a few words, such as labels and messages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, groupby

_WORDS = (50, 100_000)
_WORD_LENGTH = (3, 10)
_SYMBOLS_PER_WORD = 0.1
_BULLET_LINES = 0.9
_ELLIPSIS_LINES = 0.3
_ALPHABETIC_WORDS = 0.8
_STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_FEWEST_STOP_WORDS = 2
_ELLIPSES = ("...", "\u2026")
# The paper names none; a dash that opens a line of dialogue is longer than these.
_BULLETS = ("\u2022", "\u2023", "\u25e6", "\u25aa", "\u25cf", "\u25cb", "*", "-")

# Table A1: shares of all lines, paragraphs or characters.
_REPEATED_LINES = 0.3
_REPEATED_PARAGRAPHS = 0.3
_REPEATED_LINE_CHARACTERS = 0.2
_REPEATED_PARAGRAPH_CHARACTERS = 0.2
_TOP_NGRAMS = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED_NGRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

# C4 removes every line with the word; a text as a whole is dropped only for what the rule is about.
_JAVASCRIPT_NOTICE = re.compile(
    r"\bjavascript\b[^\n]{0,60}\b(?:enabled?|disabled|required|(?:turn|switch)(?:ed)? o(?:n|ff))\b"
    r"|(?:\b(?:enable|activate|requires?|(?:turn|switch) on)|(?:\bnot|n['\u2019]t) support)\b[^\n]{0,40}\bjavascript\b",
    re.IGNORECASE,
)


def _words(text: str) -> str | None:
    count = len(text.split())
    if count < _WORDS[0]:
        return f"words: {count}, fewer than {_WORDS[0]}"
    return f"words: {count}, more than {_WORDS[1]}" if count > _WORDS[1] else None


def _word_length(text: str) -> str | None:
    words = text.split()
    if not words:
        return None
    mean = sum(map(len, words)) / len(words)
    if mean < _WORD_LENGTH[0]:
        return f"characters per word: {mean:.4g}, fewer than {_WORD_LENGTH[0]}"
    return f"characters per word: {mean:.4g}, more than {_WORD_LENGTH[1]}" if mean > _WORD_LENGTH[1] else None


def _hashes(text: str) -> str | None:
    return _above("hashes per word", text.count("#"), len(text.split()), bound=_SYMBOLS_PER_WORD)


def _ellipses(text: str) -> str | None:
    count = sum(map(text.count, _ELLIPSES))
    return _above("ellipses per word", count, len(text.split()), bound=_SYMBOLS_PER_WORD)


def _bullet_lines(text: str) -> str | None:
    lines = _lines(text)
    count = sum(line.startswith(_BULLETS) for line in lines)
    return _above("share of lines that begin with a bullet", count, len(lines), bound=_BULLET_LINES)


def _ellipsis_lines(text: str) -> str | None:
    lines = _lines(text)
    count = sum(line.endswith(_ELLIPSES) for line in lines)
    return _above("share of lines that end in an ellipsis", count, len(lines), bound=_ELLIPSIS_LINES)


def _alphabetic_words(text: str) -> str | None:
    words = text.split()
    count = sum(any(map(str.isalpha, word)) for word in words)
    if not words or count / len(words) >= _ALPHABETIC_WORDS:
        return None
    return f"share of words with a letter: {count / len(words):.4g}, less than {_ALPHABETIC_WORDS}"


def _english_stop_words(text: str) -> str | None:
    """Drops nearly every text that is not English."""
    count = len(_STOP_WORDS.intersection(text.lower().split()))
    return f"English stop words: {count}, fewer than {_FEWEST_STOP_WORDS}" if count < _FEWEST_STOP_WORDS else None


def _repeated_lines(text: str) -> str | None:
    lines = _lines(text)
    return _above("share of lines that repeat another", *_repeated(lines, weight=_one), bound=_REPEATED_LINES)


def _repeated_paragraphs(text: str) -> str | None:
    shares = _repeated(_paragraphs(text), weight=_one)
    return _above("share of paragraphs that repeat another", *shares, bound=_REPEATED_PARAGRAPHS)


def _repeated_line_characters(text: str) -> str | None:
    shares = _repeated(_lines(text), weight=len)
    return _above("share of characters in repeated lines", *shares, bound=_REPEATED_LINE_CHARACTERS)


def _repeated_paragraph_characters(text: str) -> str | None:
    shares = _repeated(_paragraphs(text), weight=len)
    return _above("share of characters in repeated paragraphs", *shares, bound=_REPEATED_PARAGRAPH_CHARACTERS)


def _top_ngrams(text: str) -> str | None:
    """The n-gram of words that occurs most often (of several, the longest); one that occurs once is no repetition."""
    words = text.split()
    ends = list(accumulate(map(len, words), initial=0))
    for n, bound in _TOP_NGRAMS.items():
        counts = Counter(_ngrams(words, n))
        top = max(counts, key=lambda gram: (counts[gram], sum(map(len, gram))), default=())
        if counts[top] < 2:
            continue
        starts = (start for start, gram in enumerate(_ngrams(words, n)) if gram == top)
        reason = _above(f"share of characters in the top {n}-gram", _covered(starts, n, ends), ends[-1], bound=bound)
        if reason is not None:
            return reason
    return None


def _repeated_ngrams(text: str) -> str | None:
    """N-grams of words that have occurred before in the text."""
    words = text.split()
    ends = list(accumulate(map(len, words), initial=0))
    for n, bound in _REPEATED_NGRAMS.items():
        covered = _covered(_repeated_starts(words, n), n, ends)
        reason = _above(f"share of characters in repeated {n}-grams", covered, ends[-1], bound=bound)
        if reason is not None:
            return reason
    return None


def _lorem_ipsum(text: str) -> str | None:
    return 'holds the placeholder text "lorem ipsum"' if "lorem ipsum" in text.lower() else None


def _curly_bracket(text: str) -> str | None:
    """Prose has none; the check is against program code and templates."""
    count = text.count("{") + text.count("}")
    return f"curly brackets: {count}, more than 0" if count else None


def _javascript_notice(text: str) -> str | None:
    found = _JAVASCRIPT_NOTICE.search(text) if "javascript" in text.lower() else None
    return f"a notice about JavaScript: {found[0]!r}" if found else None


def _above(what: str, part: int, whole: int, *, bound: float) -> str | None:
    # The quotient is what is compared: it equals the bound where it should, while bound * whole may miss it.
    if not whole or part / whole <= bound:
        return None
    return f"{what}: {part / whole:.4g}, more than {bound}"


def _lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.split("\n")) if line]


def _paragraphs(text: str) -> list[str]:
    lines = map(str.strip, text.split("\n"))
    return ["\n".join(group) for filled, group in groupby(lines, key=bool) if filled]


def _one(_piece: str) -> int:
    return 1


def _repeated(pieces: Sequence[str], *, weight: Callable[[str], int]) -> tuple[int, int]:
    """What the pieces weigh that have occurred before, and what all weigh."""
    whole = sum(map(weight, pieces))
    return whole - sum(map(weight, set(pieces))), whole


def _ngrams(words: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def _repeated_starts(words: Sequence[str], n: int) -> Iterable[int]:
    seen = set()
    for start, gram in enumerate(_ngrams(words, n)):
        if gram in seen:
            yield start
        seen.add(gram)


def _covered(starts: Iterable[int], n: int, ends: Sequence[int]) -> int:
    """Characters of the words in the n-grams at `starts`, which ascend; those in several count once.

    `ends` holds how many characters stand before each word.
    """
    covered = behind = 0
    for start in starts:
        covered += ends[start + n] - ends[max(start, behind)]
        behind = start + n
    return covered


QUALITY_CHECKS: dict[str, Callable[[str], str | None]] = {
    "words": _words,
    "word_length": _word_length,
    "hashes": _hashes,
    "ellipses": _ellipses,
    "bullet_lines": _bullet_lines,
    "ellipsis_lines": _ellipsis_lines,
    "alphabetic_words": _alphabetic_words,
    "english_stop_words": _english_stop_words,
    "repeated_lines": _repeated_lines,
    "repeated_paragraphs": _repeated_paragraphs,
    "repeated_line_characters": _repeated_line_characters,
    "repeated_paragraph_characters": _repeated_paragraph_characters,
    "top_ngrams": _top_ngrams,
    "repeated_ngrams": _repeated_ngrams,
    "lorem_ipsum": _lorem_ipsum,
    "curly_bracket": _curly_bracket,
    "javascript_notice": _javascript_notice,
}
