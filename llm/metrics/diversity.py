"""Whether written texts repeat each other or themselves, in words and punctuation marks in small letters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """The words and punctuation marks of a text in small letters."""
    return _WORD.findall(text.lower())


def distinct(texts: Sequence[str], order: int) -> float:
    """Percent of all n-grams of the texts that are different: distinct-n of Li et al. 2016, section 5.2.

    It falls with the number of words, so compare sets of texts of the same size. 0.0 without an n-gram.
    """
    found = [gram for text in texts for gram in _ngrams(text, order)]
    return 100.0 * len(set(found)) / len(found) if found else 0.0


def distinct_without_each(texts: Sequence[str], order: int) -> list[float]:
    """`distinct` of all texts but the first, of all but the second, and so on."""
    found = [_ngrams(text, order) for text in texts]
    texts_with = Counter(gram for grams in found for gram in set(grams))
    total = sum(map(len, found))
    figures = []
    for grams in found:
        left = total - len(grams)
        kept = len(texts_with) - sum(texts_with[gram] == 1 for gram in set(grams))
        figures.append(100.0 * kept / left if left else 0.0)
    return figures


def repeated(text: str, order: int = 4) -> float:
    """Percent of a text's n-grams that stood in it before: seq-rep-n of Welleck et al. 2020, section 6.

    0.0 without an n-gram.
    """
    found = _ngrams(text, order)
    return 100.0 * (1 - len(set(found)) / len(found)) if found else 0.0


def _ngrams(text: str, order: int) -> list[tuple[str, ...]]:
    words = words_of(text)
    return [tuple(words[start : start + order]) for start in range(len(words) - order + 1)]
