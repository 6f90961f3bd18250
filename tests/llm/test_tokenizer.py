"""Byte-level BPE: exact round trips, control tokens that no text can forge, and the same ids in transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from llm.errors import CorpusError, InputError, ModelFolderError
from llm.files import canonical_json, write_jsonl
from llm.stages import Stage, StageSpec, run_stage
from llm.tokenizer import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    SPECIAL_TOKENS,
    UNK_ID,
    TextTokenizer,
    TokenizerConfig,
    tokenizer_stage,
    train_tokenizer,
    wordpiece_tokenizer,
)

TEMPLATE = "<s> $A </s>"
SENTENCES = ["the light is on", "the light is off", "turn the light on", "das Licht ist an"] * 5
TEXTS = [
    "the light",
    "",
    " ",
    "  two  spaces \n\n and \t lines \r\n",
    "<s>",
    "</s><pad><unk> the <s> light",
    "unseen: Grüße, 你好, Ωμέγα",
    "\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4} \N{MAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
    "e\N{COMBINING ACUTE ACCENT} is not \N{LATIN SMALL LETTER E WITH ACUTE}",
    "nul \0 and bell \a",
    "line\u2028separator",
    "I 'm here , isn 't it ?",
]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "word_ends"])
def tokenizer(request: pytest.FixtureRequest) -> TextTokenizer:
    config = TokenizerConfig(vocabulary=520 if request.param else 300, word_ends=request.param)
    return TextTokenizer(train_tokenizer(SENTENCES, config, template=TEMPLATE))


def test_special_tokens_have_the_ids_that_everything_relies_on(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert [vocabulary[token] for token in ("<pad>", "<s>", "</s>", "<unk>")] == [0, 1, 2, 3]
    assert (PAD_ID, BOS_ID, EOS_ID, UNK_ID) == (0, 1, 2, 3)


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_comes_back_exactly(tokenizer: TextTokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


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


@pytest.mark.parametrize("text", TEXTS)
def test_control_tokens_come_from_the_template_alone(tokenizer: TextTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert (ids[0], ids[-1]) == (BOS_ID, EOS_ID)
    assert not set(ids[1:-1]) & {PAD_ID, BOS_ID, EOS_ID, UNK_ID}


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


def test_bare_encoding_leaves_the_template_out(tokenizer: TextTokenizer) -> None:
    texts = ["the light", "is on"]
    bare = tokenizer.encode_batch(texts, special_tokens=False)
    assert tokenizer.encode_batch(texts) == [[BOS_ID, *ids, EOS_ID] for ids in bare]


def test_a_batch_of_many_is_the_same_as_one_at_a_time(tokenizer: TextTokenizer) -> None:
    texts = [f"the light {i} is on" for i in range(5000)]
    batch = tokenizer.encode_batch(texts)
    assert len(batch) == 5000
    assert [batch[i] for i in (0, 2047, 2048, 4999)] == [tokenizer.encode(texts[i]) for i in (0, 2047, 2048, 4999)]
    assert tokenizer.decode_batch(batch) == texts


def test_bytes_cut_in_the_middle_decode_to_the_replacement_character(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode_batch(["\N{THUMBS UP SIGN}"], special_tokens=False)[0]
    assert tokenizer.decode(ids[:-1]) == "\ufffd"


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (["fine", 5], "text 1 is int"),
        ([None], "text 0 is NoneType"),
        (["fine", "ab\ud800"], r"text 1 holds the lone surrogate '\\ud800' at character 2"),
        (["fine"] * 3000 + [b"bytes"], "text 3000 is bytes"),
    ],
)
def test_what_is_not_text_is_named(tokenizer: TextTokenizer, texts: list, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        tokenizer.encode_batch(texts)


def test_saving_and_loading_gives_the_same_ids(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path, max_length=64)
    loaded = TextTokenizer.load(tmp_path)
    assert loaded.size == tokenizer.size
    assert loaded.encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)


def test_transformers_gives_the_same_ids_and_texts(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path, max_length=64)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert [theirs(text)["input_ids"] for text in TEXTS] == tokenizer.encode_batch(TEXTS)
    for text in TEXTS:
        assert theirs.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    assert theirs.model_max_length == 64
    assert len(theirs) == tokenizer.size
    specials = (theirs.pad_token_id, theirs.bos_token_id, theirs.eos_token_id, theirs.unk_token_id)
    assert specials == (PAD_ID, BOS_ID, EOS_ID, UNK_ID)


def test_a_folder_that_transformers_has_saved_gives_the_same_ids(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path, max_length=64)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    theirs(["the", "the light is on"], padding="max_length", truncation=True, max_length=3)
    theirs.save_pretrained(tmp_path / "again")
    assert TextTokenizer.load(tmp_path / "again").encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS)


def test_training_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    # In processes of their own, since hash seeds and thread schedules differ between those.
    script = (
        "import sys; from pathlib import Path; from llm.tokenizer import *\n"
        "texts = [f'{a} {b}{a} the light {b}' for a in range(60) for b in 'xyzäöü']\n"
        "trained = train_tokenizer(texts, TokenizerConfig(vocabulary=500), template='<s> $A </s>')\n"
        "TextTokenizer(trained).save(Path(sys.argv[1]), max_length=64)\n"
    )
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", script, str(tmp_path / seed)], check=True, env=environment)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def without_special_tokens_in_the_template(content: dict) -> None:
    content["post_processor"]["special_tokens"] = {}


def with_a_charsmap_that_cannot_be_parsed(content: dict) -> None:
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}


def with_a_merge_of_nothing(content: dict) -> None:
    content["model"]["merges"].append(["q", "zzz"])


@pytest.mark.parametrize(
    "damage",
    [without_special_tokens_in_the_template, with_a_charsmap_that_cannot_be_parsed, with_a_merge_of_nothing],
)
def test_a_damaged_file_is_a_model_folder_error_even_where_the_library_panics(
    tokenizer: TextTokenizer, tmp_path: Path, damage: Callable[[dict], None]
) -> None:
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    damage(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"tokenizer\.json: not a usable tokenizer"):
        TextTokenizer.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]"])
def test_a_file_that_is_no_tokenizer_is_a_model_folder_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelFolderError, match=r"tokenizer\.json"):
        TextTokenizer.load(tmp_path)


def test_a_missing_file_is_a_model_folder_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="no such file"):
        TextTokenizer.load(tmp_path)


def test_a_tokenizer_with_other_special_tokens_is_refused(tmp_path: Path) -> None:
    import tokenizers

    other = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1}, []))
    other.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelFolderError, match="<pad> has the id None, not 0"):
        TextTokenizer.load(tmp_path)


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


def test_importing_the_data_rooms_does_not_import_torch() -> None:
    script = (
        "import sys, llm.corpora, llm.cleaning, llm.splits, llm.ingest, llm.tokenizer, llm.tokens\n"
        "print([name for name in ('torch', 'transformers', 'pandas', 'datasets') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


BERT_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "light", "##s", "[", "]", "sep", "caf\u00e9", "cafe"]


def wordpiece(tmp_path: Path, *, lowercase: bool = True, words: Sequence[str] = BERT_WORDS) -> TextTokenizer:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return TextTokenizer(wordpiece_tokenizer(path, lowercase=lowercase))


def test_a_wordpiece_vocabulary_gives_the_ids_that_bert_s_tokenizer_gives(tmp_path: Path) -> None:
    from transformers import BertTokenizer

    texts = ["The lights", "the CAF\u00c9", "light,s", "\u4e2d the\tlights ", ""]
    for lowercase in (True, False):
        found = wordpiece(tmp_path, lowercase=lowercase)
        theirs = BertTokenizer(vocab=str(tmp_path / "vocab.txt"), do_lower_case=lowercase)
        assert found.encode_batch(texts) == [theirs(text).input_ids for text in texts]


def test_a_wordpiece_text_cannot_forge_control_tokens(tmp_path: Path) -> None:
    assert wordpiece(tmp_path).encode("the [SEP]") == [2, 5, 8, 10, 9, 3]


def test_wordpiece_keeps_its_ids_and_its_case_over_a_folder(tmp_path: Path) -> None:
    for lowercase in (True, False):
        tokenizer = wordpiece(tmp_path, lowercase=lowercase)
        tokenizer.save(tmp_path)
        assert TextTokenizer.load(tmp_path).encode("The lights") == tokenizer.encode("The lights")


def test_wordpiece_has_no_merges_and_marks_what_goes_on(tmp_path: Path) -> None:
    tokenizer = wordpiece(tmp_path)
    assert (tokenizer.merged_parts() == -1).all()
    starts = [word for word, begins in zip(BERT_WORDS, tokenizer.word_starts(), strict=True) if begins]
    assert starts == ["the", "light", "[", "]", "sep", "caf\u00e9", "cafe"]


def test_a_wordpiece_vocabulary_without_a_control_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"vocab\.txt: there is no \[MASK\]"):
        wordpiece(tmp_path, words=[word for word in BERT_WORDS if word != "[MASK]"])
