"""The overview: failures, missing parts and old reports are said plainly; charts hold what their records hold."""

import html
import json
import os
import shutil
import sys
import time

import pytest
from fastapi.testclient import TestClient

from sparselex.atlas.records import SweepRow
from sparselex.base.artifacts import identity, read_manifest
from sparselex.base.config import Config
from sparselex.base.figures import FIGURES, Figure, Figures
from sparselex.base.runs import RunCard, StageCard
from sparselex.base.staging import stage
from sparselex.base.workspace import Workspace
from sparselex.evaluate.records import DensityHistogram
from sparselex.evaluate.report import write_report
from sparselex.features.records import Histogram
from sparselex.server import charts
from sparselex.server.app import create_app
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.overview import overview
from sparselex.server.pages.run import run_page


@pytest.fixture
def own(workspace, tmp_path) -> Workspace:
    """A copy to change."""
    shutil.copytree(workspace.path, tmp_path / "own")
    return Workspace(tmp_path / "own")


def rewrite(workspace, run, **changes):
    """Change what a run says of itself."""
    values = json.loads((workspace.run(run) / "run.json").read_text())
    card = RunCard.parse(values["card"] | changes)
    workspace.keep(card, values["config"], workspace.run(run))


def get(workspace, address):
    return TestClient(create_app(workspace), base_url="http://127.0.0.1").get(address)


def page_of(workspace) -> str:
    return get(workspace, "/").text


def test_every_figure_stands_beside_its_controls(workspace):
    home = overview(OpenWorkspace(workspace))
    page, report = run_page(OpenWorkspace(workspace), "main"), json.loads(workspace.report.read_text())
    own, apart = (
        [one for group in page.groups for one in group.figures],
        [one for part in page.apart for one in part.figures],
    )
    assert [figure.to_json() for figure in (*own, *apart)] == report["figures"] and own and apart
    assert next(iter(page.controls)) == "twin" and {"neurons", "pca"} <= set(page.controls)
    assert page.notices == [] and page.others == {} and home.shown == page, "all others are its controls"
    assert list(page.densities) == ["main", "twin"]
    assert [run.card.twin for run in home.runs] == ["none", "reinitialised"]
    assert "control of main: reinitialised weights" in page_of(workspace)


def test_a_failure_is_shown_as_not_measured(own):
    values = json.loads(own.report.read_text())
    values["figures"][0] |= {"value": None, "ci_low": None, "ci_high": None, "failure": "the <disk> was full"}
    own.report.write_text(json.dumps(values))
    assert "not measured: the &lt;disk&gt; was full" in page_of(own)


def test_a_report_older_than_an_artifact_is_called_so(own):
    report = json.loads(own.report.read_text())
    own.report.write_text(json.dumps(report | {"verdicts": []}))
    assert "is not what its figures say now" in page_of(own)


def test_a_report_that_cannot_be_made_again_says_why(own):
    path = own.run("twin") / "evaluation" / "figures.json"
    path.write_text(path.read_text().replace("1", "2", 1))
    assert "cannot be made again" in page_of(own) and "damaged" in page_of(own)


def test_figures_of_another_dictionary_are_left_out_and_named(own):
    shutil.rmtree(own.run("main") / "dictionary")
    shutil.copytree(own.run("twin") / "dictionary", own.run("main") / "dictionary")
    write_report(own)
    page, home = run_page(OpenWorkspace(own), "main"), overview(OpenWorkspace(own))
    assert home.runs[0].figures == {} != home.runs[1].figures
    # Of what was put there by hand (probes) it is not said of which dictionary it is.
    made = {name: one for name, one in own.artifacts("main").items() if {"dictionary", "index"} & one.inputs.keys()}
    measured = {name for name, one in made.items() if FIGURES in one.files}
    left_out = {line.removeprefix("Left out: ").partition(",")[0]: line for line in page.notices}
    assert page.groups == [] and {"evaluation", "explanations", "manifolds", "neurons"} < measured
    assert left_out.keys() == measured | {"decompositions/main-mlp-0"} and len(home.runs[0].stale) == len(left_out)
    mended = {
        "evaluation": "of another dictionary than the run has now, and `sparselex evaluate` makes it again.",
        "explanations": "its index is of another dictionary than the run has now, and `sparselex index` makes it "
        "again.",
        "neurons": "of another dictionary than the run has now, and `sparselex analyse neurons` makes it again.",
        "decompositions/main-mlp-0": "of another model than the run has now, and `sparselex decompose --run main "
        "--layer 0 --replace` mends it.",
    }
    assert all(left_out[name] == f"Left out: {name}, {said}" for name, said in mended.items())
    assert "Left out: evaluation" in page_of(own)


