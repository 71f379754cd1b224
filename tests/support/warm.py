"""Training processes that begin with torch imported: an interpreter's start takes four seconds, a fork none.

process = warm.Process(["spec.json"], folder, environment)    # python -m reweigh.training spec.json

Each is a process of its own, with its own folder, environment, output, signals and exit code, forked from a server that
has computed nothing (`warm_server`). There is one server for each process of the tests and each environment that is
read at imports. Where there are no process descriptors (they are Linux's) the command is started as it is.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

SERVER = Path(__file__).with_name("warm_server.py")
AT_IMPORT = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONPATH")
AVAILABLE = sys.platform == "linux" and hasattr(os, "pidfd_open")
servers = {}


class Process:
    """A training process, as `subprocess.Popen(..., stdout=PIPE, stderr=PIPE, text=True)` would give it.

    With `code` the process runs that, as `python -c` would, and not `python -m reweigh.training`.
    """

    def __init__(self, arguments, folder, environment, code=None):
        self.args, self.returncode = [str(argument) for argument in arguments], None
        self.outputs = [tempfile.TemporaryFile("w+") for _ in ("stdout", "stderr")]  # noqa: SIM115 - read later
        self.report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {"folder": str(folder), "environment": environment, "arguments": self.args, "code": code}
        files = [*(output.fileno() for output in self.outputs), theirs.fileno()]
        socket.send_fds(server(environment), [json.dumps(request).encode()], files)
        theirs.close()
        self.pid = int(self.report.recv(32))

    def wait(self, timeout=None):
        """The exit code, once the process has ended; as subprocess has it, minus the number of a signal."""
        if self.returncode is None:
            if not select.select([self.report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self.report.recv(32))
            self.report.close()
        return self.returncode

    def poll(self):
        """The exit code, or None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode

    def communicate(self, timeout=None):
        """The whole output and errors, once the process has ended."""
        self.wait(timeout)
        for output in self.outputs:
            output.seek(0)
        return tuple(output.read() for output in self.outputs)

    def send_signal(self, number):
        """Send the process a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """Kill the process."""
        self.send_signal(signal.SIGKILL)


def server(environment):
    """The socket of the server for this environment, which is started if there is none in this process of the tests."""
    key = os.getpid(), *(environment.get(name) for name in AT_IMPORT)
    if key not in servers:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen([sys.executable, SERVER], stdin=theirs, env=environment)
        theirs.close()
        servers[key] = ours
        atexit.register(stop, ours, process)
    return servers[key]


def stop(connection, process):
    """End a server."""
    with contextlib.suppress(OSError):  # a fork of the tests has it too
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
    process.wait(timeout=10)
