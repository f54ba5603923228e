"""The demo's server: there as soon as one run is indexed, while the demo goes on; it ends with the demo, however that
ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing

import pytest

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.server.beside import Beside
from tests.support.command import sparselex
from tests.support.small import write_documents

DEMO = ("--context", "64", "--tokens", "6000", "--expansion", "0.125", "--k", "4", "--no-twin", "--port", "0")


@pytest.mark.slow
@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGKILL])
def test_pages_are_there_while_the_demo_goes_on_and_end_with_it(tmp_path, ends):
    text, w = write_documents(tmp_path / "text"), tmp_path / "w"
    command = [sys.executable, "-m", "sparselex", "demo", str(w), "--text", str(text), *DEMO]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as demo:
        assert demo.stdout is not None
        before = []
        for line in demo.stdout:
            if "http://" in line:
                break
            before.append(line)
        url = line.split(" at ")[1].split()[0]
        assert "main: index" in "".join(before) and "main: explain" not in "".join(before)
        with urllib.request.urlopen(f"{url}/runs/main/features.json", timeout=20) as answer:
            assert json.load(answer)["n_latents"] == 64
        if ends is signal.SIGINT:
            after = [next(demo.stdout)]
            while "stop with Ctrl-C" not in after[-1]:
                after.append(next(demo.stdout))
            assert url in after[-1] and "main: evaluate" in "".join(after)
            os.killpg(demo.pid, ends)
        else:
            demo.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{url}/", timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            return
        time.sleep(0.1)
    pytest.fail("the server outlived the demo")


def test_ctrl_c_while_it_starts_ends_it_without_a_word(workspace):
    code = (
        "import os, signal, sys, time; from multiprocessing.process import BaseProcess\n"
        "from sparselex.base.workspace import Workspace; from sparselex.server.beside import Beside\n"
        "started = BaseProcess.start\n"
        "def start(process): started(process); time.sleep(0.3); os.killpg(0, signal.SIGINT)\n"
        "BaseProcess.start = start\n"
        "try:\n"
        "    with Beside(Workspace(sys.argv[1]), 0) as beside: beside.start()\n"
        "except KeyboardInterrupt: print('stopped')"
    )
    command = [sys.executable, "-c", code, str(workspace.path)]
    ended = subprocess.run(command, capture_output=True, text=True, start_new_session=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "stopped\n", "")


def test_a_port_that_is_taken_is_told_before_anything_is_made(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as busy:
        port = busy.getsockname()[1]
        ended = sparselex("demo", tmp_path / "w", "--port", port)
    assert ended.code == 2 and f"Port {port}" in ended.err and "--port 0" in ended.err
    assert not (tmp_path / "w").exists()


def test_a_port_that_was_taken_meanwhile_is_told(workspace):
    """Two may hold a port as long as neither listens at it."""
    with Beside(Workspace(workspace.path), 0) as first, socket.socket() as other:
        port = first._listener.getsockname()[1]
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(UserError, match=f"Port {port} on '127.0.0.1' cannot be used"):
            first.start()
