"""Byte-level BPE: any text becomes token ids and comes back byte for byte, and no text can forge a control token."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from llm.errors import InputError, ModelFolderError
from llm.files import write_atomically, write_json
from llm.untrusted import options_of
from llm.word_encoder import WordEncoder

PAD_ID, BOS_ID, EOS_ID, UNK_ID = 0, 1, 2, 3
# Their order is their id. Byte-level BPE never emits <unk>: it is there because inference engines ask for one.
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")

# By the role that tokenizer_config.json gives them: ours, and BERT's, whose ids are wherever its vocabulary has them.
_ROLES = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL_TOKENS, strict=True))
_BERT_ROLES = {
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
    "mask_token": "[MASK]",
}
# What WordPiece writes before a token that goes on with a word.
_CONTINUES = "##"

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"

# Glued to the last token of a word, as subword-nmt and CLIP do. No token can spell it otherwise: the regex that cuts
# texts into words keeps "<", "/" and ">" apart from letters.
WORD_END = "</w>"

# Enough for every core to be busy, few enough that the encodings (larger than their ids) never fill the memory.
_BATCH = 2048
# Characters of text that `encode_flat` is best given at once: the cost of a batch is then the cost of its text.
BATCH_CHARACTERS = 1 << 20


class TextTokenizer:
    """Text to token ids and back.

    A literal "<s>" in a text is three characters of text, never the control token: control tokens come from the
    template alone.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        allow_parallelism()
        self._tokenizer = tokenizer
        # tokenizer.json does not hold this switch, so every way to a TextTokenizer must set it.
        self._tokenizer.encode_special_tokens = True
        # And these it may hold, when transformers has written it: cut or filled ids would pass for the text.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._roles = _BERT_ROLES if tokenizer.token_to_id(_BERT_ROLES["pad_token"]) == PAD_ID else _ROLES

    @classmethod
    def load(cls, folder: Path) -> TextTokenizer:
        """Read `folder/tokenizer.json`.

        Raises ModelFolderError when the file is missing, damaged, or holds neither our special tokens nor BERT's.
        """
        path = folder / TOKENIZER_FILE
        _refuse_expressions(options_of(folder, TOKENIZER_FILE), path)
        if (folder / TOKENIZER_CONFIG_FILE).exists():
            options_of(folder, TOKENIZER_CONFIG_FILE)  # refuses code
        try:
            tokenizer = cls(tokenizers.Tokenizer.from_file(str(path)))
            # Some damage shows only in use.
            tokenizer.decode(tokenizer.encode("a b"))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # tokenizers panics on some files, and its PanicException is no Exception.
            raise ModelFolderError(f"{path}: not a usable tokenizer ({error})", remedy=_DAMAGED) from None
        tokenizer._check_numbers(path)
        tokenizer._check_special_tokens(path)
        return tokenizer

    def _check_numbers(self, path: Path) -> None:
        numbers = sorted(self._tokenizer.get_vocab(with_added_tokens=True).values())
        if numbers != list(range(len(numbers))):
            raise ModelFolderError(
                f"{path}: its {len(numbers)} entries are numbered up to {numbers[-1]}, with gaps", remedy=_DAMAGED
            )

    def _check_special_tokens(self, path: Path) -> None:
        for index, token in enumerate(self._roles.values()):
            found = self._tokenizer.token_to_id(token)
            if found is None or (self._roles is _ROLES and found != index):
                raise ModelFolderError(
                    f"{path}: {token} has the id {found}, not {index}",
                    remedy="use a tokenizer that Nightshift has trained, or BERT's",
                )

    def save(self, folder: Path, *, max_length: int | None = None) -> None:
        """Write tokenizer.json and tokenizer_config.json, such that `AutoTokenizer.from_pretrained` gives the same ids.

        `max_length` is the longest sequence, in tokens, that the model beside it takes; None states no limit.
        """
        write_atomically(folder / TOKENIZER_FILE, lambda temporary: self._tokenizer.save(str(temporary)))
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **self._roles,
            "clean_up_tokenization_spaces": False,
            # transformers' name for `encode_special_tokens`.
            "split_special_tokens": True,
        }
        if max_length is not None:
            config["model_max_length"] = max_length
        write_json(folder / TOKENIZER_CONFIG_FILE, config)

    @property
    def size(self) -> int:
        """V: entries in the vocabulary, special tokens included."""
        size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        return size

    @property
    def merges(self) -> bool:
        """True for BPE; WordPiece has a vocabulary and no merges."""
        return isinstance(self._tokenizer.model, tokenizers.models.BPE)

    def merged_parts(self) -> NDArray[np.int32]:
        """(V, 2): the two tokens that were merged into each token; -1 for what was not merged: bytes, special tokens.

        All -1 where the tokenizer has no merges.
        """
        parts = np.full((self.size, 2), -1, dtype=np.int32)
        if not self.merges:
            return parts
        numbers = self._tokenizer.get_vocab()
        for left, right in json.loads(self._tokenizer.to_str())["model"]["merges"]:
            parts[numbers[left + right]] = (numbers[left], numbers[right])
        return parts

    def pieces(self) -> list[str]:
        """V strings: each token's bytes in byte-level BPE's alphabet (U+0120 is the space), perhaps closed by WORD_END.

        WordPiece's as its vocabulary writes them. "" for special tokens.
        """
        pieces = [""] * self.size
        for piece, number in self._tokenizer.get_vocab().items():
            pieces[number] = "" if piece in self._roles.values() else piece
        return pieces

    def tokens(self) -> list[str]:
        """V strings: the name of each token by id, special tokens included."""
        tokens = [""] * self.size
        for token, number in self._tokenizer.get_vocab(with_added_tokens=True).items():
            tokens[number] = token
        return tokens

    def word_starts(self) -> NDArray[np.bool_]:
        """(V,): whether a token begins a word: with a space in BPE, unmarked in WordPiece; special tokens do not."""
        pieces = self.pieces()
        if self.merges:
            return np.asarray([piece.startswith("\u0120") for piece in pieces], dtype=np.bool_)
        return np.asarray([piece != "" and not piece.startswith(_CONTINUES) for piece in pieces], dtype=np.bool_)

    def encode(self, text: str) -> list[int]:
        """Token ids of one text within the template.

        Raises InputError when `text` is not text that UTF-8 can write.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str], *, special_tokens: bool = True) -> list[list[int]]:
        """Token ids of each text, within the template or (`special_tokens=False`) bare.

        Raises InputError that gives the number of the first text that is not text that UTF-8 can write.
        """
        rows: list[list[int]] = []
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            try:
                encodings = self._tokenizer.encode_batch_fast(batch, add_special_tokens=special_tokens)
            except (TypeError, ValueError):
                raise _not_text(batch, start=start) from None
            rows += [encoding.ids for encoding in encodings]
        return rows

    def encode_flat(
        self, texts: Sequence[str], *, special_tokens: bool = True
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """`encode_batch` for corpora: all ids (int32), text after text, and how many each text has (int64).

        Several times as fast, since a word that stood in this or an earlier call is looked up; not for two threads.
        """
        try:
            return self._words.encode(texts, special_tokens=special_tokens)
        except (TypeError, ValueError):
            raise _not_text(texts, start=0) from None

    @cached_property
    def _words(self) -> WordEncoder:
        return WordEncoder(self._tokenizer)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, control tokens dropped; bytes that are not UTF-8 become U+FFFD."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def decode_batch(self, batch: Sequence[Sequence[int]]) -> list[str]:
        """`decode` of each."""
        texts: list[str] = self._tokenizer.decode_batch([list(ids) for ids in batch], skip_special_tokens=True)
        return texts


def wordpiece_tokenizer(vocabulary: Path, *, lowercase: bool) -> tokenizers.Tokenizer:
    """BERT's tokenizer (Devlin et al. 2019) from its vocab.txt, for checkpoints that have no tokenizer.json.

    Raises ModelFolderError when the vocabulary lacks one of BERT's special tokens.
    """
    lines = vocabulary.read_text(encoding="utf-8").split("\n")
    ids = {token: index for index, token in enumerate(line.rstrip("\r") for line in lines) if token}
    missing = [token for token in _BERT_ROLES.values() if token not in ids]
    if missing:
        raise ModelFolderError(f"{vocabulary}: there is no {missing[0]}", remedy="use BERT's own vocabulary")
    unknown, first, last = (_BERT_ROLES[role] for role in ("unk_token", "cls_token", "sep_token"))
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token=unknown))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece(prefix=_CONTINUES)
    tokenizer.add_special_tokens(list(_BERT_ROLES.values()))
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, ids[first]), (last, ids[last])]
    )
    return tokenizer


def _refuse_expressions(parts: dict[str, Any], path: Path) -> None:
    """Raise ModelFolderError where a tokenizer brings a regular expression: some take years over a line of text."""
    waiting = [parts.get(name) for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder")]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(part.get("Regex"), str):
                raise ModelFolderError(
                    f"{path}: brings a regular expression of its own ({part!s:.80})",
                    remedy="use a tokenizer that Nightshift has trained, or BERT's",
                )
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


_DAMAGED = "restore the file, or delete its folder and run again"


def allow_parallelism() -> None:
    """Let the library use all cores, unless the environment says otherwise."""
    # Unset, the library turns itself single-threaded, with a warning, once the process has forked for a subprocess.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def _not_text(batch: Sequence[object], *, start: int) -> InputError:
    for index, text in enumerate(batch, start=start):
        if not isinstance(text, str):
            return InputError(f"text {index} is {type(text).__name__}, not str", remedy="give text only")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return InputError(
                f"text {index} holds the lone surrogate {text[error.start]!r} at character {error.start}",
                remedy="give text that UTF-8 can write",
            )
    return InputError("the tokenizer refused a batch of texts", remedy="give text only")
