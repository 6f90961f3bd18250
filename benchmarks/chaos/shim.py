"""Stands for Python: asks the process that forks for a module's process, and lives and dies with it (see forks.py)."""

import json
import os
import signal
import socket
import sys


def packed(value):
    """Length, then JSON."""
    data = json.dumps(value).encode()
    return len(data).to_bytes(8, "big") + data


def receive(connection):
    """One answer; the forking process is gone when there is none."""

    def exactly(size):
        data = b""
        while len(data) < size:
            more = connection.recv(size - len(data))
            if not more:
                os.kill(os.getpid(), signal.SIGKILL)
            data += more
        return data

    return json.loads(exactly(int.from_bytes(exactly(8), "big")))


def main():
    """Run `python [-P] -m module arguments` as a fork; anything else as Python itself would."""
    arguments = sys.argv[1:]
    while arguments and arguments[0] in ("-P", "-u", "-s", "-E"):
        arguments = arguments[1:]
    python = os.environ["CHAOS_PYTHON"]
    if not arguments or arguments[0] != "-m" or arguments[1] == "multiprocessing.resource_tracker":
        os.execv(python, [python, *sys.argv[1:]])  # noqa: S606
    child = []
    waiting = []

    def pass_on(number, _frame):
        if child:
            os.kill(child[0], number)
        else:
            waiting.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ["CHAOS_SOCKET"])
    socket.send_fds(connection, [b"f"], [0, 1, 2])
    connection.sendall(packed({"arguments": arguments[1:], "environment": dict(os.environ), "folder": os.getcwd()}))
    for descriptor in (0, 1):
        os.close(descriptor)
    child.append(receive(connection)["pid"])
    for number in waiting:
        os.kill(child[0], number)
    code = receive(connection)["status"]
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
