"""What `.ci/audit` makes of the answers of a database of vulnerabilities, through pip-audit itself."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import QuietHandler, answering

ROOT = Path(__file__).parents[2]
TOOL = ROOT / ".venv" / "audit" / "bin" / "python"
KNOWN = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "affected": [
        {
            "package": {"name": "toy-parser", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.5"}]}],
            "versions": ["1.0"],
        }
    ],
}

# Continuous integration has the tool, and must notice when it has not.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TOOL.exists() and "NIGHTSHIFT_CI" not in os.environ, reason="make audit installs the tool"),
]


@pytest.fixture
def database() -> Iterator[str]:
    """The address of one that knows of a vulnerability in toy-parser."""

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802  (the name that http.server looks for)
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = asked["package"]["name"] == "toy-parser" and asked["version"] == "1.0"
            self.answer(200, json.dumps({"vulns": [KNOWN]} if known else {}).encode())

    with answering(Handler) as address:
        yield f"{address}/v1/query"


def audited(folder: Path, pins: str, *, database: str, accepted: str = "") -> tuple[int, str]:
    (folder / "pins.txt").write_text(pins)
    (folder / "accepted").write_text(accepted)
    command = [str(TOOL), str(ROOT / ".ci" / "audit"), "--osv-url", database]
    command += ["--pins", str(folder / "pins.txt"), "--accepted", str(folder / "accepted")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def test_a_known_vulnerability_fails_the_build_and_is_named(tmp_path: Path, database: str) -> None:
    code, said = audited(tmp_path, "toy-parser==1.0\nother==2.0\n", database=database)
    assert (code, said.splitlines()) == (
        1,
        ["toy-parser 1.0: PYSEC-2026-1, fixed in 1.5", "2 packages audited, 1 known vulnerabilities"],
    )


def test_pins_that_nothing_is_known_of_pass(tmp_path: Path, database: str) -> None:
    code, said = audited(tmp_path, "toy-parser==1.5\nother==2.0\n", database=database)
    assert (code, said) == (0, "2 packages audited, 0 known vulnerabilities\n")


@pytest.mark.parametrize(("until", "code"), [("2999-01-01", 0), ("2026-01-01", 1)])
def test_one_that_was_accepted_passes_up_to_that_day(tmp_path: Path, database: str, until: str, code: int) -> None:
    accepted = f"# looked at\nCVE-2026-1 {until} nothing here parses what others sent\n"
    found, _ = audited(tmp_path, "toy-parser==1.0\n", database=database, accepted=accepted)
    assert found == code


def test_a_database_that_is_away_is_said_and_stops_no_build(tmp_path: Path) -> None:
    code, said = audited(tmp_path, "toy-parser==1.0\n", database="http://127.0.0.1:9/v1/query")
    assert code == 0
    assert said.splitlines()[-1] == "NOT AUDITED: the database of vulnerabilities could not be asked about pins.txt"


def test_a_line_that_accepts_without_a_reason_is_named(tmp_path: Path, database: str) -> None:
    code, said = audited(tmp_path, "toy-parser==1.0\n", database=database, accepted="# ours\nCVE-2026-1 2030-01-01\n")
    assert code == 1
    assert said == f"{tmp_path / 'accepted'}:2: 'CVE-2026-1 2030-01-01' is not ID YYYY-MM-DD reason\n"
