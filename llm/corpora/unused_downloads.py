"""Downloads of remote files that nothing has used for long, most of them versions that are there no more."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from llm.corpora.remote import lock_of, remote_folder
from llm.removal import Unused, remove_folders, remove_locks, unused


def unused_downloads(downloads: Path, *, since: datetime) -> list[Unused]:
    """Folders of versions of remote files that nothing has used since then.

    Archives that a checksum names are no such folders: there are few, and a package index may not be there for ever.
    """
    return unused(remote_folder(downloads).glob("[!.]*/"), since=since)


def remove_downloads(found: Iterable[Unused], *, downloads: Path) -> list[Unused]:
    """Remove such folders, but for those that are downloaded, held, or used after all; returns those removed.

    Raises StageError when another process removes for ten minutes.
    """
    root = remote_folder(downloads)
    removed = remove_folders(found, root=root, lock_of=lock_of)
    remove_locks(root, needed=lambda key: (root / key).exists())
    return removed
