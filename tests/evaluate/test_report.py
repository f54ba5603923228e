"""The report: one run beside its twins and control dictionaries, and nothing that was measured on something else."""

import json

import pytest

from sparselex.base.artifacts import Manifest
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.figures import FIGURES, Figure, Figures
from sparselex.base.files import read_json
from sparselex.base.runs import RunCard
from sparselex.base.staging import stage
from sparselex.base.workspace import Workspace
from sparselex.evaluate.records import Report
from sparselex.evaluate.report import report, write_report


class Seed(Config):
    """Makes artifacts of one kind differ."""

    seed: int = 0
    """Any number."""


def figure(name, value, low=None, high=None):
    return Figure(name=name, value=value, ci_low=low, ci_high=high, n=1, definition="x")


def make(workspace, run, kind, inputs=(), seed=0, values=None, controls=None) -> Manifest:
    """A real artifact: with `values` of figures, or with none."""
    made_of = {role: Manifest.parse(read_json(workspace.run(run) / role / "manifest.json")).id for role in inputs}
    with stage(workspace.run(run) / kind, kind, Seed(seed=seed), made_of) as staging:
        if values is not None:
            beside = {name: [figure(*one) for one in part.items()] for name, part in (controls or {}).items()}
            Figures(figures=[figure(*one) for one in values.items()], controls=beside).write(staging.folder)
        return staging.finish()


def evaluated(workspace, run, value, *, twin_of=None, twin="none", controls=None):
    """A run with dictionary, index and evaluation."""
    workspace.keep(RunCard(name=run, model="embedded", twin=twin, twin_of=twin_of), {})
    make(workspace, run, "dictionary")
    make(workspace, run, "index", ["dictionary"])
    make(workspace, run, "evaluation", ["dictionary", "index"], values={"core/fvu": value}, controls=controls)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """`main`, its twin `drawn`, and two that are no controls: one is called `twin`."""
    found = Workspace.create(tmp_path / "w")
    evaluated(found, "main", 0.1, controls={"pca": {"core/fvu": 0.3}})
    evaluated(found, "drawn", 0.2, twin_of="main", twin="reinitialised")
    evaluated(found, "twin", 0.4)
    evaluated(found, "wide", 0.05)
    return found


def fvu(found: Report) -> Figure:
    return next(figure for figure in found.figures if figure.name == "core/fvu")


def test_twins_and_control_dictionaries_are_controls_and_other_runs_are_not(workspace):
    found = report(workspace)
    assert (found.run, fvu(found).value, found.stale) == ("main", 0.1, {})
    assert list(fvu(found).controls.items()) == [("drawn", 0.2), ("pca", 0.3)], "twins first"
    assert {run: values["core/fvu"] for run, values in found.others.items()} == {"twin": 0.4, "wide": 0.05}


def test_any_run_has_its_report(workspace):
    wide, drawn = report(workspace, "wide"), report(workspace, "drawn")
    assert (wide.run, fvu(wide).value, fvu(wide).controls) == ("wide", 0.05, {})
    assert set(wide.others) == {"main", "drawn", "twin"} and "No random twin was run" in wide.verdicts[-1]
    assert fvu(drawn).value == 0.2 and "main" in drawn.others and "No random twin" not in "".join(drawn.verdicts)


def test_a_dictionary_trained_anew_makes_its_figures_stale(workspace):
    make(workspace, "main", "diff", ["dictionary"], values={"diff/shared_share": 0.5})
    make(workspace, "main", "explanations", ["index"], values={"explain/rule/f1": 0.6})
    assert report(workspace).stale == {}
    make(workspace, "main", "dictionary", seed=1)
    found = report(workspace)
    # Explanations are of the index that the run still has, and the index is of another dictionary.
    assert found.figures == [] and list(found.stale) == ["evaluation", "explanations", "diff"]
    make(workspace, "main", "index", ["dictionary"], seed=1)
    make(workspace, "main", "evaluation", ["dictionary", "index"], values={"core/fvu": 0.15})
    found = report(workspace)
    assert [figure.value for figure in found.figures] == [0.15] and list(found.stale) == ["explanations", "diff"]