def test_missing_parts_keep_their_place(own):
    own.report.unlink()
    own.report_of("main").unlink()
    shutil.rmtree(own.run("twin") / "index")
    stages = [("harvest", "activations", False), ("index", "index", True), ("evaluate", "evaluation", True)]
    rewrite(own, "twin", stages=[StageCard(verb=v, makes=m, expected=e).to_json() for v, m, e in stages])
    text = page_of(own)
    assert f"sparselex evaluate {own.typed} --run main" in text
    assert f"no index yet: <code>sparselex index {own.typed} --run twin</code>" in text
    assert "/runs/twin/features" not in text and "/runs/main/features" in text
    client = TestClient(create_app(own), base_url="http://127.0.0.1")
    found = client.get("/runs/twin/features")
    assert found.status_code == 404 and f"<code>sparselex index {own.typed} --run twin</code>" in found.text
    assert "<h1>Not made yet</h1>" in found.text and "no such page" not in found.text
    assert "<h1>There is no such page</h1>" in client.get("/runs/none").text
    command = f"sparselex index {own.typed} --run twin"
    assert f"Not made yet: index (<code>{command}</code>)" in client.get("/about/twin").text


def test_another_run_is_no_control_and_another_text_is_shown_with_its_readers(own):
    """The same figures, said to be of a run that is a control of nothing and reads a text of its own."""
    shutil.copytree(own.run("twin"), own.run("other"))
    corpus = own.card("main").corpus
    shutil.copytree(own.corpora / corpus, own.corpora / "second")
    manifest = json.loads((own.corpora / "second" / "manifest.json").read_text())
    manifest["config"]["source"] = "another/text"
    parts = {name: manifest[name] for name in ("kind", "config", "inputs", "notes")}
    manifest["id"] = identity(**parts, files=read_manifest(own.corpora / corpus).files)
    (own.corpora / "second" / "manifest.json").write_text(json.dumps(manifest))
    rewrite(own, "other", name="other", twin="none", twin_of=None, corpus="second")
    write_report(own)
    home, page = overview(OpenWorkspace(own)), run_page(OpenWorkspace(own), "main")
    assert [run.name for run in home.runs] == ["main", "twin", "other"] and home.notices == page.notices == []
    assert home.shown is None, "two that are no controls have a page each"
    assert "other" not in page.controls and set(page.others) == {"other"}
    by_name = {figure.name: figure for group in page.groups for figure in group.figures}
    assert page.others["other"]["core/fvu"] == by_name["core/fvu"].controls["twin"]
    assert [(c.source != "another/text", c.runs) for c in home.corpora] == [
        (True, ["main", "twin"]),
        (False, ["other"]),
    ]
    assert list(page.densities) == ["main", "twin"]
    text = page_of(own).replace("<wbr>", "")
    assert "other runs, no controls" in get(own, "/runs/main").text and text.count("another/text") == 1
    assert "another/text" in get(own, "/runs/other").text.replace("<wbr>", "")


def test_a_run_that_does_not_say_what_it_is_keeps_its_place(own):
    (own.run("twin") / "run.json").unlink()
    page = overview(OpenWorkspace(own))
    assert [bool(run.failure) for run in page.runs] == [False, True]
    assert "has no run" in page_of(own)
    assert TestClient(create_app(own), base_url="http://127.0.0.1").get("/runs/twin/features").status_code == 409


class Nothing(Config):
    """An artifact that is not told anything."""


def compare(workspace, run, **values):
    """Give a run a `diff` with these figures, beside one of a control."""
    inputs = {"dictionary": workspace.artifacts(run)["dictionary"].id}
    figures = [Figure(name=f"diff/{name}", value=value, n=7, definition="x") for name, value in values.items()]
    with stage(workspace.run(run) / "diff", "diff", Nothing(), inputs) as staging:
        Figures(figures=figures, controls={"random": figures[:1]}).write(staging.folder)
        staging.finish()


