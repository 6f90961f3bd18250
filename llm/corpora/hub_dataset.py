"""A Hugging Face dataset: by its name at the hub and a revision, or a folder in a form that `datasets` reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from llm.corpora.base import Checksum, Pieces, Record, SourceConfig, Step, Unreadable, sha256_of_text
from llm.corpora.formats.base import ColumnOptions
from llm.corpora.formats.rows import check_columns, row_item
from llm.errors import CorpusError, DownloadError

_COMMIT = re.compile("[0-9a-f]{40}")


class HubDatasetConfig(ColumnOptions, SourceConfig):
    """One split of a dataset."""

    source: Literal["hub_dataset"] = "hub_dataset"
    name: str = Field(
        min_length=1, description="name at the hub, such as stanfordnlp/sst2, or a folder of this machine"
    )
    revision: str | None = Field(
        None, description="at the hub: the commit (40 hexadecimal digits), so that the same recipe reads the same data"
    )
    configuration: str | None = Field(None, description="which of the dataset's configurations; none: its default")
    split: str = Field("train", description="which of the dataset's own splits is read; it is split anew here")
    terms: str = Field("not stated", description="the licence or terms of the data, for the manifest")

    @model_validator(mode="after")
    def _is_complete(self) -> HubDatasetConfig:
        if not self.columns:
            raise ValueError("columns is missing: {text: <column>}")
        if not Path(self.name).expanduser().is_dir() and not _COMMIT.fullmatch(self.revision or ""):
            raise ValueError(
                f"{self.name} is no folder here, so revision must be a commit of 40 hexadecimal digits, "
                f"not {self.revision!r}"
            )
        return self


class HubDataset:
    """One record a row, in the order of the dataset."""

    config: ClassVar[type[SourceConfig]] = HubDatasetConfig
    part: ClassVar[type[SourceConfig]] = HubDatasetConfig
    version: ClassVar[int] = 1
    shipped: ClassVar[bool] = False

    def fields(self, config: HubDatasetConfig) -> tuple[str, ...]:
        """What `columns` maps."""
        return tuple(config.columns)

    def origin(self, config: HubDatasetConfig) -> dict[str, Any]:
        """Name and revision, and the terms as stated."""
        return {"dataset": config.name, "revision": config.revision, "split": config.split, "terms": config.terms}

    def parts(self, config: HubDatasetConfig, *, pieces: Pieces) -> dict[str, SourceConfig]:  # noqa: ARG002
        """The dataset as a whole."""
        return {config.name: config}

    def size(self, config: HubDatasetConfig) -> int:  # noqa: ARG002
        """Not known before it is here."""
        return 0

    def content(self, config: HubDatasetConfig, *, checksum: Checksum) -> dict[str, str]:
        """Of a folder the SHA-256 of its files; at the hub the commit stands for the content."""
        folder = Path(config.name).expanduser()
        if not folder.is_dir():
            return {f"{config.name}@{config.revision}": sha256_of_text(f"{config.name}@{config.revision}")}
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
        if not files:
            raise CorpusError(f"{folder}: holds no file", remedy="name a folder with a dataset")
        return {str(path): checksum(path) for path in files}

    def records(self, config: HubDatasetConfig, *, downloads: Path) -> Iterator[Record | Unreadable]:
        """Rows; a class label becomes its name."""
        data = _load(config, downloads)
        check_columns(data.column_names, config, origin=config.name)
        names = {name: kind.names for name, kind in data.features.items() if hasattr(kind, "names")}
        for position, row in enumerate(data, start=1):
            for column, labels in names.items():
                if type(row[column]) is int and 0 <= row[column] < len(labels):
                    row[column] = labels[row[column]]
            yield row_item(row, config, origin=config.name, position=position)

    def steps(self, config: HubDatasetConfig) -> Mapping[str, Step]:  # noqa: ARG002
        """None of its own."""
        return {}


def _load(config: HubDatasetConfig, downloads: Path) -> Any:
    from datasets import load_dataset  # here: it takes seconds to import

    folder = Path(config.name).expanduser()
    place = str(folder.resolve()) if folder.is_dir() else config.name
    try:
        return load_dataset(
            place,
            config.configuration,
            split=config.split,
            revision=None if folder.is_dir() else config.revision,
            cache_dir=str(downloads / "datasets"),
        )
    except ConnectionError as error:
        raise DownloadError(f"{config.name} could not be downloaded: {error}", remedy="check the network") from None
    except Exception as error:  # whatever the readers of its many formats raise
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise CorpusError(
            f"{config.name}: not readable as a dataset ({told[0][:300]})",
            remedy="check name, configuration, split and revision",
        ) from None
