"""The examples as one run: what is finished is kept, and what is not asked for is not replaced."""

import shutil

import pytest

from sparselex.base.artifacts import open_artifact
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.evaluate.doomed import found
from sparselex.evaluate.doomed.config import DoomedConfig
from sparselex.evaluate.doomed.found import doomed_of
from sparselex.evaluate.doomed.records import CHANCE_95, EXAMPLE
from sparselex.evaluate.doomed.verdicts import Verdict
from sparselex.recipes import doomed as recipe
from tests.support.command import done, sparselex

FEW = {"n_steps": 10, "net_steps": 20, "n_held_out": 128, "n_draws": 20, "batch_size": 32}
FLAGS = [word for name, value in FEW.items() for word in (f"--{name.replace('_', '-')}", value)]


def test_killed_in_the_second_example_the_first_is_kept(tmp_path, monkeypatch):
    workspace = Workspace.create(tmp_path / "w")
    config = DoomedConfig(examples=("scaffolding", "unused"), n_seeds=5, **FEW)
    with monkeypatch.context() as broken:

        def fails(place):
            raise KeyboardInterrupt

        broken.setitem(recipe.MEASURES, "scaffolding", fails)
        with pytest.raises(KeyboardInterrupt):
            recipe.doomed(workspace, config)
    first = open_artifact(workspace.path / "doomed" / "unused", EXAMPLE)
    assert doomed_of(workspace.path) is None
    bars, drawn = list[tuple[str, float]](), recipe.progress
    with monkeypatch.context() as watched:
        watched.setattr(recipe, "progress", lambda name, n, unit: bars.append((name, n)) or drawn(name, n, unit))
        made = recipe.doomed(workspace, config)
    assert bars == [("scaffolding", 5)]  # the one that is run, by its name
    assert open_artifact(workspace.path / "doomed" / "unused", EXAMPLE) == first
    assert doomed_of(workspace.path) == made and [one.name for one in made.examples] == ["unused", "scaffolding"]
    neurons = made.examples[1].row("neurons").figures["cosine"]
    assert neurons.ci_low < neurons.value < neurons.ci_high and neurons.n_units == 5
    assert neurons.null < neurons.controls[CHANCE_95]
    with pytest.raises(UserError, match="there already, with another configuration"):
        recipe.doomed(workspace, config.model_copy(update={"seed": 1}))
    monkeypatch.setattr(recipe, "MEASURES", dict.fromkeys(recipe.MEASURES))  # nothing is measured again
    assert recipe.doomed(workspace, config) == made


def test_the_verb_prints_a_verdict_and_its_json(tmp_path):
    asked = ("recipe", "doomed", tmp_path / "w", "--quick", "--n-seeds", 1, "--examples", "scaffolding", *FLAGS)
    shown = " ".join(done(*asked).out.split())
    assert shown.count("No intervals: 1 run, 5 needed.") == 1 and "no interval," not in shown
    assert "A first look, and no result: --n-seeds 1 instead of 5, --n-steps 10 instead of 800" in shown
    assert "borne out" in shown.lower() and "gradient Gram matrix" in shown and "/doomed" in shown
    (example,) = done(*asked, "--json").json["examples"]
    assert example["name"] == "scaffolding" and example["verdict"][:40] in shown


def test_a_recipe_that_there_is_not_is_told_which_there_are(tmp_path):
    ended = sparselex("recipe", "dommed", tmp_path / "w")
    assert ended.code == 2 and "did you mean `recipe doomed`" in ended.err
    other = sparselex("recipe", "grokking", tmp_path / "w")
    assert other.code == 2 and "Unknown recipe" in other.err and "monosemanticity, doomed" in other.err
    assert "sparselex recipe doomed WORKSPACE" in done("recipe").out and not (tmp_path / "w").exists()


def test_circuits_that_share_nothing_are_refused(tmp_path):
    ended = sparselex("recipe", "doomed", tmp_path / "w", "--n-circuits", 10, "--n-neurons", 200)
    assert ended.code == 2 and "without sharing any" in ended.err and not (tmp_path / "w").exists()


def test_a_summary_that_is_not_as_it_was_written_is_told_by_the_verb_too(tmp_path):
    config = DoomedConfig(examples=("scaffolding",), n_seeds=1, **FEW)
    workspace = Workspace.create(tmp_path / "w")
    made = recipe.doomed(workspace, config)
    file = workspace.path / "doomed" / "summary" / "doomed.json"
    file.write_bytes(file.read_bytes().replace(b"0.1", b"0.9"))
    with pytest.raises(UserError, match=r"doomed.json is damaged"):
        recipe.doomed(workspace, config)
    shutil.rmtree(file.parent)
    assert recipe.doomed(workspace, config) == made


def test_what_a_verdict_said_by_older_rules_is_said_anew(tmp_path, monkeypatch):
    workspace = Workspace.create(tmp_path / "w")
    config = DoomedConfig(examples=("scaffolding",), n_seeds=1, **FEW)
    with monkeypatch.context() as older:
        older.setattr(found, "verdict", lambda *given: Verdict("yes", "What was said once: "))
        assert recipe.doomed(workspace, config).examples[0].verdict == "What was said once: "
    assert "What was said once" in (workspace.path / "doomed" / "summary" / "doomed.json").read_text()
    for again in (doomed_of(workspace.path), recipe.doomed(workspace, config), doomed_of(workspace.path)):
        assert again.examples[0].verdict.startswith("The gradient Gram matrix")
