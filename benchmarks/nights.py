"""Thirty nights and more in minutes: a real Prefect server whose clock is moved, in three zones whose clocks change.

    python -m benchmarks.nights            # spring, then autumn
    python -m benchmarks.nights --nights 10 --season spring

Real are the server with its scheduler, concurrency limit and clean-up, the flow `nightly`, and what `up` does about
missed nights. Played in this process are the worker (it asks for runs that are due, claims them and runs them) and a
retraining, which only writes a file. The home lies on a small disk that is full for one night: that takes a root.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from deployments.environment import defaults
from deployments.servers import Ports, server_environment

_NIGHTS = {"spring": 30, "autumn": 40}
# Of the server's clean-up, so that its end can be seen within 30 nights; `up` keeps 30 days.
_KEEP_DAYS = 10
_DISK_MB = 8
# The server's loops go by the real time, of which a simulated day has a second or two.
_EAGER = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "10",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ORPHAN_CLEANUP_LOOP_SECONDS": "30",
}


def _apart(season: str, nights: int) -> int:
    """Simulate a season in a process of its own, with a home on a small disk."""
    with tempfile.TemporaryDirectory() as name, closing(socket.socket()) as probe:
        disk = Path(name, "home")
        disk.mkdir()
        probe.bind(("127.0.0.1", 0))
        ports = Ports(prefect=probe.getsockname()[1], mlflow=0)
        places = {
            "NIGHTSHIFT_HOME": str(disk),
            "PREFECT_HOME": str(Path(name, "prefect")),
            "PREFECT_LOCAL_STORAGE_PATH": str(disk / "results"),
        }
        days = {"PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(_KEEP_DAYS * 24 * 3600)}
        surroundings = {**server_environment({**defaults(disk), **os.environ}, ports), **places, **days, **_EAGER}
        command = [sys.executable, "-m", "benchmarks.moved_nights", season, str(nights), name]
        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", str(disk)], check=True)
        try:
            probe.close()
            return subprocess.run(command, env=surroundings, check=False).returncode
        finally:
            subprocess.run(["/bin/umount", "--lazy", str(disk)], check=True)


def main() -> None:
    """A JSON line a season; the exit code is 1 when a night went against the policy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--season", choices=list(_NIGHTS))
    parser.add_argument("--nights", type=int, help="30 in spring, 40 in autumn; 10 hold all that goes wrong")
    options = parser.parse_args()
    seasons = [options.season] if options.season else list(_NIGHTS)
    sys.exit(max(_apart(season, options.nights or _NIGHTS[season]) for season in seasons))


if __name__ == "__main__":
    main()
