"""Starting a process beside the server that Ctrl-C passes by from its first moment, and that ends with the server."""

import multiprocessing
import os
import signal
import threading
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess

_CTRL_C = {signal.SIGINT}


def start_deaf(process: BaseProcess) -> None:
    """Start a process with SIGINT held back, which reaches the whole group: it would end it with a traceback on the
    reader's screen in the second before it can ignore it by itself."""
    resource_tracker.ensure_running()  # which lets SIGINT through again where it has to be started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _CTRL_C)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def live_with_parent() -> None:
    """What a process beside the server does first: it leaves Ctrl-C to the server, and ends with it, however that
    ends. What takes minutes, a model from a slow disk, must not outlive a server that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server ends its processes
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
