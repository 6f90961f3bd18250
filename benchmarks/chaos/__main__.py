"""`make chaos`: kills and faults, a JSON line each; exit code 1 when something was seen that must not be."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.chaos.forks import Forks
from benchmarks.chaos.kills import Campaign


def main() -> int:
    """Read the options, run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs over nights of tiny models; 0: none")
    parser.add_argument("--a-night", type=int, default=10, help="kills a night, at most")
    parser.add_argument("--faults", choices=("each", "places", "none"), default="places", help="which calls fail")
    parser.add_argument("--places", type=int, default=1000, help="at so many places an act, at most")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn; another one, other moments")
    parser.add_argument("--folder", type=Path, help="where the homes lie; those in which something was wrong stay")
    arguments = parser.parse_args()
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="chaos-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    wrong = _kills(folder, arguments) if arguments.kills else 0
    if arguments.faults != "none":
        sites = [] if arguments.faults == "each" else ["--sites", str(arguments.places)]
        wrong += run_faults(folder / "faults", "--seed", str(arguments.seed), *sites)
    return 1 if wrong else 0


def _kills(folder: Path, arguments: argparse.Namespace) -> int:
    begun = time.monotonic()
    with Forks(folder) as forks:
        campaign = Campaign(folder, forks, seed=arguments.seed)
        campaign.run(arguments.kills, a_night=arguments.a_night)
    tally = campaign.tally
    line = {
        "kills": tally.kills,
        "nights": tally.nights,
        "seed": arguments.seed,
        "seconds": round(time.monotonic() - begun),
        "load": round(os.getloadavg()[1], 1),
        "by_process": dict(tally.by_role),
        "by_phase": dict(tally.by_phase),
        "slowest_end_s": round(tally.slowest_end, 1),
        "failed_runs": dict(tally.failures),
        "wrong": tally.wrong,
    }
    print(json.dumps(line), flush=True)
    return len(tally.wrong)


def run_faults(folder: Path, *arguments: str) -> int:
    """Compile faults.c, and run `benchmarks.chaos.faults` with it; returns its exit code. Needs a C compiler."""
    folder.mkdir(parents=True)
    library = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)  # noqa: S607
    environment = os.environ | {
        "LD_PRELOAD": str(library),
        # The benchmarks are no installed package.
        "PYTHONPATH": str(Path(__file__).parents[2]),
        # Before numpy is imported: its threads would not live on in a fork.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
    }
    command = [sys.executable, "-P", "-m", "benchmarks.chaos.faults", str(folder), *arguments]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
