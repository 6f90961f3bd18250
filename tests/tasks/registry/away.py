"""A registry whose server is away for some requests."""

from __future__ import annotations

from collections.abc import Callable

import requests
from mlflow import MlflowClient


class Away:
    """MLflow's client, whose server does not answer the first requests of these names."""

    def __init__(self, real: MlflowClient, failures: dict[str, int], *, carried_out: bool = False) -> None:
        self.real = real
        self.failures = failures
        self.carried_out = carried_out
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., object]:
        def request(*args: object, **values: object) -> object:
            self.asked.append(name)
            if self.failures.get(name, 0):
                self.failures[name] -= 1
                if self.carried_out:
                    getattr(self.real, name)(*args, **values)
                raise requests.exceptions.ConnectionError("Connection refused")
            return getattr(self.real, name)(*args, **values)

        return request
