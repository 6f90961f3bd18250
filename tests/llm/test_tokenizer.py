"""Byte-level BPE: exact round trips, control tokens that no text can forge, and the same ids in transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from llm.errors import InputError, ModelFolderError
from llm.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, TextTokenizer, wordpiece_tokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer

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


@pytest.mark.parametrize("text", TEXTS)
def test_control_tokens_come_from_the_template_alone(tokenizer: TextTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert (ids[0], ids[-1]) == (BOS_ID, EOS_ID)
    assert not set(ids[1:-1]) & {PAD_ID, BOS_ID, EOS_ID, UNK_ID}


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


def test_importing_the_data_rooms_does_not_import_torch() -> None:
    script = (
        "import sys, llm.corpora, llm.cleaning, llm.splits, llm.ingest, llm.tokens\n"
        "import llm.tokenizer, llm.tokenizer_training\n"
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