def test_figures_of_a_run_that_has_no_others_stand_on_its_page(own):
    shutil.copytree(own.run("twin"), own.run("crossed"))
    rewrite(own, "crossed", name="crossed", twin="none", twin_of=None)
    for name in ("evaluation", "explanations", "map"):
        shutil.rmtree(own.run("crossed") / name)
    compare(own, "crossed", shared_share=0.25, only_a_share=0.5)
    write_report(own)
    (group,) = run_page(OpenWorkspace(own), "crossed").groups
    assert group.name == "diff" and [figure.value for figure in group.figures] == [0.25, 0.5]
    assert list(run_page(OpenWorkspace(own), "crossed").controls) == ["random"]
    main = run_page(OpenWorkspace(own), "main")
    assert main.others == {} and main.notices == [], "a column without a value"
    assert "shared share" in get(own, "/runs/crossed").text and "shared share" not in get(own, "/runs/main").text


def test_fifty_runs_are_listed_with_their_figures_and_quickly(own):
    """By what is read, not by the clock: once read, a list of fifty opens no file again."""
    for number in range(48):
        # Links: fifty copies would take their time, and a page follows what it finds.
        folder = own.path / "runs" / f"run-{number:02d}"
        folder.mkdir()
        for part in own.run("main").iterdir():
            (folder / part.name).symlink_to(part)
        (folder / "run.json").unlink()
        rewrite_to(own, folder, number)
    opened = OpenWorkspace(own)
    page = overview(opened)
    assert len(page.runs) == 50 and page.shown is None and all(run.figures for run in page.runs)
    assert set(page.runs[0].figures) == {"loss recovered", "FVU", "L0", "dead", "rule: f1"} == set(page.columns)
    figure = page.runs[0].figures["loss recovered"]
    assert figure.value is not None and figure.null is not None
    read = []
    watched = lambda event, arguments: read.append(arguments[0]) if event == "open" else None
    sys.addaudithook(lambda event, arguments: watched(event, arguments))
    began = time.process_time()
    again = overview(opened)
    took, watched = time.process_time() - began, lambda event, arguments: None
    assert again == page and [path for path in read if str(own.path) in str(path)] == [] and took < 1


def rewrite_to(workspace, folder, number):
    """The card of `main` under another name."""
    values = json.loads((workspace.run("main") / "run.json").read_text())
    card = RunCard.parse(values["card"] | {"name": folder.name})
    workspace.keep(card, values["config"], folder)


def test_an_empty_workspace_says_how_to_begin_from_any_folder(tmp_path):
    empty = Workspace.create(tmp_path / "an empty one")
    assert f"sparselex demo {empty.typed}" in html.unescape(page_of(empty))


def test_runs_that_were_begun_are_not_told_to_be_started(own):
    """While its first stage is at work a workspace has nothing finished, and is not empty."""
    shutil.copytree(own.run("main"), own.run("begun"), ignore=shutil.ignore_patterns("[!r]*"))
    rewrite(own, "begun", name="begun")
    assert overview(OpenWorkspace(own)).begun == ["begun"]
    assert "Begun, with nothing finished yet: begun." in page_of(own)
    for page in ("", "/features", "/features/3"):
        assert "<h1>Not made yet</h1>" in get(own, f"/runs/begun{page}").text
    for run in ("main", "twin"):
        shutil.rmtree(own.run(run))
    text = page_of(own)
    assert "Begun, with nothing finished yet: begun." in text and "sparselex demo" not in text


def test_a_model_whose_path_is_no_utf8(own):
    rewrite(own, "main", model=os.fsdecode(b"/models/n\xff"))
    client = TestClient(create_app(own), base_url="http://127.0.0.1")
    for page in ("/", "/index.json", "/about/main.json"):
        shown = client.get(page)
        assert shown.status_code == 200 and "n\\udcff" in shown.text, page


def test_a_damaged_index_is_no_missing_page(own):
    (own.run("main") / "index" / "positions.npy").write_bytes(b"")
    found = TestClient(create_app(own), base_url="http://127.0.0.1").get("/runs/main/features/1")
    assert found.status_code == 409 and "damaged" in found.text and "cannot be shown" in found.text


