"""Where the servers of `nightshift up` listen, and the environment in which their processes find each other."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from deployments.access import LOOPBACK, Access
from deployments.automations import WEBHOOK_VARIABLE
from deployments.leftovers import owned
from deployments.processes import ServerError

API_VARIABLE = "PREFECT_API_URL"
# How long the Prefect server keeps a run that has ended.
KEEP_RUNS_DAYS = 30


@dataclass(frozen=True)
class Ports:
    """TCP ports on one address of this machine."""

    prefect: int
    mlflow: int
    host: str = LOOPBACK

    @property
    def prefect_url(self) -> str:
        """Address of the Prefect UI."""
        return f"http://{self.host}:{self.prefect}"

    @property
    def mlflow_url(self) -> str:
        """Address of the MLflow UI."""
        return f"http://{self.host}:{self.mlflow}"


def server_environment(base: Mapping[str, str], ports: Ports, access: Access | None = None) -> dict[str, str]:
    """The environment of the three processes, and of the flow runs that the worker starts.

    With `access` it holds the secrets of the servers too: see `without_secrets`.
    """
    local = f",http://localhost:{ports.prefect}" if access is None else ""
    guarded = {} if access is None else access.for_clients() | access.for_servers() | _guards(ports)
    return {
        **{name: value for name, value in base.items() if name != WEBHOOK_VARIABLE},  # a secret that no run needs
        **owned(),
        API_VARIABLE: f"{ports.prefect_url}/api",
        # Without it the page in the browser asks port 4200, whatever the server's own port is.
        "PREFECT_SERVER_UI_API_URL": f"{ports.prefect_url}/api",
        # The default lets every web page that the user visits talk to the server.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{ports.prefect_url}{local}",
        # By default runs, logs and artifacts stay for ever; what a night decided is in MLflow. Events go after a week.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(KEEP_RUNS_DAYS * 24 * 3600),
        **seldom(),
        "MLFLOW_TRACKING_URI": ports.mlflow_url,
        # 0.5 GB of memory instead of 2.4: we use none of the server's background jobs.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONUNBUFFERED": "1",
        **guarded,
    }


def seldom() -> dict[str, str]:
    """What the Prefect server looks for every 5 to 15 s by default, day and night, and need not: it all costs time."""
    loops = {
        "PAUSE_EXPIRATIONS": 60,  # runs that paused for too long, of which we have none
        "LATE_RUNS": 60,  # runs that start late, which is shown and no more
        "CLEANUP_RECONCILER": 60,  # what workers were told to clean up and did not
        "REPOSSESSOR": 60,  # slots of processes that died; `nightshift up` ends their runs, which frees them too
        "FOREMAN": 60,  # workers that have been silent for 90 s
        "SCHEDULER_RECENT_DEPLOYMENTS": 20,  # deployments whose schedules have changed
    }
    seconds = {f"PREFECT_SERVER_SERVICES_{name}_LOOP_SECONDS": str(value) for name, value in loops.items()}
    # So much later an automation tells that something did not happen; none of ours does.
    return seconds | {"PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT60S"}


def _guards(ports: Ports) -> dict[str, str]:
    """Pages of others, and names that somebody else's DNS gives to our address, are refused."""
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{ports.host}:{ports.mlflow}",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ports.mlflow_url,
    }


def check_port(port: int, *, option: str, host: str = LOOPBACK) -> None:
    """Raise ServerError when something listens on the port already."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT after a restart is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerError(
                f"port {port} on {host} cannot be used ({error.strerror})",
                remedy=f"stop what uses it, or choose another with {option}",
            ) from None


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
