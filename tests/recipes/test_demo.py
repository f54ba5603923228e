"""What the demo says, how long it expects things to take, and what it makes of options when it is given again."""

import shutil
from typing import get_args

import pytest

from sparselex.base.workspace import Workspace
from sparselex.evaluate.report import report
from sparselex.recipes.choice import TrainingChoice
from sparselex.recipes.config import new_run
from sparselex.recipes.demo import RECIPES, Demo
from sparselex.recipes.run import Run
from sparselex.recipes.stages import STAGES
from sparselex.recipes.stages.evaluate import Evaluate
from sparselex.recipes.stages.index import Index
from sparselex.recipes.stages.train import Train
from sparselex.recipes.work.choices import train_config
from sparselex.recipes.work.forecast import Speed, _tokens_per_second, forecast
from tests.support.command import done, sparselex
from tests.support.contents import contents
from tests.support.small import TRAINING, write_documents


@pytest.mark.slow
def test_what_is_there_is_not_said_to_be_made(tmp_path):
    text, w = write_documents(tmp_path / "text"), tmp_path / "w"
    demo = ("demo", w, "--text", text, "--context", 64, "--expansion", 0.25, "--k", 4, "--no-twin", "--no-serve")
    first = done(*demo).out
    assert "tokenizing" in first and "of 40 documents" in first and "fewer than the 5,500,000 asked for" in first
    shutil.rmtree(w / "runs" / "main" / "evaluation")
    again = done(*demo).out
    assert "tokenizing" not in again and "index is done already" in again and "main: evaluate" in again
    assert "everything is done already" in done(*demo).out


def test_the_forecast_of_an_index_follows_its_rows(small_workspace):
    run = Run.open(small_workspace)
    n_rows = len(run.corpus.row_ranges["train"])
    few, many, whole, default = (
        forecast(run, Index(**given), Speed(1e9, 1e4, 1e4))
        for given in ({"train_rows": 1}, {"train_rows": n_rows // 2}, {"train_rows": None}, {})
    )
    assert few < many < whole == default, "this corpus is smaller than what is read of one"


def test_the_forecast_counts_what_the_model_itself_takes(small_workspace):
    """A model of many layers is slower than any dictionary: a forecast without it said seconds where minutes passed."""
    run = Run.open(small_workspace)
    fast, slow = Speed(1e12, 1e9, 1e9), Speed(1e12, 100.0, 50.0)
    for stage in (Train(**TRAINING), Index(), Evaluate()):
        assert forecast(run, stage, slow) > 1_000 * forecast(run, stage, fast)
    n_train = run.n_training_tokens
    assert forecast(run, Train(**TRAINING), slow) == pytest.approx(TRAINING.get("n_tokens", n_train) / 100, rel=0.01)
    assert all(speed > 100 for speed in _tokens_per_second(run))


SMALL = ("--context", 64, "--tokens", 6_000, "--expansion", 0.125, "--k", 4)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_documents(tmp_path_factory.mktemp("demo") / "text")


@pytest.fixture(scope="module")
def made(text, tmp_path_factory):
    """The workspace of a finished demo. Read only."""
    w = tmp_path_factory.mktemp("demo") / "w"
    done("demo", w, "--text", text, *SMALL, "--no-serve")
    return w


@pytest.mark.parametrize("given", [(), ("--k", 4), ("--tokens", 6_000, "--seed", 0), ("--replace",)])
def test_options_that_are_left_out_are_as_the_runs_kept_them(made, given):
    before = contents(made)
    assert "everything is done already" in done("demo", made, "--no-serve", *given).out
    assert contents(made) == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--tokens", 7_000), "made with --tokens=6000, and not with --tokens=7000"),
        (("--context", 32, "--k", 8), "made with --context=64, --k=4, and not with --context=32, --k=8"),
        (("--expansion", 0.25), "made with --expansion=0.125, and not with --expansion=0.25"),
        (("--hook", "blocks.0.hook_mlp_out"), "and not with --hook='blocks.0.hook_mlp_out'"),
        (("--model", "embedded-b"), "made with --model='embedded', and not with --model='embedded-b'"),
        (("--text", "stdlib"), "and not with --text='stdlib'"),
        (("--cached",), "made with --cached=False, and not with --cached=True"),
    ],
)
def test_other_options_are_refused_before_anything_is_read(made, given, words, monkeypatch):
    monkeypatch.setattr(Run, "corpus", property(lambda run: pytest.fail("text was read")))
    before = contents(made)
    ended = sparselex("demo", made, "--no-serve", *given)
    assert ended.code == 2 and words in ended.err and "another WORKSPACE, or add --replace" in ended.err
    assert "--run" not in ended.err and contents(made) == before


