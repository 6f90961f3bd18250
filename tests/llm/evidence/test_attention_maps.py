"""Attention maps: of rows drawn by seed, cut where they are long, with tokens that can be read whatever they hold."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llm.evidence.attention import (
    HEADS,
    TOKENS,
    AttentionMap,
    Axis,
    attention_maps,
    attention_pictures,
    attention_table,
)
from llm.evidence.attention_picture import side_by_side
from llm.predictor import Predictor

ROWS = [{"text": "apple pear " * (count + 1), "source": "saw {x}\n", "target": "drill {x}"} for count in range(9)]


@pytest.fixture(scope="module")
def predictors(model_folder: Callable[[str], Path]) -> dict[str, Predictor]:
    return {
        name: Predictor.load(model_folder(name), device="cpu")
        for name in ("generation", "translation", "classification")
    }


def made(*, row: int = 3, heads: int = 2, queries: list[str] | None = None, **values: Any) -> AttentionMap:
    tokens = tuple(queries or ["<s>", "a", "b"])
    random = np.random.default_rng(row)
    whole = random.dirichlet(np.ones(4), (heads, len(tokens)))
    fixed = {"stack": "", "cross": False, "layer": 2, "keys": Axis(("w", "x", "y", "z"), 4), "mean": whole.mean(axis=0)}
    return AttentionMap(
        row=row, queries=Axis(tokens, len(tokens)), heads=whole[:HEADS], total_heads=heads, **(fixed | values)
    )


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def test_four_rows_are_read_by_the_last_layers_of_every_stack(predictors: dict[str, Predictor]) -> None:
    kinds = {}
    for name, predictor in predictors.items():
        maps = attention_maps(predictor, ROWS)
        kinds[name] = sorted({one.kind for one in maps})
        assert len({one.row for one in maps}) == 4
        assert len(maps) == 4 * len(kinds[name])
    assert kinds == {
        "generation": ["self-attention"],
        "translation": ["decoder cross-attention", "decoder self-attention", "encoder self-attention"],
        "classification": ["self-attention"],
    }


def test_axes_hold_the_tokens_of_the_texts_that_look_and_are_looked_at(predictors: dict[str, Predictor]) -> None:
    maps = {one.kind: one for one in attention_maps(predictors["translation"], ROWS[:1])}
    cross = maps["decoder cross-attention"]
    # The target is read behind <pad>, its end is never read, and placeholders are numbers.
    assert (cross.queries.tokens[0], "".join(cross.queries.tokens[1:])) == ("<pad>", "drill {0}")
    assert ("".join(cross.keys.tokens[:-1]), cross.keys.tokens[-1]) == ("saw {0}\n", "</s>")
    assert maps["decoder self-attention"].keys == cross.queries
    assert maps["encoder self-attention"].queries == maps["encoder self-attention"].keys == cross.keys
    assert cross.heads.sum(axis=2) == pytest.approx(np.ones(cross.heads.shape[:2]))
    assert cross.mean == pytest.approx(cross.heads.mean(axis=0))


def test_a_character_of_several_tokens_is_spelt_as_the_vocabulary_does(predictors: dict[str, Predictor]) -> None:
    [one] = attention_maps(predictors["generation"], [{"text": "日"}])
    assert list(one.keys.tokens[1:]) == ["æ", "Ĺ", "¥"]


def test_of_a_long_text_the_first_tokens_are_shown_and_that_is_told(predictors: dict[str, Predictor]) -> None:
    [one] = attention_maps(predictors["generation"], [{"text": "apple " * 200}])
    assert one.heads.shape[1:] == (TOKENS, TOKENS)
    assert one.keys.total > 100
    assert one.keys.told() == f"first {TOKENS} of {one.keys.total} tokens"
    assert Axis(("a", "b"), 2).told() == "2 tokens"
    assert len(one.facts()["keys"]["tokens"]) == TOKENS
    assert len(json.dumps(one.facts())) < 8 * TOKENS**2 * (len(one.heads) + 1) + 1000


def test_self_and_cross_attention_are_pictures_apart() -> None:
    maps = [made(stack=stack, cross=cross) for stack, cross in (("b", True), ("b", False), ("a", False))]
    assert list(attention_pictures(maps, family="f")) == [
        "attention_a_self.png",
        "attention_b_cross.png",
        "attention_b_self.png",
    ]
    assert list(attention_pictures([made()], family="f")) == ["attention_self.png"]


ODD = ["$\\frac{$", "<script>", "日", "x" * 300, "", "\n", "\ufffd"]


@pytest.mark.parametrize(
    "maps",
    [
        [made()],
        [made(queries=ODD), made(row=4, queries=["<s>"] * TOKENS)],
        [made(heads=40)],
        [made(mean=np.full((3, 4), np.nan))],
        [
            made(row=row, queries=["wwwwwwwwwwww"] * TOKENS, keys=Axis(("mmmmmmmmmmm",) * TOKENS, 999), heads=6)
            for row in range(4)
        ],
    ],
    ids=["small", "odd tokens", "many heads", "a broken model", "full"],
)
def test_a_picture_is_a_small_png_file_and_the_same_for_the_same_maps(maps: list[AttentionMap]) -> None:
    [(_, picture)] = attention_pictures(maps, family="f").items()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) < 100_000
    assert list(attention_pictures(maps, family="f").values()) == [picture]


def test_a_probability_of_1_is_dark_and_of_0_is_light_in_its_own_cell() -> None:
    mean = np.zeros((3, 4))
    mean[1, 2] = 1.0
    [shown] = attention_pictures([made(mean=mean)], family="f").values()
    [none] = attention_pictures([made(mean=np.zeros((3, 4)))], family="f").values()
    down, right = np.nonzero((pixels(shown) != pixels(none)).any(axis=2))
    assert (len(down), np.ptp(down), np.ptp(right)) == (24 * 24, 23, 23)
    dark, light = pixels(shown)[down[0], right[0]], pixels(none)[down[0], right[0]]
    assert dark.sum() < 200 < 700 < light.sum()


def test_heads_stand_side_by_side_with_a_gap() -> None:
    found = side_by_side(np.arange(12.0).reshape(3, 2, 2))
    gap = np.nan
    expected = [[0, 1, gap, 4, 5], [2, 3, gap, 6, 7], [gap] * 5, [8, 9, gap, gap, gap], [10, 11, gap, gap, gap]]
    np.testing.assert_array_equal(found, expected)


def test_numbers_of_a_broken_model_are_null() -> None:
    facts = made(mean=np.array([[np.nan, 0.123456]])).facts()
    assert facts["mean"] == [[None, 0.1235]]
    json.dumps(facts, allow_nan=False)


def test_the_page_names_the_rows_and_says_that_the_maps_explain_nothing() -> None:
    maps = [made(stack="encoder"), made(stack="decoder"), made(stack="decoder", cross=True)]
    found = attention_table(maps, ["", "", "", "a text"])
    assert found.rows == [(3, "3 + 3", "a text")]
    assert "They explain no answer: other maps often lead to the same one (Jain and Wallace 2019)." in found.note
    assert len(found.note) < 300
