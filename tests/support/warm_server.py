"""The server of `support.warm`: a process in which torch is imported, which forks a child for each request.

It computes nothing, so that no thread of torch runs when it forks. A request is one message on the socket that is the
standard input: JSON of the child's folder, environment, arguments and code. With it come three open files: the child's
standard output, its standard error, and the socket on which its process number and its exit are reported.
"""

import atexit
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import sys

MODULES = (
    "torch",
    "reweigh.data.load",
    "reweigh.data.obtain",
    "reweigh.records.attestations",
    "reweigh.training.interleave",
    "reweigh.training.run",
    "reweigh.training.workers",
)
LONGEST = 1 << 20  # of a request, in bytes


def serve(control):
    """Answer requests until the other end is closed. Returns only in a child: what it is to run."""
    running = {}  # a file that can be read once the child has ended: its process number, and where its end is reported
    while True:
        for ready in select.select([control, *running], [], [])[0]:
            if ready is not control:
                pid, report = running.pop(ready)
                os.close(ready)
                report.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                report.close()
                continue
            message, files, _, _ = socket.recv_fds(control, LONGEST, 3)
            if not message:
                os._exit(0)
            out, error, report = files
            pid = os.fork()
            if pid == 0:
                control.close()
                for file, (_, other) in running.items():
                    os.close(file)
                    other.close()
                os.close(report)
                return json.loads(message), out, error
            os.close(out)
            os.close(error)
            report = socket.socket(fileno=report)
            report.send(b"%d" % pid)
            running[os.pidfd_open(pid)] = pid, report


def become(request, out, error):
    """Make this process what a command started in the request's folder and environment would be."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for file, number in ((out, 1), (error, 2)):
        os.dup2(file, number)
        os.close(file)
    random.seed()  # a process of its own has random states of its own
    sys.modules["numpy"].random.seed()
    sys.modules["torch"].seed()


def leave(code):
    """End the process as the interpreter does, but without taking every object of the server apart, which is slow."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, whose end is the server's
    connection = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path.pop(0)  # the folder of this file
    for module in MODULES:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    asked, *outputs = serve(connection)
    become(asked, *outputs)
    sys.argv = [sys.argv[0], *asked["arguments"]]
    sys.path.insert(0, asked["folder"])
    try:
        if asked["code"] is None:
            runpy.run_module("reweigh.training", run_name="__main__", alter_sys=True)
        else:
            exec(asked["code"], {"__name__": "__main__"})
        leave(0)
    except SystemExit as end:
        leave(end.code or 0)
