"""Token ids of many texts as flat arrays: a word is tokenized once, and looked up wherever it stands again.

Shapes: R texts, W words of all texts, T token ids of all texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

# Unicode's White_Space, which is what \s means to the tokenizers library; Python's \s also holds U+001C to U+001F.
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# Letters of Latin, Greek and Cyrillic script, and marks, whose classes no version of Unicode has moved.
_LATIN = "A-Za-z\xaa\xb5\xba\xc0-\xd6\xd8-\xf6\xf8-\u02c1"
_LETTER = _LATIN + "\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
_MARK = r"\x00-\x08\x0e-\x1f!-/:-@[-`{-\x7f" + "\u2010-\u2027"
_KNOWN = f"{_LETTER}0-9{_MARK}{_SPACE}"
# The cuts of GPT-2's regex (Radford et al. 2019) as far as these classes decide them; a run of characters with another
# one in it stays whole, up to the next space. Both look ahead alone, so a text may be tokenized from any cut on, and
# what is made of each word by itself is what is made of it in the text.
_WORD = re.compile(
    f" ?[{_LETTER}]++(?![^{_KNOWN}])"
    "|'(?:[stmd]|re|ve|ll)"
    f"| ?[{_MARK}]++(?![^{_KNOWN}])"
    f"| ?[0-9]++(?![^{_KNOWN}])"
    f"| ?[^{_SPACE}]+"
    f"|[{_SPACE}]+(?![^{_SPACE}])"
    f"|[{_SPACE}]+"
)
# Ids in the memory at which it is emptied; some 40 MB with the words of English. A batch of text fills it again.
_MOST_IDS = 1 << 19
# What the template puts before and after a text: the first entries of the memory.
_BEFORE, _AFTER = 0, 1


class WordEncoder:
    """Gives the ids that the `tokenizers.Tokenizer` in it gives; its memory of words is bounded, and for one thread.

    Where words are not independent of each other (another cut than byte-level BPE's, a normalizer), whole texts are
    its words.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        parts = json.loads(tokenizer.to_str())
        self._by_word = _is_independent_by_word(parts)
        self._prefix_space = self._by_word and parts["pre_tokenizer"]["add_prefix_space"]
        self._tokenizer = _without_prefix_space(tokenizer) if self._prefix_space else tokenizer
        self._frame = _frame(tokenizer)
        self._memory = _Memory(self._frame)

    def encode(self, texts: Sequence[str], *, special_tokens: bool) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(T,) ids, text after text, and (R,) how many each text has; within the template or bare.

        Raises TypeError or ValueError when a text is not text that UTF-8 can write.
        """
        if self._memory.ids.size > _MOST_IDS:
            self._memory = _Memory(self._frame)
        words = list(map(_WORD.findall, self._spaced(texts))) if self._by_word else [[text] for text in texts]
        bounds = _bounds(map(len, words))
        found = map(self._memory.numbers.__getitem__, chain.from_iterable(words))
        numbers = np.fromiter(found, dtype=np.int64, count=bounds[-1])
        del words
        self._learn()
        if special_tokens:
            places = np.stack([bounds[:-1], bounds[1:]], axis=1).ravel()
            numbers = np.insert(numbers, places, np.tile([_BEFORE, _AFTER], len(texts)))
            bounds += 2 * np.arange(bounds.size)
        return self._memory.look_up(numbers, bounds)

    def _spaced(self, texts: Sequence[str]) -> Iterable[str]:
        if not self._prefix_space:
            return texts
        return (text if text[:1] in ("", " ") else " " + text for text in texts)

    def _learn(self) -> None:
        """Tokenize the words that have a number and no ids yet."""
        new = self._memory.unlearnt()
        if not new:
            return
        try:
            encodings = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        except BaseException:
            self._memory = _Memory(self._frame)
            raise
        self._memory.store([encoding.ids for encoding in encodings])


class _Memory:
    """The ids of word k are ids[starts[k] : starts[k] + lengths[k]]; the template's frame is two words of it."""

    def __init__(self, frame: Sequence[Sequence[int]]) -> None:
        # No text is equal to the keys of the frame.
        self.numbers = _Numbers((object(), number) for number in (_BEFORE, _AFTER))
        self.ids = np.empty(0, dtype=np.int32)
        self._starts = np.empty(0, dtype=np.int64)
        self._lengths = np.empty(0, dtype=np.int64)
        self.store(frame)

    def unlearnt(self) -> list[object]:
        """Words that have a number and no ids yet."""
        return list(islice(self.numbers, self._lengths.size, None))

    def store(self, rows: Sequence[Sequence[int]]) -> None:
        """Put the ids of the next words behind those before."""
        bounds = self.ids.size + _bounds(map(len, rows))
        self.ids = np.concatenate([self.ids, np.fromiter(chain.from_iterable(rows), dtype=np.int32)])
        self._starts = np.concatenate([self._starts, bounds[:-1]])
        self._lengths = np.concatenate([self._lengths, np.diff(bounds)])

    def look_up(
        self, numbers: NDArray[np.int64], bounds: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids and lengths of texts made of the words `numbers`, text i of those from bounds[i] up to bounds[i + 1]."""
        lengths = self._lengths[numbers]
        ends = np.zeros(numbers.size + 1, dtype=np.int64)
        np.cumsum(lengths, out=ends[1:])
        # Id j of the result lies in the memory as far from j as its word's first id there from its first id here.
        places = np.repeat(self._starts[numbers] - ends[:-1], lengths)
        places += np.arange(places.size)
        return self.ids[places], np.diff(ends[bounds])


class _Numbers(dict[object, int]):
    """Numbers from 0 on, given out in the order in which keys are asked for."""

    def __missing__(self, key: object) -> int:
        number = self[key] = len(self)
        return number


def _bounds(lengths: Iterable[int]) -> NDArray[np.int64]:
    return np.cumsum(np.fromiter(chain((0,), lengths), dtype=np.int64))


def _is_independent_by_word(parts: dict[str, Any]) -> bool:
    cut = parts["pre_tokenizer"] or {}
    return (
        parts["normalizer"] is None
        and (cut.get("type"), cut.get("use_regex")) == ("ByteLevel", True)
        and parts["model"]["type"] == "BPE"
        # Drawn anew each time, so that no word has the ids it had before.
        and not parts["model"]["dropout"]
        # Added tokens that are not special are cut out of a text before anything else.
        and all(token["special"] for token in parts["added_tokens"])
    )


def _without_prefix_space(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """A copy that leaves the space before a text to us: it would put one before every word."""
    copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    copy.encode_special_tokens = tokenizer.encode_special_tokens
    copy.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return copy


def _frame(tokenizer: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that the template puts before a text and after it."""
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    framed = tokenizer.encode("a").ids
    start = next(i for i in range(len(framed)) if framed[i : i + len(bare)] == bare)
    return framed[:start], framed[start + len(bare) :]
