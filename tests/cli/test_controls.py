"""`sparselex controls` from outside: killed in the middle, and with a language model behind a real server."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.support.chat import chat_server
from tests.support.command import done, sparselex
from tests.support.contents import contents
from tests.support.judge import ScriptedModel, over_http

FEW = ("--latents", 6, "--active", 8, "--silent", 6, "--hard", 4, "--check", 0, "--null-share", 0)


@pytest.fixture
def copy(small_workspace, tmp_path):
    shutil.copytree(small_workspace.path, tmp_path / "w")
    return tmp_path / "w"


@pytest.mark.slow
def test_killed_in_the_middle_the_same_command_ends_as_if_nothing_had_been(copy, tmp_path):
    shutil.copytree(copy, whole := tmp_path / "whole" / "w")
    arguments = ["--kinds", "neurons,random"]
    command = [sys.executable, "-m", "sparselex", "controls", str(copy), *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while not (copy / "runs/main-neurons/index/manifest.json").is_file() and running.poll() is None:
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL and not (copy / "runs/main/controls").exists()
    done("controls", copy, *arguments)
    done("controls", whole, *arguments)
    assert contents(copy / "runs") == contents(whole / "runs")


def test_a_language_model_explains_the_controls_as_it_did_the_run(copy):
    with chat_server(over_http(ScriptedModel())) as server:
        asks = ("--llm", server.url, "--llm-model", "scripted")
        ended = sparselex("controls", copy, "--kinds", "neurons", *asks)
        assert ended.code == 2 and "no explanations by a language model" in ended.err
        done("explain", copy, *asks, *FEW)
        n = len(server.asked)
        without = done("controls", copy, "--kinds", "neurons")
        assert len(server.asked) == n, "nothing is sent unless it is said"
        assert "explanations by a language model: not measured" in without.out
        ended = sparselex("controls", copy, "--kinds", "neurons", *asks, "--latents", 7)
        assert ended.code == 2 and "latents=6" in ended.err and "latents=7" in ended.err
        found = done("controls", copy, "--kinds", "neurons", *asks, "--llm-concurrency", 2)
        assert len(server.asked) > n and "llm detection balanced_accuracy" in found.out
        table = json.loads((copy / "runs/main/controls/against.json").read_text())
        headlines = {(row["scorer"], row["metric"]) for row in table["rows"] if row["headline"]}
        assert headlines == {("exact", "f1"), ("detection", "balanced_accuracy"), ("fuzzing", "balanced_accuracy")}
        assert {row["n_asked_control"] for row in table["rows"] if row["explainer"] == "llm"} == {6}
        names = {figure["name"] for figure in json.loads((copy / "report.json").read_text())["figures"]}
        assert {"controls/neurons/llm/detection/superiority", "controls/neurons/rule/superiority"} <= names
        n = len(server.asked)
        assert done("controls", copy, "--kinds", "neurons", *asks).out == found.out and len(server.asked) == n


def test_options_of_language_models_need_one(copy):
    ended = sparselex("controls", copy, "--latents", 6)
    assert ended.code == 2 and "--latents was given without --llm" in ended.err
