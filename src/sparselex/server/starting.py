"""Starting a process beside the server that Ctrl-C passes by from its first moment."""

import signal
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
