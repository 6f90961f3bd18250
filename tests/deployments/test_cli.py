"""The command line: quick to answer, one clear message for each mistake, exit codes that scripts can use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from deployments import cli
from deployments.arguments import parse_pairs
from deployments.cli import app
from deployments.processes import Terminated
from llm import __version__
from llm.errors import ConfigError, StageError

runner = CliRunner()
HEAVY = ("torch", "transformers", "prefect", "mlflow", "pandas", "numpy", "datasets", "sklearn")


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["models"],
        ["clean"],
        ["inspect"],
        ["predict"],
        ["up"],
        ["history"],
        ["rollback"],
        ["promote"],
        ["diff"],
        ["lineage"],
        ["pull"],
        ["serve"],
        ["batch-predict"],
        ["evaluate"],
        ["reproduce"],
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    script = (
        "import sys\n"
        "from deployments.cli import app\n"
        f"try: app({[*command, '--help']!r})\n"
        "except SystemExit as ended: assert ended.code == 0, ended.code\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["history"],
        ["rollback"],
        ["promote", "1", "--why", "x"],
        ["diff", "1", "2"],
        ["lineage"],
        ["pull", "new"],
        ["serve"],
        ["batch-predict", "a", "b"],
        ["reproduce"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_unknown_family_is_refused_before_anything_heavy_is_imported(arguments: list[str]) -> None:
    command = [arguments[0], "poetry", *arguments[1:]]
    script = (
        "import sys\n"
        "from deployments.cli import app\n"
        f"try: app({command!r})\n"
        "except SystemExit as ended: assert ended.code == 2, ended.code\n"
        "print('heavy:', [name for name in ('torch', 'prefect', 'mlflow') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "heavy: []\n"
    assert done.stderr == (
        "error: there is no family 'poetry'\nremedy: use one of generation, translation, classification\n"
    )


def test_version() -> None:
    done = runner.invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"nightshift {__version__}\n")


def test_a_misspelt_option_is_answered_with_usage_and_exit_code_2() -> None:
    done = runner.invoke(app, ["run", "--presett", "quick"])
    assert done.exit_code == 2
    assert "--presett" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize("pair", ["training.steps", "=3", " = 3"])
def test_a_setting_without_key_or_value_is_named(pair: str) -> None:
    with pytest.raises(ConfigError, match="expected key=value") as caught:
        parse_pairs([pair], option="--set")
    assert repr(pair) in caught.value.problem


def test_values_of_settings_are_read_as_yaml() -> None:
    pairs = ["a.b=3", "c=1e-3", "d=0.5", "e=true", "f=[x, y]", "g=plain text", "h=a=b", "i=null"]
    assert parse_pairs(pairs, option="--set") == {
        "a.b": 3,
        # YAML 1.1 reads a number without a dot as text; pydantic turns it into the float that the option wants.
        "c": "1e-3",
        "d": 0.5,
        "e": True,
        "f": ["x", "y"],
        "g": "plain text",
        "h": "a=b",
        "i": None,
    }


def test_a_value_that_is_not_yaml_is_named() -> None:
    with pytest.raises(ConfigError, match="not YAML"):
        parse_pairs(["a=[1, 2"], option="--set")


def failing_app(error: BaseException) -> typer.Typer:
    """The real command group around a command that raises."""
    failing = typer.Typer(cls=cli.Commands, pretty_exceptions_enable=False)

    @failing.command()
    def work() -> None:
        raise error

    @failing.command()
    def rest() -> None:
        """A second command, so that the first keeps its name."""

    return failing


def test_our_errors_become_two_lines_on_stderr_and_exit_code_2() -> None:
    done = runner.invoke(failing_app(StageError("x.json: broken", remedy="delete it")), ["work"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "error: x.json: broken\nremedy: delete it\n"


def test_our_errors_are_found_inside_the_error_of_an_orchestrator() -> None:
    wrapped = RuntimeError("1 of 3 families failed")
    wrapped.__cause__ = ValueError("task run failed")
    wrapped.__cause__.__cause__ = ConfigError("training.steps = -1", remedy="correct training.steps")
    done = runner.invoke(failing_app(wrapped), ["work"])
    assert (done.exit_code, done.stderr) == (2, "error: training.steps = -1\nremedy: correct training.steps\n")


def test_a_bug_while_an_error_of_ours_is_handled_keeps_its_own_name() -> None:
    bug = KeyError("metrics")
    bug.__context__ = ConfigError("x", remedy="y")
    done = runner.invoke(failing_app(bug), ["work"])
    assert done.exception is bug


@pytest.mark.parametrize(("ended_by", "code"), [(KeyboardInterrupt(), 130), (Terminated(), 143)])
def test_a_signal_ends_with_the_exit_code_that_shells_know(ended_by: BaseException, code: int) -> None:
    done = runner.invoke(failing_app(ended_by), ["work"])
    assert done.exit_code == code
    assert "interrupted" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named", "remedy"),
    [
        (["--set", "training.learning_rate=-1"], "training.learning_rate = -1", "correct training.learning_rate"),
        (["--set", "training.lerning_rate=1"], "no option 'training.lerning_rate'", "did you mean 'learning_rate'?"),
        (["--set", "training.steps"], "'training.steps': expected key=value", "write --set training.steps=2000"),
        (["--preset", "huge"], "classification has no preset 'huge'", "smoke"),
        (["--config", "missing.yaml"], "missing.yaml: cannot be read", "YAML"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_wrong_configuration_is_one_clear_error_before_anything_starts(
    arguments: list[str], named: str, remedy: str, nightshift_home: Path, own_environment: None
) -> None:
    done = runner.invoke(app, ["run", "classification", *arguments])
    assert done.exit_code == 2
    first, last = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert named in first
    assert last.startswith("remedy: ")
    assert remedy in last
    assert not (nightshift_home / "logs").exists()


def test_a_home_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "models"],
        env=os.environ | {"NIGHTSHIFT_HOME": str(blocker / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {blocker / 'home'}: cannot be created")
    assert "remedy: set NIGHTSHIFT_HOME" in done.stderr
