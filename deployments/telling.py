"""What a command tells whoever started it, at a terminal that may be closed by now."""

from __future__ import annotations

from contextlib import suppress

import typer


def tell(line: str, *, err: bool = False) -> None:
    """Print a line on stdout or, with `err`, on stderr; where that is not possible, what runs goes on all the same."""
    # A terminal that is closed, a reader that is gone, a full disk.
    with suppress(OSError):
        typer.echo(line, err=err)
