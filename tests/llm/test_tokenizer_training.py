"""Learning a vocabulary: every byte has a token, the same texts give the same file, and held-out rows teach nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from llm.errors import CorpusError
from llm.files import canonical_json, write_jsonl
from llm.stages import Stage, StageSpec, run_stage
from llm.tokenizer import BOS_ID, EOS_ID, PAD_ID, SPECIAL_TOKENS, UNK_ID, TextTokenizer
from llm.tokenizer_training import TokenizerConfig, tokenizer_stage, train_tokenizer

TEMPLATE = "<s> $A </s>"
# Code points up to U+07FF, and three that need the lead bytes of longer sequences: all bytes that UTF-8 has.
ALL_BYTES = "".join(map(chr, range(0x800))) + "\u1000\uffff\U0010ffff"


def test_every_byte_can_be_written_by_the_smallest_vocabulary() -> None:
    smallest = TextTokenizer(train_tokenizer(["a"], TokenizerConfig(vocabulary=260), template=TEMPLATE))
    assert smallest.size == 260
    assert smallest.decode(smallest.encode(ALL_BYTES)) == ALL_BYTES
    assert len(smallest.encode(ALL_BYTES)) == len(ALL_BYTES.encode()) + 2


def test_with_word_ends_every_byte_can_end_a_word_in_the_smallest_vocabulary() -> None:
    smallest = TextTokenizer(train_tokenizer(["a"], TokenizerConfig(vocabulary=452, word_ends=True), template=TEMPLATE))
    assert smallest.size == 452
    for text in (ALL_BYTES, *ALL_BYTES):
        assert smallest.decode(smallest.encode(text)) == text
    with pytest.raises(ValidationError, match=r"vocabulary \(451\) must be at least 452 with word_ends"):
        TokenizerConfig(vocabulary=451, word_ends=True)


def test_word_ends_tell_a_whole_word_from_the_beginning_of_a_longer_one() -> None:
    texts = ["on the one onset of an onyx on on"] * 5
    found = {}
    for word_ends in (False, True):
        config = TokenizerConfig(vocabulary=600, word_ends=word_ends)
        tokenizer = TextTokenizer(train_tokenizer(texts, config, template=TEMPLATE))
        pieces = tokenizer.pieces()
        found[word_ends] = [[pieces[i] for i in tokenizer.encode(text)[1:-1]] for text in (" on", " onb")]
    assert found[False] == [["Ġon"], ["Ġon", "b"]]
    assert found[True] == [["Ġon</w>"], ["Ġon", "b</w>"]]


def test_a_literal_word_end_in_a_text_is_text() -> None:
    config = TokenizerConfig(vocabulary=700, word_ends=True)
    tokenizer = TextTokenizer(train_tokenizer(["a </w> b</w> </w></w>"] * 9, config, template=TEMPLATE))
    for text in ("</w>", "x</w>y", "</w></w> </ w>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_corpus_full_of_literal_control_tokens_teaches_none_of_them() -> None:
    texts = ["".join(SPECIAL_TOKENS), " <s> ", "</s>"] * 200
    trained = TextTokenizer(train_tokenizer(texts, TokenizerConfig(vocabulary=400), template=TEMPLATE))
    for text in texts[:3]:
        ids = trained.encode_batch([text], special_tokens=False)[0]
        assert not set(ids) & {PAD_ID, BOS_ID, EOS_ID, UNK_ID}
        assert trained.decode(ids) == text


def test_frequent_pairs_are_merged_and_rare_ones_are_not() -> None:
    config = TokenizerConfig(vocabulary=1000, minimum_frequency=2)
    trained = TextTokenizer(train_tokenizer(["abc abc", "xy"], config, template="$A"))
    # "abc" stands twice (once behind a space): a+b, then ab+c; "xy" and " abc" stand once.
    assert trained.size == 260 + 2
    assert [len(trained.encode(text)) for text in ("abc", " abc", "xy")] == [1, 2, 2]


def test_the_template_decides_the_frame() -> None:
    config = TokenizerConfig(vocabulary=260)
    ids = {
        template: TextTokenizer(train_tokenizer(["a"], config, template=template)).encode("a")[:-1]
        for template in ("$A </s>", "<s> $A </s>")
    }
    assert [len(inner) for inner in ids.values()] == [1, 2]
    assert ids["<s> $A </s>"][0] == BOS_ID


def test_every_process_learns_the_same_bytes_from_the_same_texts(tmp_path: Path) -> None:
    # Hash seeds and thread schedules differ between processes, and most pairs of these texts are equally frequent.
    script = (
        "import sys; from pathlib import Path; from llm.tokenizer import TextTokenizer\n"
        "from llm.tokenizer_training import TokenizerConfig, train_tokenizer\n"
        "texts = [f'{a} {b}{a} the light {b}' for a in range(60) for b in 'xyzäöü']\n"
        "for name, options in {'plain': {}, 'spaced': {'prefix_space': True}, 'marked': {'word_ends': True}}.items():\n"
        "    trained = train_tokenizer(texts, TokenizerConfig(vocabulary=600, **options), template='<s> $A </s>')\n"
        "    (Path(sys.argv[1]) / name).mkdir(parents=True)\n"
        "    TextTokenizer(trained).save(Path(sys.argv[1]) / name, max_length=64)\n"
    )
    made = {}
    for seed, threads in (("1", "1"), ("2", "2"), ("3", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", script, str(tmp_path / seed)], check=True, env=environment)
        paths = sorted((tmp_path / seed).rglob("*.json"))
        made[seed] = {path.relative_to(tmp_path / seed).as_posix(): path.read_bytes() for path in paths}
    assert len(made["1"]) == 6
    assert made["1"] == made["2"] == made["3"]
    assert len(set(made["1"].values())) == 4  # three tokenizers that differ, and one configuration


def test_the_smallest_numbers_are_bytes_in_their_order_and_then_those_that_end_words() -> None:
    config = TokenizerConfig(vocabulary=460, word_ends=True)
    tokens = TextTokenizer(train_tokenizer(["on the one"] * 9, config, template=TEMPLATE)).tokens()
    assert tuple(tokens[:4]) == SPECIAL_TOKENS
    assert tokens[4:260] == sorted(tokens[4:260])
    assert {len(token) for token in tokens[4:260]} == {1}
    assert tokens[260:452] == sorted(tokens[260:452])
    assert all(token.removesuffix("</w>") in tokens[4:260] for token in tokens[260:452])


def corpus_of(tmp_path: Path, rows: dict[str, list[dict[str, str]]]) -> Stage:
    def build(folder: Path) -> dict:
        return {split: write_jsonl(folder / f"{split}.jsonl", split_rows) for split, split_rows in rows.items()}

    spec = StageSpec(name="corpus", version=1, config={"rows": canonical_json(rows)}, inputs={})
    return run_stage(spec, build, root=tmp_path / "stages")


def test_the_stage_learns_from_the_train_split_alone(tmp_path: Path) -> None:
    train = [{"group": "a", "source": "the light", "target": "das Licht"}] * 5
    config = TokenizerConfig(vocabulary=300)
    made = []
    for held_out in ("the light", "an entirely other text, other text"):
        rows = {"train": train, "validation": [{**train[0], "source": held_out}], "test": train}
        corpus = corpus_of(tmp_path, rows)
        made.append(
            tokenizer_stage(corpus, config, fields=("source", "target"), template=TEMPLATE, root=tmp_path / "stages")
        )
    assert made[0].key != made[1].key
    assert len({(stage.path / "tokenizer.json").read_bytes() for stage in made}) == 1
    assert made[0].facts["texts"] == 10
    assert made[0].facts["bytes"] == 5 * len("the lightdas Licht")
    assert made[0].facts["vocabulary"] == TextTokenizer.load(made[0].path).size


def test_the_stage_learns_from_all_the_fields_it_is_given(tmp_path: Path) -> None:
    row = {"group": "a", "source": "aaaa", "target": "zzzz"}
    corpus = corpus_of(tmp_path, {"train": [row] * 3, "validation": [row], "test": [row]})
    sizes = {
        fields: tokenizer_stage(
            corpus, TokenizerConfig(vocabulary=300), fields=fields, template=TEMPLATE, root=tmp_path / "stages"
        ).facts["vocabulary"]
        for fields in (("source",), ("source", "target"))
    }
    # "aaaa" gives aa and aaaa; "zzzz" likewise.
    assert sizes == {("source",): 262, ("source", "target"): 264}


def test_an_empty_train_split_is_a_corpus_error(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"train": [], "validation": [], "test": []})
    with pytest.raises(CorpusError, match=r"train\.jsonl: no rows"):
        tokenizer_stage(
            corpus, TokenizerConfig(vocabulary=300), fields=("text",), template=TEMPLATE, root=tmp_path / "stages"
        )
