"""Who may use the servers of `nightshift up --host`: passwords that are made once, and files that only we may read."""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from deployments.processes import ServerError

LOOPBACK = "127.0.0.1"
USER = "nightshift"
# What clients show; Prefect and MLflow read these variables themselves.
PREFECT_AUTH = "PREFECT_API_AUTH_STRING"
_MLFLOW_USER, _MLFLOW_PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
_FILE, _INI = "passwords.json", "mlflow.ini"
_BYTES = 32


@dataclass(frozen=True)
class Access:
    """The secrets of both servers. They are in no command line, and in no file but those that `folder` holds."""

    folder: Path
    prefect: str  # password of USER
    mlflow: str  # password of USER, who is MLflow's administrator
    mlflow_key: str  # signs MLflow's tokens against forged requests

    def for_clients(self) -> dict[str, str]:
        """Variables with which the worker, its flow runs and our commands sign in."""
        return self.for_prefect() | self.for_mlflow()

    def for_prefect(self) -> dict[str, str]:
        """Those for the Prefect server."""
        return {PREFECT_AUTH: f"{USER}:{self.prefect}"}

    def for_mlflow(self) -> dict[str, str]:
        """Those for the MLflow server."""
        return {_MLFLOW_USER: USER, _MLFLOW_PASSWORD: self.mlflow}

    def for_servers(self) -> dict[str, str]:
        """Variables with which the servers ask for it, beside those of clients."""
        return {
            "PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{self.prefect}",
            "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / _INI),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.mlflow_key,
        }


def folder_in(home: Path) -> Path:
    """Where the secrets of a home are."""
    return home / "access"


def make_access(home: Path) -> Access:
    """The secrets of this home, made at the first call.

    Raises ServerError when they cannot be read, or the package that MLflow's sign-in needs is missing.
    """
    if find_spec("flask_wtf") is None:
        raise ServerError(
            "--host needs MLflow's sign-in, and that the package flask-wtf, which is not installed",
            remedy="pip install -c constraints.txt flask-wtf, or leave --host out",
        )
    folder = folder_in(home)
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    if not (folder / _FILE).exists():
        made = {name: secrets.token_urlsafe(_BYTES) for name in ("prefect", "mlflow", "mlflow_key")}
        _write(folder / _FILE, json.dumps(made, indent=2) + "\n")
    access = read_access(folder)
    users = (home / "mlflow" / "users.db").resolve()
    users.parent.mkdir(parents=True, exist_ok=True)
    options = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": f"sqlite:///{users}",
        "admin_username": USER,
        "admin_password": access.mlflow,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        # Else every request hashes the password anew, and a night writes thousands of figures.
        "auth_cache_ttl_seconds": "60",
    }
    # A percent sign begins a reference in such a file.
    lines = [f"{name} = {value.replace('%', '%%')}\n" for name, value in options.items()]
    _write(folder / _INI, "[mlflow]\n" + "".join(lines))
    return access


def read_access(folder: Path) -> Access:
    """The secrets in a folder.

    Raises ServerError when they cannot be read.
    """
    path = folder / _FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Access(folder=folder, **{name: found[name] for name in ("prefect", "mlflow", "mlflow_key")})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServerError(
            f"{path}: cannot be read ({type(error).__name__})",
            remedy=f"delete {folder} and MLflow's users.db, and start again: passwords are made anew",
        ) from None


def check_host(host: str) -> None:
    """Raise ServerError unless pages and commands can use the address: all interfaces at once are no address."""
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = host.strip() == ""
    if everywhere:
        raise ServerError(
            f"--host {host!r} is no address that a browser can open",
            remedy="name the one address of this machine that others are to use",
        )
    if ":" in host:
        raise ServerError(f"--host {host}: IPv6 is not supported", remedy="name an IPv4 address or a host name")


def without_secrets(environment: Mapping[str, str], access: Access) -> dict[str, str]:
    """The environment of what is no server."""
    return {name: value for name, value in environment.items() if name not in access.for_servers()}


def _write(path: Path, text: str) -> None:
    # Readable for us alone from the first byte on; renamed, so that nobody reads half of it.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
