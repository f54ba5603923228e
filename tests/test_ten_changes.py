"""Ten changes from outside: a package brings one of each kind, and each is where a user would look for it.

The packages are installed beside ours as pip would leave them; no file of ours knows them.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file
from starlette.testclient import TestClient

import sparselex
from sparselex.base.figures import Figures
from sparselex.base.workspace import Workspace
from sparselex.evaluate.report import report
from sparselex.explain.store import ExplanationStore
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.recipes.config import new_run
from sparselex.recipes.run import Run
from sparselex.server.app import create_app
from tests.support.plugin import documented, documented_entries, install

pytestmark = pytest.mark.slow

VERSES = """
from sparselex.text.documents import Document

class Verses:
    def documents(self, rest):
        for number in range(60):
            lines = (f"line {i} of verse {number}: the {'sun moon sea'.split()[i % 3]} is bright" for i in range(40))
            yield Document(f"verse-{number}", "\\n".join(lines))

    def identity(self, rest):
        return "verses-1"

VERSES = Verses()
"""
METRIC = """
from sparselex.evaluate.metrics import Column, Metric

LARGEST = Metric(
    "mean of the largest error in a coordinate",
    lambda s: s["largest"] / s["n"],
    columns={"largest": Column(lambda x, x_hat, l0: (x - x_hat).abs().amax(-1))},
)
"""
STAGE = '''
from pydantic import PositiveInt

from sparselex.base.staging import stage as staged
from sparselex.base.figures import Figure, Figures
from sparselex.recipes.stage import Stage


def count(run, stage):
    busy = run.index.table["n_active"] >= stage.at_least
    inputs = {"index": run.index.id, "dictionary": run.manifest("dictionary").id}
    with staged(run.folder / "busy", "busy", stage, inputs) as staging:
        share = Figure(name="busy/share", value=float(busy.mean()), n=len(busy), definition="share of busy latents")
        Figures(figures=[share]).write(staging.folder)
        staging.finish()
    run.keep_options(stage)


class Busy(Stage):
    """Count the latents that are active often."""

    verb = "busy"
    needs = ("dictionary", "index")
    makes = "busy"
    work = count

    at_least: PositiveInt = 5
    """Tokens on which a busy latent is active."""
'''
EXPLAINER = """
from sparselex.explain.records import Explanation
from sparselex.explain.rules import Rule

class TopToken:
    explained = "a largest activation"

    def __init__(self, evidence, config):
        self.evidence = evidence.train

    def explain(self, latent):
        (largest,) = self.evidence.examples(latent, 1)
        token = self.evidence.token(largest.position)
        words = {"text": f"Largest on token {token}.", "title": f"token {token}"}
        rule = Rule("token", {token: abs(largest.value)}).to_json()
        return Explanation(latent=latent, explainer="top_token", status="explained", predictor=rule, **words)
"""
PAGE = '''
from sparselex.server.page import Page, PageRecord

class Counted(PageRecord):
    n_runs: int
    """Runs of the workspace."""

def build(opened):
    return Counted(title="How many runs", n_runs=len(opened.workspace.runs()))

PAGE = Page("/how-many", build, label="how many")
'''
FAMILY = """
from sparselex.lm.families import Family, Site

