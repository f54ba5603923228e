"""The client, and `sparselex explain --llm`, against a real server of chat completions: `transformers serve` with
SmolLM2-135M."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from sparselex.base.errors import UserError
from sparselex.base.figures import Failure
from sparselex.llm.cache import AnswerCache
from sparselex.llm.config import LLMConfig
from sparselex.llm.http import HTTPClient
from sparselex.llm.records import Answer, Capabilities, Message, Request
from sparselex.lm.load import load_model
from sparselex.lm.named import local
from tests.support.command import sparselex

pytestmark = pytest.mark.slow
pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
pytest.importorskip("openai", reason="`transformers serve` needs the package `openai`")
try:
    local("smollm2")
except UserError:
    pytest.skip("`make smollm2` was not run", allow_module_level=True)

# One latent, few windows, no trial: two cores beside the server write some ten tokens a second.
LITTLE = ("--latents", 1, "--window", 8, "--examples", 2, "--active", 2, "--silent", 2, "--hard", 0)
UNTRIED = ("--judges", "detection", "--check", 0, "--null-share", 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The model as Transformers keeps one."""
    made = tmp_path_factory.mktemp("smollm2")
    model = load_model("smollm2")
    model.hf.save_pretrained(made)
    model.tokenizer._writer.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def url(folder) -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--device", "cpu"]
    # Threads that wait for each other while other tests have the cores make a token ten times as slow.
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log, env={**os.environ, **quiet})
        try:
            wait(f"http://127.0.0.1:{port}/health", server, folder / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            # It would write to the end what it has begun.
            server.kill()
            server.wait()


def wait(url: str, server: subprocess.Popen, log: Path) -> None:
    """Until it answers."""
    for _ in range(600):
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError("it does not answer")


def test_what_it_does_not_tell_is_a_counted_failure(url, folder, tmp_path):
    """It has completions, and leaves out in silence that the text was to be echoed."""
    database = tmp_path / "sparselex.sqlite"
    AnswerCache(database).keep_capabilities(url, str(folder), Capabilities(continuations=True))
    with HTTPClient(LLMConfig(url=url, model=str(folder)), database) as client:
        request = Request(messages=(Message("user", "one two three"),), continuation=" four", max_tokens=1)
        said = client.submit(request).result(60)
        hello = client.submit(Request(messages=(Message("user", "Say hello."),), max_tokens=4)).result(100)
        assert isinstance(hello, Answer) and hello.text and hello.n_prompt_tokens > 4
        assert isinstance(said, Failure) and "tells no log-probabilities" in said.reason
        assert client.ledger.total().failures == 1 and client.stopped is None


def test_a_feature_is_explained_and_judged_by_a_real_server(url, folder, small_workspace, tmp_path):
    copy = tmp_path / "w"
    shutil.copytree(small_workspace.path, copy)
    # What such a server can do is known here: to find out takes it minutes, since it writes on and on.
    AnswerCache(copy / "sparselex.sqlite").keep_capabilities(url, str(folder), Capabilities())
    ended = sparselex("explain", copy, "--llm", url, "--llm-model", folder, *LITTLE, *UNTRIED)
    with sqlite3.connect(copy / "sparselex.sqlite") as database:
        read = lambda query: database.execute(query).fetchall()
        answers = [json.loads(text) for (text,) in read("SELECT answer FROM llm_answer")]
        ((status, text),) = read("SELECT status, text FROM explanation WHERE explainer = 'llm'")
        judged = read("SELECT latent FROM asked WHERE explainer = 'llm' AND judge = 'detection'")
    assert answers and all(answer["n_prompt_tokens"] > 50 and answer["text"] for answer in answers)
    assert text and len(judged) == (status == "explained")
    assert ended.code == (0 if status == "explained" else 2), "a small model may not explain the one latent"
    assert "requests" in ended.err and (status == "explained" or "The first failure: " in ended.out)
    figures = json.loads((copy / "runs" / "main" / "explanations-llm" / "figures.json").read_text())["figures"]
    share = next(figure for figure in figures if figure["name"] == "explain/llm/explained_share")
    assert share["n"] == 1 and share["value"] == (status == "explained")
