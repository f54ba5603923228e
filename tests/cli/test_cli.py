"""The command line as a user meets it: every verb on a real run, every mistake in one message with exit code 2."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import typer
from fastapi.testclient import TestClient

from sparselex.base.workspace import Workspace
from sparselex.cli.main import app
from sparselex.dictionaries.kinds import CONTROLS, DICTIONARIES
from sparselex.evaluate.config import LOOKUPS
from sparselex.explain.registry import EXPLAINERS, SCORERS
from sparselex.recipes.run import Run
from sparselex.recipes.stages import STAGES
from sparselex.recipes.stages.export import FEATURE_LAYOUTS
from sparselex.recipes.stages.index import Index
from sparselex.recipes.work import evaluate as work
from sparselex.recipes.work.choices import train_config
from sparselex.server.app import create_app
from tests.support.command import done, sparselex
from tests.support.contents import contents
from tests.support.small import write_documents

SIZES = ["--context", "64", "--tokens", "20000"]
DICTIONARY = ["--expansion", "0.25", "--k", "4"]
ENGINE = ["--engine", "interp-engine"]
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    return write_documents(tmp_path_factory.mktemp("cli") / "text")


@pytest.fixture(scope="module")
def staged(text, tmp_path_factory) -> Path:
    """A workspace made verb by verb."""
    workspace = tmp_path_factory.mktemp("staged") / "w"
    done("harvest", workspace, "--text", text, *SIZES)
    done("train", workspace, *DICTIONARY)
    for verb in ("index", "explain", "evaluate"):
        done(verb, workspace)
    return workspace


@pytest.fixture
def copy(staged, tmp_path) -> Path:
    """One that may be changed."""
    return shutil.copytree(staged, tmp_path / "w")


def test_every_stage_leaves_its_artifact(staged):
    workspace = Workspace(staged)
    made = {stage.makes for _, stage in STAGES.items() if stage.expected} | {"activations"}
    assert set(workspace.artifacts("main")) == made and workspace.runs() == ["main"]


@pytest.mark.parametrize("verb", ["harvest", "train", "index", "explain", "evaluate", "report"])
def test_json_for_scripts_and_nothing_done_twice(staged, verb):
    before = {path: path.stat().st_mtime_ns for path in staged.rglob("*.npy")}
    assert isinstance(done(verb, staged, "--json").json, dict)
    assert {path: path.stat().st_mtime_ns for path in staged.rglob("*.npy")} == before


def test_a_report_is_written_with_the_figures_and_once(copy, monkeypatch):
    """What shows them writes nothing; a report that was taken away comes back."""
    report, written = copy / "report.json", []
    real = work.write_report
    monkeypatch.setattr(work, "write_report", lambda workspace: written.append(workspace) or real(workspace))
    before = report.stat().st_mtime_ns
    shown = done("evaluate", copy, "--json").json
    assert report.stat().st_mtime_ns == before and not written
    report.unlink()
    assert done("evaluate", copy, "--json").json == shown == json.loads(report.read_text())
    assert len(written) == 1


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("harvest", "activations of width 512"),
        ("train", "batchtopk dictionary, 512 -> 128 latents, "),
        ("index", "128 features over "),
        ("explain", "latents explained"),
        ("evaluate", "core/loss_recovered_mean"),
        ("report", "No random twin was run"),
    ],
)
def test_every_verb_ends_with_what_came_out(staged, verb, words):
    assert words in done(verb, staged).out


def test_figures_in_one_line_say_of_which_documents_they_are(staged):
    said = done("train", staged).out
    assert "on test documents L0 " in done("evaluate", staged).out
    assert "tokens of validation documents L0 " in said and "FVU 0." in said and " latents silent for the last " in said


def test_text_shorter_than_asked_is_said(text, tmp_path):
    said = done("harvest", tmp_path / "w", "--text", text, "--context", 64, "--tokens", 10_000_000).out
    assert "40 documents" in said and "fewer than the 10,000,000 asked for" in said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["matching_pursuit", "archetypal"])
def test_types_with_a_way_of_their_own_train_from_the_command_line(copy, kind):
    """These take other values from the options than the rest: nothing that the type does not know is passed on."""
    dictionary = done("train", copy, "--kind", kind, *DICTIONARY, "--replace", "--json").json["config"]["dictionary"]
    assert (dictionary["kind"], dictionary["k"]) == (kind, 4)


def test_a_configuration_from_a_file_is_what_the_run_keeps(copy, tmp_path):
    values = {"dictionary": {"kind": "topk", "d_in": 512, "d_sae": 64, "k": 4}, "n_tokens": 5_000, "lr": 0.002}
    (tmp_path / "whole.json").write_text(json.dumps(values))
    made = done("train", copy, "--config", tmp_path / "whole.json", "--replace", "--json").json
    run = Run.open(Workspace(copy))
    kept = run.stage("train").choice
    assert (kept.kind, kept.k, kept.n_tokens, kept.settings["lr"]) == ("topk", 4, 5_000, 0.002)
    assert train_config(run, kept).to_json() == made["config"]
    before = contents(copy)
    done("train", copy)
    assert contents(copy) == before, "without options a run trains what it kept"


def test_a_dictionary_goes_out_and_comes_back(staged, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"saelens layout in {tmp_path / 'd'}" in done("export", staged, "d").out
    arguments = (tmp_path / "d", "--text", text, *SIZES)
    place = ("--hook", "blocks.0.mlp.hook_post")
    assert "read as saelens" in done("import", tmp_path / "w", *arguments, *place).out
    done("index", tmp_path / "w")
    there, here = (np.load(path / "runs/main/index/histogram.npy") for path in (staged, tmp_path / "w"))
    assert abs(there.sum() - here.sum()) <= 1e-3 * there.sum()
    page = TestClient(create_app(Workspace(tmp_path / "w")), base_url="http://127.0.0.1").get("/")
    assert page.status_code == 200 and "not trained here" in page.text and str(tmp_path / "d") in page.text
    done("import", tmp_path / "named", *arguments)
    assert Workspace(tmp_path / "named").card("main").sites.hooks == (place[1],), "the files name the hook"


def test_what_a_run_reads_it_goes_on_reading(copy):
    """Harvested again with another precision, the run has its text and context still."""
    before = Workspace(copy).settings("main")
    done("harvest", copy, "--dtype", "bfloat16")
    after = Workspace(copy).settings("main")
    assert after["stages"].pop("harvest")["dtype"] == "bfloat16" != before["stages"].pop("harvest")["dtype"]
    assert after == before


def test_two_runs_on_two_texts_live_side_by_side(copy, tmp_path):
    other = write_documents(tmp_path / "other", n=60)
    done("harvest", copy, "--run", "second", "--text", other, *SIZES)
    corpora = {Workspace(copy).corpus_of(run) for run in ("main", "second")}
    assert len(corpora) == 2 and done("index", copy).code == 0


@pytest.mark.slow
def test_controls_are_chosen_by_name(copy):
    for given, names in (("pca, random", {*LOOKUPS, "pca", "random"}), ("none", {*LOOKUPS})):
        figures = {f["name"]: f for f in done("evaluate", copy, "--controls", given, "--json").json["figures"]}
        assert set(figures["core/fvu"]["controls"]) == names


def test_hooks_lists_names_and_widths():
    assert "512  blocks.0.mlp.hook_post" in done("hooks", "embedded").out
    assert {"name": "blocks.0.hook_mlp_out", "width": 128} in done("hooks", "embedded", "--json").json


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "nowhere"], "The device 'nowhere' cannot be used"),
        (["--engine", "nonsense"], "--engine: Input should be 'transformers' or 'interp-engine'"),
        (["--attention", "nonsense"], "cannot compute attention as 'nonsense'"),
        (["--model-dtype", "int8"], "--model-dtype: Input should be"),
    ],
)
def test_hooks_loads_a_model_as_a_run_does(options, words):
    ended = sparselex("hooks", "embedded", *options)
    assert ended.code == 2 and words in ended.err


def test_hooks_of_another_engine_or_precision():
    done("hooks", "embedded", "--model-dtype", "bfloat16", "--attention", "eager", "--device", "cpu")
    if find_spec("interp_engine"):
        places = [{one["name"] for one in done("hooks", "embedded", "--json", *more).json} for more in ([], ENGINE)]
        assert places[1] < places[0], "the engine has fewer"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["harvest", "{tmp}/w", "--model", "no-such-model"], "cannot be loaded"),
        (["harvest", "{tmp}/w", "--model", "{tmp}"], "cannot be loaded"),
        (["harvest", "{tmp}/w", "--text", "{tmp}/missing.txt"], "does not exist"),
        pytest.param(  # asks the network first, and where there is none waits for it
            ["harvest", "{tmp}/w", "--text", "no-such-dataset"], "is no file or folder", marks=pytest.mark.slow
        ),
        (["harvest", "{tmp}/w", "--text", "{text}", "--hook", "blocks.0.hook_mlp"], "did you mean"),
        (["harvest", "{tmp}/w", "--text", "{text}", "--hook", "blocks.9.hook_z"], "expected: blocks.0 with one of"),
        (["harvest", "{tmp}/w", "--text", "{text}", "--context", "100000"], "longer than the model reads"),
        (["harvest", "{tmp}/w", "--text", "{text}", "--twin", "shuffled"], "--twin: Input should be"),
        (["harvest", "{tmp}/w", "--text", "{text}", "--dtype", "int4"], "--dtype: Input should be"),
        (["harvest", "{text}", "--text", "{text}"], "is no sparselex workspace"),
        (["harvest", "{tmp}/w", "--text", "{text}", "--run", "../up"], "cannot be the name of a run"),
        (["report", "{tmp}"], "is no sparselex workspace"),
        (["train", "{staged}", "--run", "other"], "has no run 'other'"),
        (["train", "{staged}", "--k", "4000", "--expansion", "0.25"], "lower k or raise d_sae"),
        (["train", "{staged}", "--kind", "topkk"], "did you mean topk"),
        (["evaluate", "taks", "{staged}"], "did you mean `evaluate task`"),
        (["train", "{staged}", "--kind", "relu", "--k", "4"], "leave k out, or choose another --kind"),
        (["train", "{staged}", "--skip"], "begin a run with --target"),
        (["train", "{staged}", "--k", "4", "--l1", "3", "--log-to", "tensorboard"], "l1=3.0 was given"),
        (["sweep", "{staged}", "--kind", "relu", "--kind", "gated", "--k", "4"], "k with batchtopk, topk"),
        (["train", "{staged}", "--frozen", "all"], "soft_decoder"),
        (["train", "{staged}", "--prefetch", "-1"], "--prefetch: Input should be greater"),
        (["train", "{staged}", "--k", "four"], "--k: Input should be a valid integer"),
        (["sweep", "{staged}", "--seed", "0,0"], "each value once"),
        (["use", "{staged}", "nonsense"], "has no dictionary 'nonsense'"),
        (["use", "{staged}", "../dictionary"], "has no dictionary '../dictionary'"),
        (["evaluate", "{staged}", "--controls", "pca,nerons"], "did you mean neurons"),
        (["train", "{staged}", "--config", "{bad_config}"], "unknown key"),
        (["train", "{staged}", "--config", "{tmp}/no.json"], "no.json does not exist"),
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
        (["export", "{staged}", "{tmp}/d", "--layout", "sealens"], "did you mean saelens"),
        (["explain", "{staged}", "--explainer", "rules"], "did you mean rule"),
        (["explain", "{staged}", "--option", "depth=3"], "the options of the explainer 'rule', which has none"),
        (["index", "{staged}", "--train-rows", "0"], "--train-rows: Input should be greater than 0"),
        (["train", "{staged}", "--option", "bandwidth"], "has no name or no value"),
        (["train", "{staged}", "--option", "k=4", "--option", "k=5"], "--option k is given twice"),
        (["train", "{staged}", "--kind", "jumprelu", "--option", "bandwith=3"], "did you mean bandwidth"),
        (["train", "{staged}", "--kind", "sae"], "one of batchtopk, topk, relu"),
        (["train", "{staged}", "--log-to", "mlflow"], "should be 'tensorboard' or 'wandb'"),
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
    before = contents(staged)
    result = sparselex(*(argument.format(**places) for argument in arguments))
    assert result.code == 2, result.out + result.err
    assert words in result.err and "Traceback" not in result.err
    if "error:" in result.err:
        assert "expected:" in result.err and "to do:" in result.err
    assert {path.name for path in tmp_path.rglob("*")} <= {"bad.json", "good.json"}, "not even an empty workspace"
    assert contents(staged) == before


@pytest.mark.parametrize(
    ("name", "verb"),
    [
        ("shard-00000.safetensors", "train"),
        ("sae_weights.safetensors", "index"),
        ("positions.npy", "explain"),
        ("tokens.npy", "explain"),
    ],
)
def test_damaged_files_are_named(copy, name, verb):
    path = next(copy.rglob(name))
    path.write_bytes(path.read_bytes()[:-5])
    result = sparselex(verb, copy)
    assert result.code == 2 and name in result.err and "damaged" in result.err


@pytest.mark.slow
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


def test_the_list_of_verbs_breaks_lines_by_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip("│ ") for line in done("--help").out.splitlines()]
    assert "goes on; run again, it does nothing twice, and" in " ".join(lines) and max(map(len, lines)) <= 80


def test_the_help_of_every_verb_breaks_lines_by_the_terminal():
    """Within a paragraph there are no lines of the source: a terminal would break each of them once more."""
    verbs = typer.main.get_command(app)
    for name in verbs.list_commands(None):
        paragraphs = verbs.get_command(None, name).help.split("\n\n")
        assert not [one for one in paragraphs if "\n" in one and not one.lstrip().startswith("- ")], name


def test_help_has_every_verb():
    shown = done("--help").out
    for verb in (*STAGES.names(), "demo", "use", "report", "serve", "hooks"):
        assert verb in shown
        assert "--help" in done(verb, "--help").out


@pytest.mark.parametrize(
    ("verb", "option", "names"),
    [
        ("train", "--kind", DICTIONARIES),
        ("evaluate", "--controls", CONTROLS),
        ("explain", "--explainer", EXPLAINERS),
        ("explain", "--scorers", SCORERS),
        ("export", "--layout", FEATURE_LAYOUTS),
    ],
)
def test_help_lists_the_names_there_are(verb, option, names):
    said = " ".join(done(verb, "--help").out.replace("│", " ").split())
    assert f"One of {', '.join(names.names())}." in said.partition(f"{option} ")[2]


def test_an_index_of_all_text_is_asked_for_by_none(copy):
    assert "`none` (in JSON null) reads all" in Index.model_fields["train_rows"].description
    assert (
        done("index", copy, "--train-rows", "none", "--replace", "--json").json["config"]["options"]["train_rows"]
        is None
    )


def test_the_version_is_said():
    assert done("--version").out.startswith("sparselex 0.")


@pytest.mark.slow
def test_what_is_done_is_recognised_without_pytorch(staged):
    """In a process of its own: the model is not loaded, nor is PyTorch."""
    for verb in ("harvest", "train", "index", "explain", "evaluate"):
        code = (
            "import sys; from sparselex.cli.main import main\n"
            f"main(['{verb}', {str(staged)!r}])\n"
            "assert not {'torch', 'transformers'} & set(sys.modules), sorted(sys.modules)"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
        assert result.returncode == 0, verb + result.stderr


@pytest.mark.slow
def test_serve_prints_its_address_and_answers(staged):
    code = "from sparselex.cli.main import main; main()"
    command = [sys.executable, "-c", code, "serve", str(staged), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        line = process.stdout.readline() + process.stdout.readline()
        address = next(word for word in line.split() if word.startswith("http"))
        assert b"sparselex" in urllib.request.urlopen(address, timeout=10).read()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)


def test_a_taken_port_is_named(staged):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = sparselex("serve", staged, "--port", taken.getsockname()[1])
    assert result.code == 2 and "cannot be used" in result.err and "--port 0" in result.err
