"""Every error that Nightshift raises on purpose: one tree, each saying what is wrong and what to do about it."""

from __future__ import annotations


class NightshiftError(Exception):
    """Base of the tree; the command line prints it as two lines, without a traceback.

    `problem` names the thing, its value and the constraint; `remedy` says what the reader can do about it.
    """

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    @property
    def sentence(self) -> str:
        """Problem and remedy on one line."""
        return f"{'; '.join(self.problem.splitlines())}: {self.remedy}"

    def __str__(self) -> str:
        return f"{self.problem}\n  remedy: {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders (Prefect, multiprocessing), and `remedy` is keyword-only.
        return _rebuild, (type(self), self.problem, self.remedy)


def _rebuild(kind: type[NightshiftError], problem: str, remedy: str) -> NightshiftError:
    return kind(problem, remedy=remedy)


class ConfigError(NightshiftError):
    """A configuration that cannot be run: an unknown key, a value out of bounds, fields that contradict each other."""


class DownloadError(NightshiftError):
    """Something could not be fetched from the package index or another server."""


class ChecksumError(NightshiftError):
    """A file's SHA-256 is not the one that was promised."""


class CorpusError(NightshiftError):
    """A corpus that cannot be trained on: unreadable, empty, or with an empty split."""


class StageError(NightshiftError):
    """A stage folder that cannot be written, locked or trusted."""


class StorageError(NightshiftError):
    """A disk that does not take what is written: full, over quota, read-only or failing."""


class MemoryShortageError(NightshiftError):
    """Memory that this machine, its GPU or a limit does not give."""


class CheckpointError(NightshiftError):
    """A checkpoint that does not belong to this training or is damaged."""


class ModelFolderError(NightshiftError):
    """A model folder that is incomplete, damaged or of an architecture that we do not read."""


class InputError(NightshiftError):
    """Input to a trained model that it cannot take: wrong type, unknown parameter, too long."""


class KilledError(NightshiftError):
    """A child process was ended by a signal: what it was to find out is not known."""


class TrainingError(NightshiftError):
    """Training that cannot go on: the loss is not finite."""


class RegistryError(NightshiftError):
    """MLflow could not be reached, or holds something other than what was asked for."""


class RegistryAwayError(RegistryError):
    """The registry did not answer for longer than a night waits for it."""


class GateError(NightshiftError):
    """A challenger that the gate cannot judge: it does not load, or does not repeat its own predictions."""
