"""Files that somebody else may have made: looked at before they are opened, so that they cannot hang or fill us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm.errors import ModelFolderError, StageError
from llm.files import read_json

# Of a file of options; tokenizers of a million entries take a tenth of it.
LARGEST_JSON = 256 << 20
_REMEDY = "restore the file, or use another model: this one may have been tampered with"


def file_of(folder: Path, name: str, *, within: Path | None = None) -> Path:
    """`folder/name`, a regular file that lies in `folder` (in `within`), links followed.

    Raises ModelFolderError when it is missing, a device or a pipe (which never end), or a link that leads out: what a
    folder brings is copied and registered, and must not be somebody's private key.
    """
    path = folder / name
    if not path.exists():
        raise ModelFolderError(f"{path}: no such file", remedy="name the folder of a complete model")
    if not path.is_file():
        raise ModelFolderError(f"{path}: is no regular file", remedy=_REMEDY)
    target = path.resolve()
    if not target.is_relative_to((within or folder).resolve()):
        raise ModelFolderError(f"{path}: is a link that leads out of the folder", remedy=_REMEDY)
    return path


def options_of(folder: Path, name: str, *, within: Path | None = None) -> dict[str, Any]:
    """The JSON object in `folder/name`.

    Raises ModelFolderError when it is not there, holds anything else, or asks for code of its own to be run.
    """
    path = file_of(folder, name, within=within)
    try:
        options = read_json(path, largest=LARGEST_JSON)
    except StageError as error:
        raise ModelFolderError(error.problem, remedy=_REMEDY) from None
    if not isinstance(options, dict):
        raise ModelFolderError(f"{path}: holds {type(options).__name__}, not a JSON object", remedy=_REMEDY)
    for key in ("auto_map", "trust_remote_code"):
        if options.get(key):
            raise ModelFolderError(
                f"{path}: {key} = {options[key]!r:.100} asks for code that comes with the model, which is never run",
                remedy="use a model of the plain architecture",
            )
    return options
