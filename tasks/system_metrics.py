"""What a training takes of its machine, beside its curves in MLflow."""

from __future__ import annotations

import psutil


def system_metrics() -> dict[str, float]:
    """Memory (MB, now) and processor time (seconds, since its start) of this process.

    MLflow shows what begins with system/ on a page of its own.
    """
    process = psutil.Process()
    times = process.cpu_times()
    return {
        "system/process_memory_megabytes": process.memory_info().rss / 1e6,
        "system/process_cpu_seconds": times.user + times.system,
    }