@pytest.mark.slow
def test_a_twin_that_was_made_otherwise_than_the_run_is_refused(made, tmp_path):
    """What a run is trained with now holds for its control too, whoever made it so."""
    w = shutil.copytree(made, tmp_path / "w")
    done("train", w, "--kind", "topk", "--expansion", 0.125, "--k", 2, "--replace")
    ended = sparselex("demo", w, "--no-serve")
    assert ended.code == 2 and "Run 'twin'" in ended.err and "train --kind='batchtopk'" in ended.err
    done("demo", w, "--no-serve", "--replace")
    assert Run.open(Workspace(w), "twin").manifest("dictionary").config["dictionary"]["kind"] == "topk"


@pytest.mark.slow
def test_a_default_that_is_written_out_is_no_other_option(text, tmp_path):
    sizes = ("--text", text, "--context", 64, "--tokens", 6_000, "--expansion", 0.25, "--no-twin", "--no-serve")
    done("demo", tmp_path / "w", *sizes)
    done("demo", tmp_path / "w", "--k", 30, "--no-twin", "--no-serve")


@pytest.mark.slow
def test_a_twin_that_is_begun_later_is_made_like_the_run(text, tmp_path):
    done("demo", tmp_path / "w", "--text", text, *SMALL, "--cached", "--no-twin", "--no-serve")
    done("index", tmp_path / "w", "--n-top", 3, "--replace")
    done("demo", tmp_path / "w", "--no-serve")
    main, twin = (Run.open(Workspace(tmp_path / "w"), name) for name in ("main", "twin"))
    assert twin.corpus.id == main.corpus.id and twin.is_cached
    for verb in ("train", "index", "explain"):
        assert twin.stage(verb) == main.stage(verb)
    assert twin.stage("evaluate").controls == ()


@pytest.mark.slow
def test_a_frozen_decoder_stands_among_the_controls_with_its_explanations(made, tmp_path):
    """The control that learns less, in the same command: on the same model, explained and scored like the run."""
    w = shutil.copytree(made, tmp_path / "w")
    done("demo", w, "--frozen", "--no-serve")
    frozen = Run.open(Workspace(w), "frozen").manifest("dictionary").config
    assert frozen["frozen"] == "decoder" and frozen["dictionary"]["k"] == 4
    whole = report(Workspace(w))
    assert whole.run == "main" and list(whole.controls)[:2] == ["frozen", "twin"]
    scored = {figure.name for figure in whole.controls["frozen"]}
    assert {"core/fvu", "explained/fvu", "explain/rule/explained_share"} <= scored
    assert not any("frozen at random" in line for answer in whole.answers for line in answer.evidence)
    assert "tokens of training" in whole.cost and f"What it took: {whole.cost}." in done("report", w).out
    before = contents(w)
    assert "everything is done already" in done("demo", w, "--frozen", "--no-serve").out
    assert contents(w) == before


def test_passes_are_of_the_training_documents_and_yield_to_a_number_of_tokens(small_workspace):
    run = Run.open(small_workspace)
    n = run.n_training_tokens
    for given, expected in (
        ({}, n),
        ({"passes": 0.5}, n / 2),
        ({"passes": 3}, 3 * n),
        ({"passes": 3, "n_tokens": 7}, 7),
    ):
        choice = TrainingChoice(expansion=0.125, k=4, **given)
        assert train_config(run, choice).n_tokens == pytest.approx(expected, abs=1)
    demo = Demo().run_config().stages["train"], Demo(passes=2.0).run_config().stages["train"]
    assert [train["passes"] for train in demo] == [0.7, 2.0]
    assert Demo(recipe="smollm2").run_config().stages["train"]["passes"] == 1.0


def test_a_recipe_stands_behind_what_is_given():
    """Its options hold where none is given, its stages where a run is begun."""
    demo = Demo.parse({"recipe": "smollm2", "n_tokens": 5_000}, "options")
    config = demo.run_config()
    assert (config.model.name, config.hook, config.text.n_tokens) == ("smollm2", "blocks.15.hook_resid_post", 5_000)
    assert config.stages["index"] == {"train_rows": 800} and config.stages["train"]["expansion"] == 8.0
    assert set(RECIPES) == set(get_args(Demo.model_fields["recipe"].annotation))
    for recipe in RECIPES.values():
        for verb, options in recipe.stages.items():
            assert STAGES.get(verb).parse(options, "options").kept().items() >= options.items()
    assert Demo().run_config().stages == Demo.parse({"recipe": "embedded"}, "options").run_config().stages


def test_a_demo_of_a_version_without_a_finish_goes_on_without(text):
    """What is left out is as the workspace has it: an option that it does not know was not taken."""
    kept = new_run("embedded", str(text)).with_stage("train", {"k": 8, "expansion": 2.0})
    train = Demo().run_config(kept).stages["train"]
    assert (train["finish"], train["k"], train["expansion"]) == ("nothing", 8, 2.0)
    assert Demo(finish="kl").run_config(kept).stages["train"]["finish"] == "kl"
    new = Demo().run_config().stages["train"]
    assert (new["finish"], new["k"]) == ("kl", 30)
    real = Demo(recipe="smollm2").run_config().stages["train"]
    assert (real["finish"], real["k"]) == ("nothing", 32)