def test_a_stale_twin_is_no_control(workspace):
    make(workspace, "drawn", "index", ["dictionary"], seed=1)
    found = report(workspace)
    assert list(fvu(found).controls) == ["pca"] and list(found.stale) == ["drawn/evaluation"]


def test_figures_stand_in_the_order_of_the_stages(workspace):
    for kind in ("zeta", "alpha", "diff", "explanations"):
        make(workspace, "main", kind, ["index"], values={f"{kind}/x": 1.0})
    names = [figure.name for figure in report(workspace).figures]
    assert names == ["core/fvu", "explanations/x", "diff/x", "alpha/x", "zeta/x"]


def test_a_failure_of_a_control_is_no_value(workspace):
    with stage(workspace.run("drawn") / "evaluation", "evaluation", Seed(seed=1), {}) as staging:
        Figures(figures=[Figure(name="core/fvu", definition="x", failure="no token")]).write(staging.folder)
        staging.finish()
    assert list(fvu(report(workspace)).controls) == ["pca"]


def test_without_main_it_is_the_first_run_that_is_no_twin_if_there_is_one(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    evaluated(workspace, "a", 0.2, twin_of="b", twin="gaussian")
    assert report(workspace).run == "a"
    evaluated(workspace, "b", 0.1)
    assert report(workspace).run == "b" and fvu(report(workspace)).controls == {"a": 0.2}


def test_a_workspace_without_figures_says_what_to_run(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    with pytest.raises(UserError, match=f"run `sparselex evaluate {workspace.path}`"):
        write_report(workspace)
    assert not workspace.report.exists()


def test_a_run_without_figures_says_what_to_run(workspace):
    workspace.keep(RunCard(name="begun", model="embedded"), {})
    with pytest.raises(UserError, match=f"run `sparselex evaluate {workspace.path} --run begun`"):
        report(workspace, "begun")
    with pytest.raises(UserError, match="no run 'nonsense'"):
        report(workspace, "nonsense")


@pytest.mark.parametrize("damage", ["0.1", "999"])
def test_figures_are_held_against_their_checksum(workspace, damage):
    """Another value of the same length, and a file of another length."""
    path = workspace.run("main") / "evaluation" / FIGURES
    changed = path.read_text().replace("0.1", "0.7" if damage == "0.1" else damage + "9")
    path.write_text(changed)
    with pytest.raises(UserError, match=r"figures\.json is damaged"):
        report(workspace)


def test_every_twin_has_its_verdict(workspace):
    evaluated(workspace, "mixed", 0.3, twin_of="main", twin="permuted")
    found = report(workspace)
    assert list(fvu(found).controls) == ["drawn", "mixed", "pca"]
    assert {name: [figure.value for figure in part] for name, part in found.controls.items()} == {
        "drawn": [0.2],
        "mixed": [0.3],
        "pca": [0.3],
    }
    assert found.comparisons == [], "none of these figures has an interval"


def test_the_report_of_a_real_run(small_workspace):
    found = write_report(small_workspace)
    by_name = {figure.name: figure for figure in found.figures}
    assert list(by_name["core/fvu"].controls) == ["twin", "token_lookup", "pair_lookup", "neurons", "pca", "covariance"]
    assert "twin" in by_name["explain/rule/auroc"].controls and by_name["explain/rule/auroc"].null is not None
    assert [name.partition("/")[0] for name in by_name] == ["explained"] * 4 + ["core"] * 13 + ["explain"] * 11
    assert Report.parse(read_json(small_workspace.report)) == found
    assert found.comparisons == [], "so few documents tell nothing"
    assert "too few for a verdict" in found.answers[0].answer
    assert "rows" not in by_name["core/fvu"].definition
    control = next(figure for figure in found.controls["covariance"] if figure.name == "core/fvu")
    assert "made from" in control.definition and "8 steps of pursuit" in control.definition
    assert [one.partition(" and")[0] for one in found.verdicts] == ["It was trained for an L0 of 8"]
    assert (found.others, found.stale) == ({}, {})
    assert json.loads(small_workspace.report.read_text())["run"] == "main"
