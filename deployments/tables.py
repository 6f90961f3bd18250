"""Plain text tables: they read the same on a terminal, in a log file and in a bug report."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, indent: str = "  ") -> str:
    """Lines of columns with two spaces between; a column in which every cell is a number stands to the right."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    right = [all(_is_figure(row[column]) for row in cells[1:]) for column in range(len(head))]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ]
        lines.append((indent + "  ".join(padded)).rstrip())
    return "\n".join(lines)


def _is_figure(cell: str) -> bool:
    # An empty cell or a dash says that there is no figure, in a column of figures.
    try:
        float(cell.replace(",", ""))
    except ValueError:
        return cell in {"", "-"}
    return True


def printable(text: str) -> str:
    """The text without control characters: what a young model writes must not be able to clear the screen."""
    return "".join(
        character if character.isprintable() or character.isspace() else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def one_line(text: str, *, longest: int) -> str:
    """The text with its line breaks as spaces, cut with an ellipsis."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= longest else f"{flat[: longest - 1]}…"
