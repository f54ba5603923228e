"""Who answers: this process, and helpers when several ask at once."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sparselex.base.errors import UserError
from sparselex.server.answering import Answering, Asked, Helper, Pages, Turns
from sparselex.server.page import NoSuchPage
from sparselex.server.rendering import Place
from sparselex.server.starting import start_deaf

ROOT = Path(__file__).parents[2]
FEATURE = "/runs/{run}/features/{latent}"


def feature(latent: int = 3, run: str = "main") -> Asked:
    """A request for a feature's page."""
    return Asked(FEATURE, {"run": run, "latent": latent}, Place(f"/runs/{run}/features/{latent}", "", run))


ASKED = [
    feature(),
    feature(7, "twin"),
    Asked("/", {}, Place("/")),
    Asked("/", {}, Place("/index.json")),
    Asked("/runs/{run}/features", {"run": "main", "q": "17"}, Place("/runs/main/features", "q=17", "main")),
]


@pytest.fixture(scope="module")
def helper(workspace):
    return Helper(workspace.path)


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.place.path)
def test_a_helper_answers_with_the_same_bytes(helper, workspace, asked):
    ours, theirs = Pages(workspace).answer(asked), helper.answer(asked)
    assert (theirs.status_code, theirs.body, theirs.raw_headers) == (ours.status_code, ours.body, ours.raw_headers)


def test_what_a_helper_cannot_answer_it_leaves_to_this_process(helper, workspace):
    assert helper.answer(feature(10**6)) is None and helper.answer(Asked("/none", {}, Place("/none"))) is None
    assert helper.answer(Asked("/", {"key": threading.Lock()}, Place("/"))) is None, "what cannot be sent"
    assert helper.is_there and helper.answer(feature()) is not None
    with pytest.raises(NoSuchPage, match="no latent"):
        Answering(workspace, 1).answer(feature(10**6))


def test_while_this_process_is_busy_a_helper_answers(workspace, monkeypatch):
    answering, busy, go_on = Answering(workspace, 1), threading.Event(), threading.Event()
    alone = answering.pages.answer

    def slowly(asked):
        busy.set()
        assert go_on.wait(20)
        return alone(asked)

    monkeypatch.setattr(answering.pages, "answer", slowly)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(answering.answer, feature(1))
        assert busy.wait(20)
        assert b"Feature 2" in threads.submit(answering.answer, feature(2)).result(20).body
        assert not first.done()
        go_on.set()
        assert b"Feature 1" in first.result(20).body


def test_a_helper_that_dies_is_done_without(workspace):
    answering = Answering(workspace, 1)
    first = answering.turns.take()  # as if this process were busy
    assert b"Feature 3" in answering.answer(feature()).body
    number, helper = answering.turns.take()
    answering.turns.give(number, helper)
    os.kill(helper.process.pid, signal.SIGKILL)
    helper.process.join()
    assert b"Feature 4" in answering.answer(feature(4)).body
    assert not helper.is_there
    answering.turns.give(*first)
    assert [b"Feature 5" in answering.answer(feature(5)).body for _ in range(3)] == [True] * 3


def test_readers_who_wait_are_served_in_their_order():
    turns, order, n_waiting = Turns([None]), [], 12
    taken = turns.take()

    def wait(number: int) -> None:
        mine = turns.take()
        order.append(number)
        turns.give(*mine)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(n_waiting)]
    for n, thread in enumerate(threads, 1):
        thread.start()
        while turns.n_waiting < n:
            time.sleep(0.001)
    turns.give(*taken)
    for thread in threads:
        thread.join()
    assert order == list(range(n_waiting)) and turns.n_waiting == 0


def test_a_workspace_that_is_gone_is_the_helpers_end_and_not_the_servers(workspace, tmp_path):
    helper = Helper(tmp_path / "none")
    assert helper.answer(feature()) is None and not helper.is_there
    with pytest.raises(UserError):
        Answering(workspace, 0).answer(feature(run="none"))


CHILD = """
import sys
from pathlib import Path
from sparselex.server.answering import Helper
from tests.server.test_answering import feature
if __name__ == "__main__":
    helper = Helper(Path(sys.argv[1]))
    assert helper.answer(feature()) is not None
    print(helper.process.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_no_helper_outlives_the_server(workspace, tmp_path, sign):
    (tmp_path / "child.py").write_text(CHILD)
    command = [sys.executable, str(tmp_path / "child.py"), str(workspace.path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        pid = int(process.stdout.readline())
        os.kill(pid, 0)
        process.send_signal(sign)
        process.wait(20)
        for _ in range(100):
            if not _runs(pid):
                return
            time.sleep(0.1)
        pytest.fail(f"helper {pid} is still there")


def test_a_process_that_is_starting_is_deaf_to_ctrl_c():
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(0.2,))
    start_deaf(process)
    for _ in range(20):
        if process.is_alive():
            os.kill(process.pid, signal.SIGINT)
        time.sleep(0.02)
    process.join(30)
    assert process.exitcode == 0
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, []), "this process still hears it"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
