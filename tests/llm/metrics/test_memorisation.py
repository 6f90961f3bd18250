"""The longest run of training words in a text: by hand, and against a search that compares everything."""

from __future__ import annotations

import random

import pytest

from llm.metrics import memorisation
from llm.metrics.memorisation import Span, longest_spans

TRAINING = ["To be, or not to be: that is the question.", "", "Whether 'tis nobler in the mind to suffer"]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("he asked: That is THE question - no", Span(4, "That is THE question", 0)),
        ("nobler in the mind, to be or not", Span(5, "nobler in the mind, to", 2)),
        ("question whether", Span(1, "question", 0)),
        ("zebra", Span(0, "", -1)),
        ("", Span(0, "", -1)),
    ],
)
def test_punctuation_and_capitals_do_not_break_a_run_and_the_end_of_a_text_does(text, span):
    assert longest_spans([text], TRAINING) == [span]


def test_a_word_that_repeats_is_followed_at_each_of_its_places():
    assert longest_spans(["a a a b"], ["a a b", "x a a"]) == [Span(3, "a a b", 0)]
    assert longest_spans(["a a a a"], ["a a", "a a a"])[0].words == 3


def test_writing_without_spaces_is_compared_by_character():
    training = "今天晚上我们要在厨房里打开所有的灯然后关闭窗户"
    assert longest_spans(["明天在厨房里打开所有的门"], [training]) == [Span(9, "在厨房里打开所有的", 0)]


def test_nothing_to_compare_with_is_no_run():
    assert longest_spans(["a"], []) == [Span(0, "", -1)]
    assert longest_spans([], ["a"]) == []


def exhaustive(text: str, training: list[str]) -> int:
    words = text.split()
    wanted = [f" {one} " for one in training]
    return max(
        (
            stop - start
            for start in range(len(words))
            for stop in range(start + 1, len(words) + 1)
            if any(f" {' '.join(words[start:stop])} " in one for one in wanted)
        ),
        default=0,
    )


def test_it_finds_what_a_search_of_every_run_in_every_text_finds(monkeypatch):
    # Several batches, so that the places of a text do not begin at the batch's.
    monkeypatch.setattr(memorisation, "_CHARACTERS_AT_ONCE", 200)
    draw = random.Random(5)
    training = [" ".join(draw.choices("abcde", k=draw.randrange(0, 30))) for _ in range(60)]
    texts = [" ".join(draw.choices("abcdef", k=20)) for _ in range(30)]
    found = longest_spans(texts, training)
    assert [span.words for span in found] == [exhaustive(text, training) for text in texts]
    for span in found:
        assert f" {span.text} " in f" {training[span.source]} "
        assert len(span.text.split()) == span.words
