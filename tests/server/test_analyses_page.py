"""The list of analyses, and the page of the census."""

from html import unescape

import pytest

from sparselex.atlas.analyses import ANALYSES
from sparselex.atlas.census.records import FILE, KIND, Census
from sparselex.atlas.neurons.records import KIND as NEURONS
from sparselex.atlas.neurons.records import NeuronRows
from sparselex.base.artifacts import record_of
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.formats import number
from sparselex.recipes.analysing import analyse


def test_the_list_has_every_analysis_with_its_figures_or_its_command(client, workspace):
    record = client.get("/runs/main/analyses.json").json()
    assert [row["name"] for row in record["rows"]] == list(ANALYSES)
    page = unescape(client.get("/runs/main/analyses").text)
    for row in record["rows"]:
        assert row["question"] in page
        if row["made"]:
            assert f'href="/runs/main/{row["name"]}"' in page
            assert row["figures"] == Figures.read(workspace.run("main") / row["name"]).to_json()["figures"]
        else:
            assert row["command"] in page
    assert "sparselex analyse census" in client.get("/runs/twin/analyses").text
    assert client.get("/runs/twin/census").status_code == 404


def test_the_census_is_shown_as_it_was_taken(client, workspace):
    found = record_of(Census, workspace.run("main") / KIND, FILE)
    page = unescape(client.get("/runs/main/census").text)
    assert found.found in page
    for figure in found.figures:
        assert figure.failure or number(figure.value, 3) in page
    assert page.count("<circle") == len(found.points) * len(found.coordinates) > 0
    groups = client.get("/runs/main/census.json").json()["groups"]
    assert sum(group["n"] for group in groups) == found.groups["ultralow"] + found.groups["rest"]


def test_neurons_are_on_their_page_and_on_that_of_each_feature(client, workspace):
    rows = NeuronRows.read(workspace.run("main") / NEURONS)
    page = unescape(client.get("/runs/main/neurons").text)
    assert all(f"/runs/main/features/{one.latent}" in page for one in (*rows.found.most, *rows.found.least))
    shown = client.get("/runs/main/features/3.json").json()["coefficients"]
    assert shown["latent"] == rows.of(3).to_json() and shown["width"] == rows.found.width
    assert "coefficients of its direction" in client.get("/runs/main/features/3").text
    assert client.get("/runs/twin/features/3.json").json()["coefficients"] is None


def test_what_is_done_is_not_done_again_and_unknown_names_are_refused(workspace):
    before = (workspace.run("main") / KIND / "manifest.json").stat().st_mtime_ns
    said = []
    found = analyse(workspace, only=("census",), say=said.append)
    assert list(found.lines) == ["census"] and not found.left_out
    assert (workspace.run("main") / KIND / "manifest.json").stat().st_mtime_ns == before
    assert not any("..." in line for line in said)
    with pytest.raises(UserError, match="did you mean census"):
        analyse(workspace, only=("cenus",))
