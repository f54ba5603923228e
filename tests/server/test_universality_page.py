"""Universality: the verb in a workspace, its page, and what a feature's page says of other models."""

import re
from html import unescape

import numpy as np
import pytest

from sparselex.atlas.universality.records import Universal
from sparselex.base.errors import UserError
from sparselex.base.formats import number
from sparselex.base.workspace import Workspace
from sparselex.recipes.run import Run
from sparselex.server.correlations import correlation_chart, edges_from, scatter, shares


@pytest.fixture(scope="module")
def found(workspace) -> Universal:
    """What was measured of the small run beside its twin."""
    return Universal(workspace.run("main") / "universality")


def test_every_figure_is_on_the_page_beside_chance_and_the_papers(client, found):
    page = unescape(client.get("/runs/main/universality").text)
    shown = re.sub(r"<[^>]+>", " ", page)
    for figure in found.found.others[0].figures:
        assert figure.failure or (number(figure.value, 3) in shown and figure.definition.split(";")[0] in shown)
        assert figure.failure or figure.null is None or number(figure.null) in shown
    assert "0.72" in shown and "0.46" in shown
    assert page.count("<svg") >= 2 and "random weights" not in shown.split("Latents and their matches")[1]


def test_the_table_has_the_matches_in_order(client, found):
    table = found.latents("twin")
    rows = client.get("/runs/main/universality.json?order=most").json()["rows"]
    r = [row["r"] for row in rows]
    assert r == sorted(r, reverse=True) and r[0] == pytest.approx(np.nanmax(table["r"]))
    for row in rows:
        assert row["other"]["latent"] == table["match"][row["own"]["latent"]]
    least = client.get("/runs/main/universality.json?order=least").json()["rows"]
    assert least[0]["r"] == pytest.approx(np.nanmin(table["r"]))


def test_a_pair_is_shown_with_its_activations_on_the_same_tokens(client, workspace, found):
    latent = int(np.nanargmax(found.latents("twin")["r"]))
    record = client.get(f"/runs/main/universality.json?latent={latent}").json()["pair"]
    main, twin = (Run.open(workspace, run).index for run in ("main", "twin"))
    own, other = main.split_column(latent, "test"), twin.split_column(record["row"]["other"]["latent"], "test")
    assert record["n_either"] == len(np.union1d(own[0], other[0]))
    assert record["n_both"] == len(np.intersect1d(own[0], other[0]))
    assert record["left"]["examples"] and record["right"]["run"] == "twin"
    assert 'id="pair"' in client.get(f"/runs/main/universality?latent={latent}").text


def test_a_features_page_says_where_it_is_there_again(client, found):
    table = found.latents("twin")
    latent = int(np.nanargmax(table["r"]))
    (said,) = client.get(f"/runs/main/features/{latent}.json").json()["in_others"]
    assert said["match"]["latent"] == table["match"][latent] and said["r"] == pytest.approx(float(table["r"][latent]))
    assert "In other models" in client.get(f"/runs/main/features/{latent}").text
    rare = np.flatnonzero(np.isnan(table["r"]))
    assert not len(rare) or client.get(f"/runs/main/features/{rare[0]}.json").json()["in_others"] == []


def test_what_is_not_there_says_how(client):
    answer = client.get("/runs/twin/universality")
    assert answer.status_code == 404 and "sparselex analyse universality" in unescape(answer.text)
    assert client.get("/runs/main/universality?other=nobody").status_code == 404
    assert client.get("/runs/main/universality?latent=999999").status_code == 404


def test_without_another_run_it_says_what_is_missing(small_workspace):
    run = Run.open(Workspace(small_workspace.path), "main")
    with pytest.raises(UserError, match="embedded-b"):
        run.do("analyse universality")
    with pytest.raises(UserError, match="name another by --others"):
        run.do("analyse universality", others=("main",))


def test_done_again_nothing_is_made_anew(workspace, found):
    manifest = workspace.run("main") / "universality" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    again = Run.open(workspace, "main").do("analyse universality")
    assert again == found.found and manifest.stat().st_mtime_ns == before


def test_shares_and_marks_lie_where_their_numbers_say():
    edges = edges_from(0.0)
    assert shares([0.0, 0.01, 0.99, 1.0], edges) == [0.5, *[0.0] * 22, 0.5] and sum(shares([], edges)) == 0
    chart = correlation_chart({"features": ("", shares([0.01], edges))}, 0.0)
    assert chart.series[0].bars[0].height == max(bar.height for bar in chart.series[0].bars) > 0
    cut = correlation_chart({"features": ("", [0.1, 0.2]), "chance": ("", [0.0, 1.0])}, 0.0, cut="chance")
    assert cut.series[0].bars[1].height == cut.series[1].bars[1].height, "chance ends at the top"
    plot = scatter([("one", 0.0, 1.0), ("two", 1.0, 0.0)], [("null", 0.5, -0.1)])
    assert plot.found[0].x < plot.null[0].x < plot.found[1].x and plot.found[0].y < plot.found[1].y < plot.null[0].y
    assert scatter([], []) is None
