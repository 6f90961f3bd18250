"""Tokens a second while decoding: ours in torch and over CTranslate2, transformers' `generate`, CTranslate2 bare.

Each case is a race of its own: one contestant a process, taking turns. With `--data`, a translator is trained on
Multi30k first (or read from `--model`), its test sentences are translated too, and every engine's BLEU is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.decoders import SETUPS, WRITERS
from benchmarks.race import Contestant, Round, parser, ratios, run

_MODULE = "benchmarks.decode"
_CASES = {"greedy_1": (1, 1), "greedy_32": (32, 1), "beam5_32": (32, 5)}  # inputs, beams
_PEERS = ("transformers", "ctranslate2_int8")
# Texts that a round writes at least: one short text is over before a clock can tell.
_TEXTS = {"greedy_1": 4, "greedy_32": 64, "beam5_32": 32}


def contestant(name: str) -> Contestant:
    """An engine as a contestant; which model and case it is, the options say."""

    def build(options: argparse.Namespace) -> Round:
        from llm.model.folder import save_model

        setup = SETUPS[options.setup](options)
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        save_model(folder, setup.model, description={}, generation=None)
        write = WRITERS[name](setup, folder, options.threads)
        count, beams = _CASES[options.case]
        place = 0

        def one_round() -> float:
            nonlocal place
            started, written = time.perf_counter(), 0
            for _ in range(max(1, _TEXTS[options.case] // count)):
                texts = [setup.inputs[(place + number) % len(setup.inputs)] for number in range(count)]
                place += count
                written += sum(map(len, write(texts, beams)))
            return written / (time.perf_counter() - started)

        return one_round

    return Contestant(build)


CONTESTANTS = {name: contestant(name) for name in WRITERS}


def races(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A race for each model and case: medians, and ours over each peer."""
    names = [name for name in SETUPS if options.model or name != "multi30k"]
    found: dict[str, Any] = {}
    for name in names:
        for case in _CASES:
            print(f"{name}, {case}", file=sys.stderr, flush=True)
            chosen = ["--setup", name, "--case", case, "--folder", str(folder), "--model", options.model]
            facts = run(_MODULE, CONTESTANTS, options, arguments=chosen)
            assert facts is not None
            median = facts["median"]
            ratio = {who: ratios(median, who, _PEERS) for who in median if who not in _PEERS}
            found.setdefault(name, {})[case] = {
                "tokens_per_second": median,
                "ratio": ratio,
                "spread": facts["spread"],
                "peak_mb": facts["peak_mb"],
            }
    return found


def bleu(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """sacreBLEU of each engine on Multi30k's test set of 2016, beam 5."""
    import gzip

    import sacrebleu

    from llm.model.folder import save_model
    from llm.tokenizer import TextTokenizer

    setup, tokenizer = SETUPS["multi30k"](options), TextTokenizer.load(Path(options.model))
    references = gzip.decompress((options.data / "test_2016_flickr.de.gz").read_bytes()).decode().splitlines()
    target = Path(tempfile.mkdtemp(dir=folder))
    save_model(target, setup.model, description={}, generation=None)
    scores = {}
    for name, make in WRITERS.items():
        if name == "transformers":  # it writes what ours in torch writes, and takes minutes
            continue
        answers = tokenizer.decode_batch(make(setup, target, options.threads)(setup.inputs, 5))
        scores[name] = round(sacrebleu.metrics.BLEU().corpus_score(answers, [references]).score, 2)
    return scores


def train(options: argparse.Namespace, folder: Path) -> str:
    """A translator of the size of `encoder_decoder_4+4x256`, trained for `options.train_minutes`; its folder."""
    from benchmarks import multi30k

    splits = multi30k.read(options.data, lowercase=False)
    values = {"width": 256, "feed_forward": 1024, "minutes": options.train_minutes, "threads": options.threads}
    chosen = multi30k.recipe(multi30k.options_of([], data=options.data, **values))
    with tempfile.TemporaryDirectory() as checkpoints:
        predictor, _ = multi30k.train(splits, chosen, Path(checkpoints))
    target = folder / "trained"
    multi30k.save(predictor, target)
    return str(target)


def main() -> None:
    """Print one JSON line; in a contestant's process, serve rounds."""
    options_of = parser(_MODULE, __doc__)
    options_of.add_argument(
        "--new-tokens", type=int, default=64, help="length of every text of random weights, in tokens"
    )
    options_of.add_argument("--data", type=Path, help="folder of Multi30k; without it, weights are random only")
    options_of.add_argument("--train-minutes", type=float, default=5.0, help="training of the translator")
    options_of.add_argument("--model", default="", help="folder of a translator, in place of training one")
    options_of.add_argument("--setup", default="", help=argparse.SUPPRESS)
    options_of.add_argument("--case", default="", help=argparse.SUPPRESS)
    options_of.add_argument("--folder", default="", help=argparse.SUPPRESS)
    options = options_of.parse_args()
    if options.contestant:
        run(_MODULE, CONTESTANTS, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.data and not options.model:
            options.model = train(options, Path(folder))
        results = races(options, Path(folder))
        scores = bleu(options, Path(folder)) if options.model else {}
    print(json.dumps({"benchmark": "decode", "results": results, "bleu": scores, "new_tokens": options.new_tokens}))


if __name__ == "__main__":
    main()
