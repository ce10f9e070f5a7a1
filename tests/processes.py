"""Processes for tests, forked from one that has imported everything: starting Python and jax takes seconds.

    process = start("train", "mnist")
    out, err = process.communicate()

jax has read the settings in its environment by then; XLA reads `XLA_FLAGS`, and `jax.distributed` its variables, later.
"""

import atexit
import importlib
import json
import lzma
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import cache

COMMAND = "from advbench.cli import main; main()"
LATER = ("jax.experimental.multihost_utils", "orbax.checkpoint")  # imported within functions
NEVER = ("advbench.__main__", "advbench.pytest_plugin")


class Process:
    """One process, with what tests use of `subprocess.Popen`; `stdout` and `stderr` are open for reading as text."""

    def __init__(self, server: socket.socket, words, environment, cwd, program):
        (out, told), (err, warned) = os.pipe(), os.pipe()
        request = {"argv": words, "environment": environment, "cwd": str(cwd), "program": program}
        socket.send_fds(server, [json.dumps(request).encode()], [told, warned])
        self._server, self.returncode = server, None
        self.pid = json.loads(server.recv(1000))
        os.close(told)
        os.close(warned)
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stdout.close()
        self.stderr.close()
        self.wait()

    def poll(self) -> int | None:
        """Return the exit code, or minus the signal that ended it; None as long as it runs."""
        if self.returncode is None:
            self._server.send(json.dumps(self.pid).encode())
            self.returncode = json.loads(self._server.recv(1000))
        return self.returncode

    def wait(self, timeout=300) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return self.returncode

    def communicate(self, timeout=300) -> tuple[str, str]:
        """Return what it prints on stdout and stderr, once it ended."""
        late = threading.Timer(timeout, self.kill)
        late.start()
        try:
            heard = []
            listener = threading.Thread(target=lambda: heard.append(self.stderr.read()))
            listener.start()
            out = self.stdout.read()
            listener.join()
            self.wait()
        finally:
            late.cancel()
        self.stdout.close()
        self.stderr.close()
        return out, heard[0]

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def start(*words, cwd=".", program=COMMAND, **environment) -> Process:
    """Start a command of the application with these words, or another `program`; variables are added."""
    everything = os.environ | {"COLUMNS": "80"} | environment
    return Process(_server(), ["advbench", *map(str, words)], everything, os.path.abspath(cwd), program)  # noqa: PTH100


@cache
def _server() -> socket.socket:
    """Return a connection to the process that forks, which ends with the connection."""
    mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with other:
        # Forking needs one thread, and BLAS would have its own. -P: nothing of this folder is imported by chance.
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(other.fileno())],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
        )
    atexit.register(_end, mine, process)
    return mine


def _end(server: socket.socket, process: subprocess.Popen):
    server.close()
    process.wait()


def _everything():
    """Import what commands import, and unpack MNIST; none of it may begin to compute: threads don't survive a fork."""
    import advbench

    for module in pkgutil.walk_packages(advbench.__path__, "advbench."):
        if module.name not in NEVER:
            importlib.import_module(module.name)
    for name in LATER:
        importlib.import_module(name)
    lzma.decompress = cache(lzma.decompress)
    for split in advbench.data.embedded.splits("mnist"):
        list(advbench.data.embedded.contents("mnist", split))


def _serve(connection: socket.socket) -> dict | None:
    """Fork for every request, and say how processes ended. Return the request in the new process."""
    while True:
        message, streams, _, _ = socket.recv_fds(connection, 1_000_000, 2)
        if not message:
            return None
        request = json.loads(message)
        if isinstance(request, int):
            pid, status = os.waitpid(request, os.WNOHANG)
            connection.send(json.dumps(os.waitstatus_to_exitcode(status) if pid else None).encode())
            continue
        pid = os.fork()
        if pid == 0:
            connection.close()
            for stream, number in zip(streams, (1, 2), strict=True):
                os.dup2(stream, number)
                os.close(stream)
            return request
        for stream in streams:
            os.close(stream)
        connection.send(json.dumps(pid).encode())


if __name__ == "__main__":
    _everything()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["cwd"])
        sys.argv = request["argv"]
        sys.path.insert(0, request["cwd"])
        exec(request["program"], {"__name__": "__main__"})
