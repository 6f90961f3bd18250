"""Pieces of text out of tokens that come one by one: whole characters, and nothing lost."""

from __future__ import annotations

import pytest

from llm.placeholders import named
from llm.text_stream import decoded, named_pieces
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer

TEXT = "Gr\u00fc\u00dfe \U0001f642\U0001f642 \u65e5\u672c, a b"


@pytest.fixture(scope="module", params=[{}, {"prefix_space": True, "word_ends": True}], ids=["bytes", "word ends"])
def tokenizer(request: pytest.FixtureRequest) -> TextTokenizer:
    """Learned from next to nothing, so that a character is as many tokens as it has bytes."""
    config = TokenizerConfig(vocabulary=520, **request.param)
    return TextTokenizer(train_tokenizer(["a b"], config, template="$A </s>"))


def test_a_character_of_several_tokens_comes_whole(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode(TEXT)
    assert len(ids) > len(TEXT)
    pieces = list(decoded(ids, tokenizer))
    assert "".join(pieces) == tokenizer.decode(ids)
    assert not any("\ufffd" in piece for piece in pieces)
    assert len(pieces) > 10


def test_bytes_that_are_no_text_come_as_predict_gives_them(tokenizer: TextTokenizer) -> None:
    smile = tokenizer.encode_batch(["\U0001f642"], special_tokens=False)[0]
    letter = tokenizer.encode_batch(["a"], special_tokens=False)[0]
    for ids in ([*smile[:-1]], [*smile[:-1], *letter, *smile], [*smile[1:], *smile[:2]], []):
        assert "".join(decoded(ids, tokenizer)) == tokenizer.decode(ids)


def test_a_piece_comes_when_its_token_has_come(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("b b b")
    given = iter(ids)
    pieces = decoded(given, tokenizer)
    # The space before a word may be a token of its own.
    assert next(piece for piece in pieces if piece.strip()).strip() == "b"
    assert len(list(given)) >= len(ids) // 2


@pytest.mark.parametrize(
    "text", ["{0} and {1}", "{0", "a{", "{{0}}", "{x} {01} {7}", "{0}{1}{0}", "{" + "1" * 30 + "} {1}", ""]
)
def test_placeholders_are_named_wherever_the_pieces_are_cut(text: str) -> None:
    names = ["{name}", "{state}"]
    for width in (1, 2, 3, 7):
        cut = [text[start : start + width] for start in range(0, len(text), width)]
        assert "".join(named_pieces(cut, names)) == named(text, names)


def test_text_without_a_placeholder_does_not_wait() -> None:
    assert list(named_pieces(["one ", "two {", "0} three"], ["{n}"])) == ["one ", "two ", "{n} three"]