CODEGEN = Family("transformer.h", "transformer.ln_f", {
    "hook_resid_post": Site("", "output"),
    "mlp.hook_post": Site("mlp.fc_out", "input"),
})
"""
PACKAGES = {
    "verses": (VERSES, {"sparselex.source": {"verses": "verses:VERSES"}}),
    "largest": (METRIC, {"sparselex.metric": {"largest_error": "largest:LARGEST"}}),
    "busy_stage": (STAGE, {"sparselex.stage": {"busy": "busy_stage:Busy"}}),
    "top_token": (EXPLAINER, {"sparselex.explainer": {"top_token": "top_token:TopToken"}}),
    "how_many": (PAGE, {"sparselex.page": {"how_many": "how_many:PAGE"}}),
    "codegen_places": (FAMILY, {"sparselex.family": {"codegen": "codegen_places:CODEGEN"}}),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of all packages, on the path while these tests run."""
    folder = tmp_path_factory.mktemp("site-packages")
    for package, (module, entries) in PACKAGES.items():
        install(folder, package, module, entries)
    install(folder, "log-relu", documented("class LogReLU("), documented_entries("sparselex.dictionary"))
    theirs = documented_entries("sparselex.control", "sparselex.format", "sparselex.layout")
    install(folder, "my-package", documented("BARE = "), theirs)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for module in (*PACKAGES, "log_relu", "my_package"):
        sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def run(installed, tmp_path_factory) -> Run:
    """A run with something of every kind in it: their text, type, explainer, control, metric and stage."""
    training = {"kind": "log_relu", "expansion": 0.25, "n_tokens": 20_000}
    config = new_run("embedded", "verses", n_ctx=64).with_stage("train", training)
    made = Run.create(Workspace.create(tmp_path_factory.mktemp("run") / "w"), "main", config)
    made.do("train")
    made.do("index")
    made.do("explain", explainer="top_token")
    made.do("evaluate", controls=("neurons", "differences"))
    made.do("busy", at_least=3)
    return made


def figure(run: Run, name: str):
    (found,) = [figure for figure in report(run.workspace).figures if figure.name == name]
    return found


def command(installed: Path, *arguments: object) -> str:
    """What the command line prints, in a process that had not begun when the packages were installed."""
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); from sparselex.cli.main import main; main()"
    words = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_dictionary_type(run):
    loaded = sparselex.load_dictionary(run.folder / "dictionary")
    assert type(loaded).__name__ == "LogReLU" and run.index.d_sae == loaded.d_sae == 128


def test_a_foreign_format(installed, tmp_path):
    save_file({"reads": torch.randn(8, 20), "writes": torch.randn(20, 8)}, tmp_path / "bare.safetensors")
    found = sparselex.import_dictionary(tmp_path)
    assert found.format == "bare" and (found.dictionary.d_in, found.dictionary.d_sae) == (8, 20)


def test_a_metric(run):
    found = figure(run, "core/largest_error")
    assert found.value > 0 and found.se > 0 and found.n_units == 6
    assert {"neurons", "differences"} <= set(found.controls)


def test_a_stage(run, installed):
    assert figure(run, "busy/share").value > 0
    assert "Count the latents that are active often" in command(installed, "--help")
    assert "busy" in command(installed, "busy", run.workspace.path)


def test_an_option(run, installed):
    assert "Tokens on which a busy latent is active" in " ".join(command(installed, "busy", "--help").split())
    before = Figures.read(run.folder / "busy").figures[0].value
    command(installed, "busy", run.workspace.path, "--at-least", 10_000_000)
    assert Figures.read(run.folder / "busy").figures[0].value == 0 < before
    run.do("busy", at_least=3)


def test_a_page(run):
    with TestClient(create_app(run.workspace), base_url="http://127.0.0.1") as browser:
        assert browser.get("/how-many.json").json() == {"title": "How many runs", "n_runs": 1}
        assert "How many runs" in browser.get("/how-many").text and "/how-many" in browser.get("/").text


def test_an_explainer(run):
    latent = int(run.index.table["n_active"].argmax())
    (said,) = ExplanationStore(run.workspace.database).of_latent(run.index.id, latent)
    assert said.explainer == "top_token" and said.text.startswith("Largest on token")
    with TestClient(create_app(run.workspace), base_url="http://127.0.0.1") as browser:
        assert said.text in browser.get(f"/runs/main/features/{latent}").text
    assert figure(run, "explain/top_token/f1").value > 0


def test_a_model_family(installed):
    size = {"vocab_size": 4096, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 64}
    codegen = transformers.CodeGenForCausalLM(transformers.CodeGenConfig(**size))
    chosen = sparselex.ModelConfig(name="codegen")
    subject = TransformersModel(codegen, sparselex.load_model("embedded").tokenizer, chosen)
    assert [point.name for point in subject.hooks()][:2] == ["blocks.0.mlp.hook_post", "blocks.0.hook_resid_post"]


def test_a_text_source(run):
    assert {name.rpartition("-")[0] for name in run.corpus.names} == {"verse"}


def test_a_control(run):
    assert figure(run, "core/fvu").controls["differences"] < 1