def test_what_is_not_explained_yet_says_what_explains_it(own):
    own.database.unlink()
    latent = next(row["latent"] for row in get(own, "/runs/main/features.json").json()["rows"] if not row["flags"])
    assert f"sparselex explain {own.typed} --run main" in get(own, f"/runs/main/features/{latent}").text


def test_a_replaced_index_is_opened_again(own):
    client = TestClient(create_app(own), base_url="http://127.0.0.1")
    before = client.get("/runs/main/features/3.json").json()["provenance"]["index"]
    shutil.rmtree(own.run("main") / "index")
    shutil.copytree(own.run("twin") / "index", own.run("main") / "index")
    assert client.get("/runs/main/features/3.json").json()["provenance"]["index"] != before


def test_reading_changes_no_file(own):
    def state():
        return {
            path: path.read_bytes() for path in own.path.rglob("*") if path.is_file() and "sqlite-" not in path.name
        }

    before, client = state(), TestClient(create_app(own), base_url="http://127.0.0.1")
    for page in (
        "/",
        "/runs/main/features?q=def",
        "/runs/main/features/3",
        "/runs/main/features/random",
        "/about/main",
    ):
        assert client.get(page).status_code == 200
    assert state() == before


def test_activation_bars_keep_order_and_single_tokens():
    chart = charts.activations(Histogram(edges=[0.0, 1.0, 2.0, 3.0], counts=[0, 1, 1000]))
    heights = [bar.height for bar in chart.series[0].bars]
    assert heights[0] == 0 < heights[1] < heights[2] <= charts.BASE - charts.TOP
    assert [tick.label for tick in chart.y_ticks] == ["1", "10", "100", "1,000"]
    assert "1,000 tokens" in chart.series[0].bars[2].label


def test_densities_share_one_axis_and_count_the_dead():
    edges = [-2.0, -1.0, 0.0]
    chart = charts.densities(
        {
            "main": DensityHistogram(edges=edges, counts=[3, 1], n_dead=0),
            "twin": DensityHistogram(edges=[-4.0, -2.0, 0.0], counts=[0, 1], n_dead=3),
        }
    )
    main, twin = chart.series
    assert twin.note == "3 of 4 never active" and main.bars[0].height == pytest.approx(3 * main.bars[1].height, abs=0.1)
    assert twin.bars[1].height == pytest.approx(main.bars[1].height, abs=0.1) and twin.bars[1].x == main.bars[0].x
    assert [tick.label for tick in chart.x_ticks] == ["10⁻⁴", "10⁻³", "0.01", "0.1", "1"]


def test_densities_of_dead_dictionaries_are_drawn():
    chart = charts.densities({"main": DensityHistogram(edges=[-1.0, 0.0], counts=[0], n_dead=5)})
    assert chart.series[0].bars[0].height == 0


def test_dots_of_a_sweep_lie_in_their_box_and_the_best_are_joined():
    def row(name, l0, value, fronts):
        figures = [Figure(name=n, value=v, definition="") for n, v in (("core/l0", l0), ("core/fvu", value))]
        return SweepRow(name=name, hook="h", settings={}, seed=0, figures=figures, fronts=fronts)

    rows = [row("a", 10, 0.1, ["core/fvu"]), row("b", 100, 0.05, ["core/fvu"]), row("c", 1000, 0.3, [])]
    found = charts.sparsity_against(
        [*rows, SweepRow(name="d", hook="h", settings={}, seed=0, failure="nan")], "core/fvu"
    )
    a, b, c = found.points
    assert a.x < b.x < c.x and b.x - a.x == pytest.approx(c.x - b.x, abs=0.2) and c.y < a.y < b.y
    assert [point.on_front for point in found.points] == [True, True, False] and found.front.count("L") == 1
    assert all(charts.LEFT <= p.x <= charts.WIDTH and charts.TOP <= p.y <= charts.BASE for p in found.points)
    assert [tick.label for tick in found.x_ticks] == ["10", "20", "50", "100", "200", "500", "1,000"]
    assert [tick.label for tick in found.y_ticks] == ["0.1", "0.2", "0.3"] and a.label == "a: L0 10.0, 0.100"
    assert charts.sparsity_against(rows[:1], "core/fvu") is None
