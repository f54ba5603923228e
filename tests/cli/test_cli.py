"""The command line as a user meets it: every verb on a real run, every mistake in one message with exit code 2."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from sparselex.base.workspace import Workspace
from sparselex.cli import main as cli
from sparselex.recipes.pipeline import Pipeline
from sparselex.server.app import create_app
from tests.support.small import write_documents

ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
DEMO = ["--context", "64", "--tokens", "20000", "--expansion", "0.25", "--k", "4", "--no-serve"]


def run(*arguments, **options):
    command = [sys.executable, "-c", "from sparselex.cli.main import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, **options)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    return write_documents(tmp_path_factory.mktemp("cli") / "text")


@pytest.fixture(scope="module")
def staged(text, tmp_path_factory) -> Path:
    """A workspace made verb by verb."""
    workspace = tmp_path_factory.mktemp("staged") / "w"
    for arguments in (
        ("harvest", workspace, "--text", text, "--context", 64, "--tokens", 20_000),
        ("train", workspace, "--expansion", 0.25, "--k", 4),
        ("index", workspace),
        ("explain", workspace),
        ("evaluate", workspace),
    ):
        result = run(*arguments)
        assert result.returncode == 0, result.stderr
    return workspace


def test_every_stage_leaves_its_artifact(staged):
    kinds = {path.parent.name for path in staged.glob("runs/main/*/manifest.json")}
    assert kinds == {"activations", "dictionary", "index", "evaluation"} and Workspace(staged).runs() == ["main"]


@pytest.mark.parametrize("verb", ["train", "index", "explain", "evaluate", "report"])
def test_json_for_scripts_and_nothing_done_twice(staged, verb):
    before = {path: path.stat().st_mtime_ns for path in staged.rglob("*.npy")}
    options = ["--expansion", 0.25, "--k", 4] if verb == "train" else []
    result = run(verb, staged, *options, "--json")
    assert result.returncode == 0, result.stderr
    assert isinstance(json.loads(result.stdout), dict)
    assert {path: path.stat().st_mtime_ns for path in staged.rglob("*.npy")} == before


@pytest.mark.parametrize("kind", ["matching_pursuit", "archetypal"])
def test_types_with_a_way_of_their_own_train_from_the_command_line(staged, tmp_path, kind):
    """These take other values from the options than the rest: nothing that the type does not know is passed on."""
    copy = tmp_path / "w"
    shutil.copytree(staged, copy)
    result = run("train", copy, "--kind", kind, "--expansion", 0.25, "--k", 4, "--json")
    assert result.returncode == 0, result.stderr
    dictionary = json.loads(result.stdout)["config"]["dictionary"]
    assert (dictionary["kind"], dictionary["k"]) == (kind, 4)


def test_a_configuration_from_a_file_is_what_the_run_keeps(staged, tmp_path):
    shutil.copytree(staged, tmp_path / "w")
    values = {"dictionary": {"kind": "topk", "d_in": 512, "d_sae": 64, "k": 4}, "n_tokens": 5_000, "lr": 0.002}
    (tmp_path / "whole.json").write_text(json.dumps(values))
    result = run("train", tmp_path / "w", "--config", tmp_path / "whole.json", "--json")
    assert result.returncode == 0, result.stderr
    kept = json.loads((tmp_path / "w/runs/main/run.json").read_text())["training"]
    assert (kept["kind"], kept["k"], kept["n_tokens"], kept["settings"]["lr"]) == ("topk", 4, 5_000, 0.002)
    again = Pipeline.open(Workspace(tmp_path / "w"), "main").train_config()
    assert again.to_json() == json.loads(result.stdout)["config"]


def test_a_dictionary_goes_out_and_comes_back(staged, text, tmp_path):
    assert run("export", staged, tmp_path / "d").returncode == 0
    arguments = ("import", tmp_path / "w", tmp_path / "d", "--text", text, "--context", 64, "--tokens", 20_000)
    result = run(*arguments, "--hook", "blocks.0.mlp.hook_post")
    assert result.returncode == 0 and "read as saelens" in result.stdout, result.stderr
    assert run("index", tmp_path / "w").returncode == 0
    there, here = (np.load(path / "runs/main/index/histogram.npy") for path in (staged, tmp_path / "w"))
    assert abs(there.sum() - here.sum()) <= 1e-3 * there.sum()
    page = TestClient(create_app(Workspace(tmp_path / "w"))).get("/")
    assert page.status_code == 200 and "imported from" in page.text and str(tmp_path / "d") in page.text
    again = run("import", tmp_path / "named", *arguments[2:])
    assert again.returncode == 0, "the files name the hook: " + again.stderr
    assert json.loads((tmp_path / "named/runs/main/run.json").read_text())["hook"] == "blocks.0.mlp.hook_post"


def test_controls_are_chosen_by_name(staged, tmp_path):
    shutil.copytree(staged, tmp_path / "w")
    for given, names in (("pca, random", {"pca", "random"}), ("none", set())):
        result = run("evaluate", tmp_path / "w", "--controls", given, "--json")
        assert result.returncode == 0, result.stderr
        figures = {figure["name"]: figure for figure in json.loads(result.stdout)["figures"]}
        assert set(figures["core/fvu"]["controls"]) == names
    result = run("evaluate", tmp_path / "w", "--controls", "pca,nerons")
    assert result.returncode == 2 and "'nerons'" in result.stderr and "covariance" in result.stderr


def test_report_prints_a_table(staged):
    result = run("report", staged)
    assert "core/fvu" in result.stdout and "No random twin was run" in result.stdout


def test_hooks_lists_names_and_widths():
    assert "512  blocks.0.mlp.hook_post" in run("hooks", "embedded").stdout
    assert {"name": "blocks.0.hook_mlp_out", "width": 128} in json.loads(run("hooks", "embedded", "--json").stdout)


def files_of(workspace):
    """Contents of every artifact file."""
    return {
        path.relative_to(workspace): path.read_bytes()
        for path in sorted(workspace.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and "sqlite" not in path.name
    }


def test_a_demo_killed_again_and_again_ends_like_an_undisturbed_one(text, tmp_path):
    """SIGKILL at moments spread over the run; the database is compared by the report that is made from it."""
    whole = run("demo", tmp_path / "whole" / "w", "--text", text, *DEMO)
    assert whole.returncode == 0, whole.stderr
    arguments = [
        sys.executable,
        "-c",
        "from sparselex.cli.main import main; main()",
        "demo",
        str(tmp_path / "killed" / "w"),
        "--text",
        str(text),
        *DEMO,
    ]
    for seconds in (2.5, 3.5, 4.0, 5.0):
        with subprocess.Popen(arguments, env=ENVIRONMENT, stdout=-3, stderr=-3) as process:
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
    again = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert files_of(tmp_path / "whole" / "w") == files_of(tmp_path / "killed" / "w")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["harvest", "{tmp}/w", "--model", "no-such-model"], "cannot be loaded"),
        (["harvest", "{tmp}/w", "--model", "{tmp}"], "cannot be loaded"),
        (["harvest", "{tmp}/w", "--text", "{tmp}/missing.txt"], "does not exist"),
        (["harvest", "{tmp}/w", "--text", "no-such-dataset"], "is no file or folder"),
        (["harvest", "{tmp}/w", "--text", "{text}", "--hook", "blocks.0.hook_mlp"], "did you mean"),
        (["harvest", "{tmp}/w", "--text", "{text}", "--context", "100000"], "longer than the model reads"),
        (["harvest", "{tmp}/w", "--text", "{text}", "--control", "shuffled"], "twin"),
        (["harvest", "{tmp}/w", "--text", "{text}", "--dtype", "int4"], "shard_dtype"),
        (["harvest", "{text}", "--text", "{text}"], "is no sparselex workspace"),
        (["harvest", "{tmp}/w", "--text", "{text}", "--run", "../up"], "cannot be the name of a run"),
        (["report", "{tmp}"], "is no sparselex workspace"),
        (["train", "{staged}", "--run", "other"], "has no run 'other'"),
        (["train", "{staged}", "--k", "4000", "--expansion", "0.25"], "lower k or raise d_sae"),
        (["train", "{staged}", "--kind", "topkk"], "did you mean topk"),
        (["train", "{staged}", "--kind", "relu", "--k", "4"], "leave k out, or choose another --kind"),
        (["train", "{staged}", "--skip"], "begin a run with --target"),
        (["train", "{staged}", "--k", "4", "--l1", "3", "--log-to", "tensorboard"], "l1=3.0 was given"),
        (["sweep", "{staged}", "--kind", "relu", "--kind", "gated", "--k", "4"], "k with abstopk"),
        (["train", "{staged}", "--frozen", "all"], "soft_decoder"),
        (["train", "{staged}", "--prefetch", "-1"], "prefetch"),
        (["train", "{staged}", "--config", "{bad_config}"], "unknown key"),
        (["train", "{staged}", "--config", "{config}", "--k", "4", "--seed", "0"], "given together with --k, --seed"),
        (["index", "{tmp}/nowhere"], "is no sparselex workspace"),
        (["hooks", "no-such-model"], "cannot be loaded"),
        (["import", "{tmp}/w", "{tmp}/nowhere", "--text", "{text}"], "does not exist"),
        (
            [
                "import",
                "{tmp}/w",
                "{staged}/runs/main/dictionary",
                "--text",
                "{text}",
                "--hook",
                "blocks.0.hook_mlp_out",
            ],
            "has width 128",
        ),
        (
            [
                "import",
                "{tmp}/w",
                "{staged}/runs/main/dictionary",
                "--text",
                "{text}",
                "--hook",
                "blocks.0.mlp.hook_post",
                "--target",
                "blocks.0.hook_mlp_out",
            ],
            "leave --target out",
        ),
        (["export", "{staged}", "{tmp}/d", "--layout", "circuit-tracer"], "no place in the layout of circuit-tracer"),
        (["export", "{staged}", "{tmp}/d", "--layout", "sparsify"], "no place in the layout"),
        (["train", "{staged}", "--option", "bandwidth"], "has no name or no value"),
        (["train", "{staged}", "--kind", "jumprelu", "--option", "bandwith=3"], "did you mean bandwidth"),
        (["train", "{staged}", "--kind", "sae"], "one of abstopk, archetypal"),
        (["train", "{staged}", "--log-to", "mlflow"], "one of tensorboard, wandb"),
        (["diff", "{staged}"], "reads one model"),
        (["serve", "{tmp}"], "is no sparselex workspace"),
        (["nonsense"], "No such command"),
        (["train"], "Missing argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_end_in_one_message(arguments, words, staged, text, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text(
        '{"dictionary": {"kind": "topk", "d_in": 512, "d_sae": 64, "k": 4}, "n_tokens": 1000, "learning_rate": 1}'
    )
    good = tmp_path / "good.json"
    good.write_text('{"dictionary": {"kind": "topk", "d_in": 512, "d_sae": 64, "k": 4}, "n_tokens": 1000}')
    places = {"tmp": tmp_path, "staged": staged, "text": text, "bad_config": bad, "config": good}
    before = files_of(staged)
    result = run(*(argument.format(**places) for argument in arguments))
    assert result.returncode == 2, result.stdout + result.stderr
    assert words in result.stderr and "Traceback" not in result.stderr
    if "error:" in result.stderr:
        assert "expected:" in result.stderr and "to do:" in result.stderr
    made = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and path.name not in ("bad.json", "good.json", "sparselex.json")
    ]
    assert made == []
    assert files_of(staged) == before


@pytest.mark.parametrize("name", ["shard-00000.safetensors", "sae_weights.safetensors", "positions.npy", "tokens.npy"])
def test_damaged_files_are_named(staged, tmp_path, name):
    copy = tmp_path / "w"
    shutil.copytree(staged, copy)
    path = next(copy.rglob(name))
    path.write_bytes(path.read_bytes()[:-5])
    verb = {"shard-00000.safetensors": "train", "sae_weights.safetensors": "index"}.get(name, "explain")
    (copy / "runs" / "main" / "dictionary" / "manifest.json").unlink() if verb == "train" else None
    shutil.rmtree(copy / "runs" / "main" / "dictionary") if verb == "train" else None
    options = ["--expansion", 0.25, "--k", 4] if verb == "train" else []
    result = run(verb, copy, *options)
    assert result.returncode == 2 and name in result.stderr and "damaged" in result.stderr


def test_a_full_disk_is_one_message(text, tmp_path):
    """A file size limit stands in for the full disk: writing fails the same way, in the middle of an artifact."""
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000));"
        "from sparselex.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "harvest", str(tmp_path / "w"), "--text", str(text), "--context", "64"]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert result.returncode == 2 and "Traceback" not in result.stderr and "Writing" in result.stderr
    assert not (tmp_path / "w" / "runs" / "main" / "activations").exists()


def test_help_is_quick_and_needs_no_torch():
    result = run("--help")
    assert result.returncode == 0
    for verb in ("demo", "harvest", "train", "index", "explain", "evaluate", "report", "serve", "hooks"):
        assert verb in result.stdout
        assert "--help" in run(verb, "--help").stdout


def test_serve_prints_its_address_and_answers(staged):
    import urllib.request

    code = "from sparselex.cli.main import main; main()"
    command = [sys.executable, "-c", code, "serve", str(staged), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        line = process.stdout.readline() + process.stdout.readline()
        address = next(word for word in line.split() if word.startswith("http"))
        assert b"sparselex" in urllib.request.urlopen(address, timeout=10).read()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)


def test_a_taken_port_is_named(staged):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("serve", staged, "--port", taken.getsockname()[1])
    assert result.returncode == 2 and "choose another with --port" in result.stderr


def test_every_verb_has_a_file_of_its_own():
    folder = Path(cli.__file__).parent
    verbs = {command.callback.__name__ for command in cli.app.registered_commands}
    assert verbs == {path.stem for path in folder.glob("*.py")} - {"__init__", "main", "options"}
