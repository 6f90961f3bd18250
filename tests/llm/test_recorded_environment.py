"""What an environment says of itself, and what two of them have not in common."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import llm
from llm.environment import Difference, code_of, differences, environment

HERE = {"threads": 2, "products": "float32", "device": "cpu"}


def test_an_environment_is_json_and_names_python_processor_packages_and_code() -> None:
    found = environment(**HERE)
    assert json.loads(json.dumps(found)) == found
    assert found["python"] == sys.version.split()[0]
    assert found["processor"]
    assert {"torch", "numpy", "tokenizers", "safetensors"} <= found["packages"].keys()
    assert found["code"]["llm"] == code_of(Path(llm.__file__).parent)
    assert {name: found[name] for name in HERE} == HERE


def test_an_environment_does_not_differ_from_itself() -> None:
    assert differences(environment(**HERE), environment(**HERE)) == []


def test_each_difference_is_named_with_what_was_and_what_is() -> None:
    now = environment(**HERE)
    packages = {name: number for name, number in now["packages"].items() if name != "numpy"} | {"torch": "0.1"}
    then = {**now, "threads": 8, "packages": packages}
    assert differences(then, now) == [
        Difference("threads", "8", "2"),
        Difference("torch", "0.1", now["packages"]["torch"]),
        Difference("numpy", "none", now["packages"]["numpy"]),
    ]


def test_another_commit_of_the_same_code_and_another_folder_decide_nothing() -> None:
    now = environment(**HERE)
    then = {
        **now,
        "folder": "/elsewhere",
        "code": {"llm": now["code"]["llm"], "commit": "0", "uncommitted_changes": True},
    }
    assert differences(then, now) == []


def test_other_code_is_told_by_commit_and_hash() -> None:
    now = environment(**HERE)
    then = {**now, "code": {"llm": "c0ffee", "commit": "0123456789abcdef", "uncommitted_changes": True}}
    [found] = differences(then, now)
    assert found.name == "code"
    assert found.then == "commit 0123456789ab and uncommitted changes (llm/ hashes to c0ffee)"
    assert now["code"]["llm"] in found.now


def test_code_under_git_is_known_by_its_commit_and_an_installed_copy_is_not(tmp_path: Path) -> None:
    # A copy, in a repository of its own: git says of it what it is told here.
    shutil.copytree(Path(llm.__file__).parent, tmp_path / "llm", ignore=shutil.ignore_patterns("__pycache__"))
    script = "from llm.environment import git_state; import json; print(json.dumps(git_state()))"

    def told() -> dict[str, object]:
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        state: dict[str, object] = json.loads(done.stdout)
        return state

    def git(*arguments: str) -> str:
        given = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        done = subprocess.run(["git", *given, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "--quiet")
    assert told() == {}
    git("add", "llm")
    git("commit", "--quiet", "--message", "m")
    commit = git("rev-parse", "HEAD")
    assert told() == {"commit": commit, "uncommitted_changes": False}
    with (tmp_path / "llm" / "errors.py").open("a") as file:
        file.write("# changed")
    assert told() == {"commit": commit, "uncommitted_changes": True}
