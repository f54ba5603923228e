"""The browser's server in a process of its own, for readers of a workspace that this process is still filling."""

import contextlib
import multiprocessing
import signal
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from socket import socket
from types import TracebackType

import uvicorn

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.server.app import bound, create_app, listen, n_helpers, quick_server_of, say_address
from sparselex.server.starting import start_deaf

HOST = "127.0.0.1"


class Beside:
    """A server of `workspace` at a port of this machine, which is taken at once and answered at from `start` on. It
    ends with the `with` block, or with this process, however that ends.

    Raises `UserError` if the port cannot be used; 0 takes any free one.
    """

    def __init__(self, workspace: Workspace, port: int):
        self._workspace, self._listener = workspace, bound(HOST, port)
        self._process: BaseProcess | None = None

    def start(self, more: str = "") -> None:
        """Serve, where that is not done yet; returns when it answers, and prints the address, and `more` of it.
        Raises `UserError` if it cannot."""
        if self._process is not None:
            return
        listen(self._listener)
        # A fork would copy locks in whatever state this process's threads hold them.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._workspace.path, self._listener))
        start_deaf(self._process)
        theirs.close()  # open in the server alone, or its end would go unnoticed
        try:
            self._pipe.recv()
        except EOFError:
            raise UserError(
                "The browser's server ended while it was starting.",
                "a server that answers",
                f"see what it printed; sparselex serve {self._workspace.typed} tries again.",
            ) from None
        self._say(more)

    def serve(self) -> None:
        """Serve until interrupted, and print the address, also where that was done."""
        if self._process is not None:
            self._say()
        self.start()
        if self._process is not None:
            self._process.join()

    def _say(self, more: str = "") -> None:
        say_address(HOST, self._listener)
        if more:
            print(more, flush=True)

    def __enter__(self) -> "Beside":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        if self._process is not None:
            self._pipe.close()
            self._process.join()


def _serve(pipe: Connection, workspace: Path, listener: socket) -> None:
    """Serve until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the other process ends this one
    with listener:
        server = quick_server_of(create_app(Workspace(workspace), host=HOST, n_helpers=n_helpers()))
        threading.Thread(target=_end_with, args=(pipe, server), daemon=True).start()
        with contextlib.suppress(OSError):  # nobody waits for it any more: the server is told to end as it begins
            pipe.send(None)
        server.run(sockets=[listener])


def _end_with(pipe: Connection, server: uvicorn.Server) -> None:
    """End the server when the other end of a pipe is closed."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    server.should_exit = True
