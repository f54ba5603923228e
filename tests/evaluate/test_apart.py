"""Figures that lie outside of a run's folder reach its report, of pairs and of decompositions, with their controls."""

import pytest

from sparselex.base.config import Config
from sparselex.base.figures import Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.runs import RunCard
from sparselex.base.staging import stage
from sparselex.base.workspace import Workspace
from sparselex.cli.tables import print_report
from sparselex.evaluate.pairs.records import ARMS, pair_card
from sparselex.evaluate.report import evaluated_runs, report, write_report
from sparselex.evaluate.verdict import verdict_of
from sparselex.parameters.records import FOLDER, KIND, REPORT, Decomposition, Matrix
from tests.support.paired import put_pair


class Made(Config):
    """What a dictionary was made of."""

    pair: dict[str, str] = {}
    """The pair."""

    components: dict[str, str] = {}
    """The components."""


def put_run(workspace: Workspace, name: str, model: str = "m", **made) -> None:
    """A run with a dictionary and nothing else."""
    workspace.keep(RunCard(name=name, model="embedded"), {})
    with stage(
        workspace.run(name) / "dictionary", "dictionary", Made(**made), {"model": model, "corpus": "c"}
    ) as staging:
        staging.finish()


def put_decomposition(workspace: Workspace, name: str = "main-mlp-0") -> str:
    """The record of a decomposition of two matrices; its id."""
    figures = [
        Figure(
            name=f"parameters/{path}", value=0.5, null=9.0, n=8, better="lower", controls={"twin": 0.25}, definition="x"
        )
        for path in ("faithfulness_error", "in/l0", "out/l0", "distance/rounded")
    ]
    of = lambda one: Matrix(name=one, d_out=2, d_in=2, n_components=4, n_live=3, run=f"{name}-{one}")
    found = Decomposition(
        name=name,
        target="the MLP of block 0 of embedded",
        n_inputs=8,
        n_steps=1,
        matrices=[of("in"), of("out")],
        control="twin: drawn anew",
        control_matrices=[],
        run="main",
        layer=0,
        figures=figures,
    )
    inputs = {"model": "m", "twin": "t", "corpus": "c"}
    with stage(workspace.path / FOLDER / name, KIND, Made(), inputs) as staging:
        write_json(staging.folder / REPORT, found.to_json())
        Figures(figures=figures).write(staging.folder)
        return staging.finish().id


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """`main`, what came of a pair of it, and the components of one of its MLP's matrices."""
    found = Workspace.create(tmp_path / "w")
    put_run(found, "main")
    put_run(found, "main-jacobian", pair={"id": "trained"})
    put_run(found, "main-mlp-0-out", components={"id": put_decomposition(found)})
    put_pair(found, runs=("main-jacobian", "gone"), trained="trained")
    return found


def values(found):
    return {one.name: (one.value, one.ci_low, one.null, one.controls) for one in found.figures}


def test_a_pairs_figures_are_those_of_the_run_that_came_of_it(workspace):
    found, card = report(workspace, "main-jacobian"), pair_card(workspace, "main-jacobian")
    names = [one.name.replace("pair/", "pairs/main-jacobian/", 1) for one in card.figures]
    assert list(values(found)) == names and "pairs/main-jacobian/gained/jacobian_edges" in names
    figure = next(one for one in found.figures if one.name == "pairs/main-jacobian/x/fvu")
    own = card.figure("x/fvu")
    assert (figure.value, figure.ci_low, figure.null) == (own.value, own.ci_low, own.null) and own.ci_low is not None
    assert list(figure.controls) == list(ARMS.values())[1:] and found.controls == {} and found.stale == {}
    assert not any("pairs/" in one.name for one in report(workspace, "main").figures), "whose dictionary is another"


def test_a_decompositions_figures_are_those_of_its_run_and_in_part_of_its_components(workspace):
    main, out = report(workspace, "main"), report(workspace, "main-mlp-0-out")
    paths = ["faithfulness_error", "in/l0", "out/l0", "distance/rounded"]
    assert list(values(main)) == [f"decompositions/main-mlp-0/{path}" for path in paths]
    assert all(found == (0.5, None, 9.0, {"twin": 0.25}) for found in values(main).values())
    assert list(values(out)) == [f"decompositions/main-mlp-0/{path}" for path in paths if path != "in/l0"]
    assert main.others == {}, "what runs share is no figure of another run"


def test_the_verdict_on_a_dictionary_does_not_count_them(workspace):
    whole = report(workspace, "main")
    assert all(one.null is not None and one.better for one in whole.figures), "they could be counted"
    nulls = verdict_of(workspace, whole, None).nulls
    assert (nulls.beat, nulls.lost, nulls.undecided) == ([], [], [])


def test_they_are_printed_and_shown_with_controls_of_their_own(workspace, capsys):
    whole = report(workspace, "main")
    print_report(whole)
    printed = " ".join(capsys.readouterr().out.split())
    assert "decompositions/main-mlp-0, beside its own controls" in printed and "twin" in printed
    assert all(one.name in printed for one in whole.figures)
    shown = whole._repr_html_()
    assert "decompositions/main-mlp-0/in/l0" in shown and ">twin<" in shown and "0.25" in shown


def test_what_was_measured_of_another_dictionary_or_model_is_left_out_and_named(workspace):
    write_report(workspace)
    put_run(workspace, "main-jacobian", pair={"id": "trained anew"})
    found = report(workspace, "main-jacobian")
    assert found.figures == [] and "of another dictionary" in found.stale["pairs/main-jacobian"]
    assert "sparselex pair --run main --into twin" in found.stale["pairs/main-jacobian"]
    put_run(workspace, "main-mlp-0-out", components={"id": "others"})
    put_run(workspace, "main", model="another")
    for run, why in (("main", "of another model"), ("main-mlp-0-out", "of other components")):
        found = report(workspace, run)
        assert found.figures == [] and why in found.stale["decompositions/main-mlp-0"]
        assert "sparselex decompose --run main --layer 0" in found.stale["decompositions/main-mlp-0"]


def test_a_report_is_made_anew_when_they_come_and_change(workspace):
    put_run(workspace, "later", pair={"id": "second"})
    assert "later" not in evaluated_runs(workspace)
    write_report(workspace)
    put_pair(workspace, "second", runs=("later", "gone"), trained="second")
    assert report(workspace, "later").figures and "later" in evaluated_runs(workspace)
    before = write_report(workspace)
    put_decomposition(workspace, "main-mlp-0-other")
    names = [one.name for one in report(workspace, "main").figures]
    assert names[: len(before.figures)] == [one.name for one in before.figures] and len(names) == 2 * len(
        before.figures
    )
