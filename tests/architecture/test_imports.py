"""Imports run one way, MLflow has one door, llm knows no orchestrator, and nothing reads or writes a pickle.

Every import is read with `ast`, those inside functions and under TYPE_CHECKING included.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# From the plain package up to what is deployed: a room may import from itself and from those before it.
ROOMS = ("llm", "tasks", "flows", "deployments")
MODULES = sorted(path for room in ROOMS for path in (REPOSITORY / room).rglob("*.py"))
# The registry package; the script that MLflow runs to load a model; the gate's fresh process, which loads a model as
# a user does and so must know MLflow and nothing of ours.
MLFLOW_DOORS = ("tasks/registry/", "tasks/pyfunc_model.py", "tasks/reload_check.py")
PICKLE_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "skops"}
PICKLE_CALLS = {"torch.load", "torch.save", "numpy.load", "np.load", "pandas.read_pickle", "pd.read_pickle"}


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(tree: ast.Module, *, package: tuple[str, ...]) -> Iterator[str]:
    """Full names of all imported modules; relative ones are resolved against `package`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield prefix
            yield from (f"{prefix}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "importlib.import_module", "__import__"}:
            # A name built at run time cannot be judged; a literal one is an import like any other.
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def imports_of(path: Path) -> set[str]:
    return set(imported(parse(path), package=path.relative_to(REPOSITORY).parent.parts))


def wrong_directions(path: Path, names: set[str]) -> list[str]:
    room = path.relative_to(REPOSITORY).parts[0]
    later = ROOMS[ROOMS.index(room) + 1 :]
    return sorted(name for name in names if name.split(".")[0] in later)


def test_all_rooms_are_read() -> None:
    assert {path.relative_to(REPOSITORY).parts[0] for path in MODULES} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_from_deployments_to_flows_to_tasks_to_llm(path: Path) -> None:
    assert wrong_directions(path, imports_of(path)) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_registry_imports_mlflow(path: Path) -> None:
    if name_of(path).startswith(MLFLOW_DOORS):
        return
    assert [name for name in imports_of(path) if name.split(".")[0] == "mlflow"] == []


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path).startswith("llm/")], ids=name_of)
def test_llm_imports_no_orchestrator(path: Path) -> None:
    assert [name for name in imports_of(path) if name.split(".")[0] == "prefect"] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_pickle_is_read_or_written(path: Path) -> None:
    assert [name for name in imports_of(path) if name.split(".")[0] in PICKLE_MODULES] == []
    assert [call for call in calls_of(path) if call in PICKLE_CALLS] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_asks_which_family_it_serves(path: Path) -> None:
    assert family_comparisons(parse(path)) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_opens_with_its_purpose(path: Path) -> None:
    purpose = ast.get_docstring(parse(path))
    assert purpose, f"{name_of(path)} has no docstring"
    assert purpose.splitlines()[0].strip()


def test_prefect_yaml_names_flows_only() -> None:
    text = (REPOSITORY / "deployments" / "prefect.yaml").read_text(encoding="utf-8")
    entrypoints = [line.split()[-1] for line in text.splitlines() if line.strip().startswith("entrypoint:")]
    assert entrypoints
    assert all(entrypoint.startswith("flows.") for entrypoint in entrypoints)


def calls_of(path: Path) -> list[str]:
    return [called(node) for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]


def family_comparisons(tree: ast.Module) -> list[str]:
    """Comparisons (and match subjects) of something called family with a literal: the start of a ladder."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            literal = any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides)
            if literal and any(mentions_family(side) for side in sides):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Match) and mentions_family(node.subject):
            found.append(f"match {ast.unparse(node.subject)}")
    return found


def mentions_family(node: ast.expr) -> bool:
    text = ast.unparse(node)
    return not isinstance(node, ast.Constant) and (text.endswith(("family", "family.name")) or text == "family_name")


class TestTheRulesThemselves:
    """Each rule catches what it is for."""

    def package_file(self, room: str) -> Path:
        return REPOSITORY / room / "example.py"

    @pytest.mark.parametrize(
        "source",
        [
            "import tasks.gate",
            "from tasks import gate",
            "def f():\n    from tasks.gate import decide",
            "import importlib\nimportlib.import_module('tasks.gate')",
        ],
    )
    def test_an_import_against_the_direction_is_found(self, source: str) -> None:
        names = set(imported(ast.parse(source), package=("llm",)))
        assert wrong_directions(self.package_file("llm"), names) != []
        assert wrong_directions(self.package_file("flows"), names) == []

    def test_relative_imports_are_resolved(self) -> None:
        names = set(imported(ast.parse("from ..errors import StageError"), package=("llm", "model")))
        assert "llm.errors" in names

    @pytest.mark.parametrize(
        "source",
        [
            "if family == 'translation': pass",
            "if self.family.name != 'generation': pass",
            "if recipe.family in ('a', 'b'): pass\nif 'translation' == recipe.family: pass",
            "match config.family:\n    case 'translation': pass",
        ],
    )
    def test_a_family_ladder_is_found(self, source: str) -> None:
        assert len(family_comparisons(ast.parse(source))) == 1

    def test_looking_a_family_up_is_no_ladder(self) -> None:
        assert family_comparisons(ast.parse("if name not in FAMILIES: raise KeyError(name)")) == []
        assert family_comparisons(ast.parse("if run.family == champion.family: pass")) == []
