"""A model's card, out of a real training, evaluated on a corpus whose names try to break out of the page."""

from __future__ import annotations

import json
from dataclasses import replace

from llm.stages import Stage
from tasks.gate import ChampionScore
from tasks.markdown import escaped
from tasks.model_card import LONGEST, ModelCard

RIVAL = ChampionScore(version=1, metrics={"accuracy": 81.5})


def text_of(
    card: ModelCard, *, reasons: tuple[str, ...] = ("is better",), champion: ChampionScore | None = RIVAL
) -> str:
    return card.markdown(family="classification", version=7, decision="promoted", reasons=reasons, champion=champion)


def changed(stage: Stage, **facts) -> Stage:
    return replace(stage, manifest=stage.manifest | {"facts": stage.facts | facts})


def test_it_says_what_the_model_is_and_what_it_learned_from(card):
    text = text_of(card)
    parameters = card.training.facts["parameters"]
    for wanted in (
        "# classification, version 7: promoted\n\n- is better\n",
        "Classification: an encoder reads a text and gives each label a probability.",
        f"BertForSequenceClassification (encoder), {parameters:,} parameters",
        "- longest input: 64 tokens\n",
        "- 2 labels: fruit, tool",
        "terms: not stated",
        f"- rows: train {card.corpus.facts['splits']['train']['rows']}, validation ",
        "of the training rows have less than",
        f"corpus `{card.corpus.key}`, training `{card.training.key}`",
    ):
        assert wanted in text


def test_figures_have_intervals_and_stand_beside_baselines_and_the_champion(card):
    intervals = card.evaluation.facts["intervals"] | {"accuracy": [76.5, 99.5]}
    lines = text_of(replace(card, evaluation=changed(card.evaluation, intervals=intervals))).splitlines()
    head = lines.index("| | this model | naive\\_bayes | champion, version 1 |")
    accuracy = [one.strip() for one in lines[head + 2].strip("|").split("|")]
    value = card.evaluation.facts["metrics"]["accuracy"]
    assert accuracy[:2] == ["accuracy", f"{value:.4g} (76.5 to 99.5)"]
    assert accuracy[3] == "81.5"
    assert "champion, version" not in text_of(card, champion=None)


def test_the_weakest_slices_the_cost_and_three_ways_to_load_it_are_told(card):
    text = text_of(card)
    weak = text[text.index("## Where it is weak") : text.index("## What it cost")]
    assert "in the slice label: " in weak or "in the slice length: " in weak
    assert "Wh if a busy thread draws 5 W (assumed, not measured)" in text
    assert 'mlflow.pyfunc.load_model("models:/classification/7")' in text
    assert "transformers.AutoModelForSequenceClassification.from_pretrained(folder)" in text
    assert text.endswith("`nightshift pull classification FOLDER --version 7`\n")


EVIL = "<script>alert(1)</script> | ![x](http://evil/y.png) [a](b) `c` *d* _e_ \\ $f$ &lt;\n# g"


def test_what_a_user_named_is_text_and_no_markup(card):
    origin = {"paths": [EVIL], "terms": EVIL}
    evil = replace(card, corpus=changed(card.corpus, source=EVIL, origin=origin))
    text = text_of(evil, reasons=(EVIL,))
    assert (
        "\\<script\\>alert(1)\\</script\\> \\| !\\[x\\](http://evil/y.png) \\[a\\](b) \\`c\\` \\*d\\* \\_e\\_ \\\\"
        in text
    )
    for markup in ("<script>", "](http", "![", "`c`", "\n# g"):
        assert markup not in text.replace("\\]", "").replace("!\\[", "")
    assert escaped(EVIL, longest=500).count("\n") == 0


def test_it_fits_the_registry_however_long_names_are_and_still_says_how_to_load_it(card):
    origin = {"paths": [f"{EVIL * 20} {number}" for number in range(500)], "terms": EVIL * 100}
    long = replace(card, corpus=changed(card.corpus, source=EVIL * 100, origin=origin))
    text = text_of(long, reasons=tuple(f"{EVIL * 20} {number}" for number in range(40)))
    assert len(text) <= LONGEST
    assert "- and 34 more" in text
    assert text.endswith("--version 7`\n")


def test_it_is_the_same_text_for_the_same_stages(card):
    assert text_of(card) == text_of(card)
    assert json.loads(json.dumps(text_of(card))) == text_of(card)
