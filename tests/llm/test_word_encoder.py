"""Words looked up one by one give the ids that the tokenizer gives the whole text, whatever stands in it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tokenizers

from llm import word_encoder
from llm.errors import InputError
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer
from llm.word_encoder import WordEncoder

LEARNT = ["the light is  on\n\n a b's don't we'll 12  \n", "é ü\u3000x \u2028 1² Привет, \u2019quoted\u2019"] * 4
# Characters of every class that the cut knows, of the classes that it does not know, and what contractions are made of.
ALPHABET = "   \n\t'sdtlrevmaZ1.,(\u00a0\u2028\u3000é\u2019\u201c\xd7\u03b1ж٣²🙂中\x1c\x1f\x85"


def trained(*, template: str = "<s> $A </s>", **options: bool) -> tokenizers.Tokenizer:
    config = TokenizerConfig(vocabulary=600, **options)
    return TextTokenizer(train_tokenizer(LEARNT, config, template=template))._tokenizer


@pytest.fixture(scope="module", params=["<s> $A", "$A </s>", "<s> $A </s>"])
def plain(request: pytest.FixtureRequest) -> tokenizers.Tokenizer:
    return trained(template=request.param)


def rows(encoder: WordEncoder, texts: list[str], *, special_tokens: bool = True) -> list[list[int]]:
    ids, lengths = encoder.encode(texts, special_tokens=special_tokens)
    assert (ids.dtype, lengths.dtype) == (np.int32, np.int64)
    assert lengths.sum() == ids.size
    return [row.tolist() for row in np.split(ids, np.cumsum(lengths)[:-1])]


def expected(tokenizer: tokenizers.Tokenizer, texts: list[str], *, special_tokens: bool = True) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=special_tokens)]


@pytest.mark.parametrize("options", [{}, {"prefix_space": True}, {"word_ends": True, "prefix_space": True}])
@pytest.mark.parametrize("special_tokens", [True, False])
def test_any_mixture_of_characters_has_the_ids_of_the_whole_text(
    options: dict[str, bool], *, special_tokens: bool
) -> None:
    tokenizer = trained(**options)
    encoder = WordEncoder(tokenizer)
    draw = random.Random(0)
    texts = ["".join(draw.choices(ALPHABET, k=draw.randrange(30))) for _ in range(2000)]
    # Twice: words that are known, and words that are not.
    for _ in range(2):
        assert rows(encoder, texts, special_tokens=special_tokens) == expected(
            tokenizer, texts, special_tokens=special_tokens
        )


def test_every_character_has_the_ids_of_the_whole_text_wherever_it_stands() -> None:
    tokenizer = trained()
    encoder = WordEncoder(tokenizer)
    # The blocks of which the cut knows characters, and some of others; all of Unicode would take minutes.
    characters = [chr(code) for code in (*range(0x600), *range(0x1680, 0x1690), *range(0x2000, 0x2070), 0x3000, 0x4E2D)]
    texts = [f"a{c}b {c} {c}{c}  {c}'s{c}1\n{c},{c}" for c in characters]
    for start in range(0, len(texts), 500):
        part = texts[start : start + 500]
        assert rows(encoder, part) == expected(tokenizer, part)


def test_the_frame_of_every_template_is_kept(plain: tokenizers.Tokenizer) -> None:
    texts = ["", "the light", "", "on", ""]
    assert rows(WordEncoder(plain), texts) == expected(plain, texts)


def test_no_texts_have_no_ids(plain: tokenizers.Tokenizer) -> None:
    ids, lengths = WordEncoder(plain).encode([], special_tokens=True)
    assert (ids.size, lengths.size) == (0, 0)


def test_a_full_memory_is_emptied_and_the_ids_stay_the_same(
    plain: tokenizers.Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_encoder, "_MOST_IDS", 500)
    encoder = WordEncoder(plain)
    sizes = []
    for start in range(0, 3000, 100):
        texts = [f"the light {number} is on" for number in range(start, start + 100)]
        assert rows(encoder, texts) == expected(plain, texts)
        sizes.append(encoder._memory.ids.size)
    # One batch brings fewer than 500 new ids, 30 batches would bring thousands.
    assert max(sizes) < 1000


def test_a_word_is_tokenized_once() -> None:
    encoder = WordEncoder(trained())
    encoder.encode(["the light is on"] * 3, special_tokens=True)
    known = encoder._memory.ids.size
    encoder.encode([" light is on, on"], special_tokens=True)
    # Only the comma is new.
    assert encoder._memory.ids.size == known + 1


def test_after_a_text_that_is_none_the_next_have_their_own_ids(plain: tokenizers.Tokenizer) -> None:
    encoder = WordEncoder(plain)
    for wrong in ("ab \ud800 onset", 5, None, b"bytes"):
        with pytest.raises((TypeError, ValueError)):
            encoder.encode(["onset", wrong], special_tokens=True)  # type: ignore[list-item]
        assert rows(encoder, ["onset the light"]) == expected(plain, ["onset the light"])


@pytest.mark.parametrize("prefix_space", [False, True])
def test_what_is_not_text_is_named(*, prefix_space: bool) -> None:
    tokenizer = TextTokenizer(trained(prefix_space=prefix_space))
    with pytest.raises(InputError, match="text 2 is int"):
        tokenizer.encode_flat(["fine", "fine", 0])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"text 1 holds the lone surrogate '\\ud800' at character 2"):
        tokenizer.encode_flat(["fine", "ab\ud800"])


def test_a_tokenizer_that_reads_across_words_is_given_whole_texts() -> None:
    tokenizer = trained()
    tokenizer.normalizer = tokenizers.normalizers.Replace("a b", "x")
    texts = ["a b", "a", "b a b a b"]
    assert rows(WordEncoder(tokenizer), texts) == expected(tokenizer, texts)
    tokenizer = trained()
    tokenizer.add_tokens(["light is"])
    assert rows(WordEncoder(tokenizer), ["the light is on"]) == expected(tokenizer, ["the light is on"])
