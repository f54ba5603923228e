"""Concepts and the features that carry them: the pages, and what stands on the page of a feature."""

import re
import shutil
from html import unescape

import pytest
from fastapi.testclient import TestClient

from sparselex.atlas.proxies.records import FOUND_FILE, ConceptFound, Interval
from sparselex.base.formats import fixed
from sparselex.base.workspace import Workspace
from sparselex.recipes.finding import find
from sparselex.recipes.run import Run
from sparselex.recipes.stages.proxies import proxies_of
from sparselex.server.app import create_app
from sparselex.server.charts import BASE, TOP
from sparselex.server.proxy_charts import by_mass, by_tokens
from tests.server.conftest import SOUGHT

SELF = "Tokens of the name self"


@pytest.fixture(scope="module")
def found(workspace):
    return proxies_of(Run.open(workspace, "main"))


def shown(client, address):
    page = unescape(client.get(address).text)
    return page, re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_all_concepts_stand_with_their_controls(client, found):
    page, words = shown(client, "/runs/main/proxies")
    assert {one.name for one in found.concepts} == {"self", "function-names", "numbers"}
    assert found.left_out.keys() == {"camel-case"} and "camel-case: 0 training and 0 test tokens" in words
    for one in found.concepts:
        assert f"/runs/main/proxies/{one.name}" in page and f"/runs/main/features/{one.carriers[0].latent}" in page
        for carrier in (one.carriers[0], one.neuron, one.twins["twin"]):
            assert fixed(carrier.sensitivity, 2) in words
    assert "returned" in words  # what a person has looked for
    assert len(found.sampled) == 2 and "2 features drawn at random" in words
    for one in found.sampled:
        assert f"Where latent {one.carrier.latent} is most active" in words


def test_case_studies_show_both_histograms_as_tables_too(client, found):
    page, words = shown(client, "/runs/main/proxies")
    n = len(found.concepts)
    assert page.count('class="chart stacked"') == 2 * n and words.count("As a table") == n
    for one in found.concepts:
        drawn = sum(1 for interval in one.intervals for n in interval.counts if n)
        charts = by_tokens(one), by_mass(one)
        assert all(sum(1 for bar in chart.bars for piece in bar.pieces if piece.height) == drawn for chart in charts)


def test_bars_are_divided_by_shares():
    intervals = [Interval(low=0, high=1, counts=[30, 10], masses=[9.0, 3.0])]
    intervals.append(Interval(low=1, high=2, counts=[0, 4], masses=[0.0, 6.0]))
    one = ConceptFound.model_construct(intervals=intervals)
    first, second = by_mass(one).bars
    inside, outside = first.pieces
    assert (inside.kind, outside.kind) == (1, 0) and inside.y + inside.height == BASE and outside.y == TOP
    assert outside.height == pytest.approx(3 * inside.height, abs=0.05)
    assert second.pieces[0].height == pytest.approx((BASE - TOP) / 2, abs=0.05)
    assert "40 tokens, 25.0 % inside" in by_tokens(one).bars[0].label


@pytest.mark.parametrize("name", ["self", "returned"])
def test_one_concept_has_a_page_of_its_own(client, workspace, name):
    page, words = shown(client, f"/runs/main/proxies/{name}")
    record = client.get(f"/runs/main/proxies/{name}.json").json()["concept"]
    one = ConceptFound.parse(record["found"])
    for figure in one.figures:
        assert figure.definition in page
    assert all(f"/features/{carrier.latent}" in page for carrier in one.carriers)
    assert one.neuron_words in words and "for the concept moved" in words
    assert len(record["strongest"]) == len(one.strongest) > 0
    for view, place in zip(record["strongest"], one.strongest, strict=True):
        peak = next(span for span in view["spans"] if span["peak"])
        assert view["value"] == pytest.approx(place.value) and peak["value"] == pytest.approx(place.value)


def test_a_feature_says_what_it_carries(client, found):
    best = found.concepts[0].carriers[0].latent
    page, words = shown(client, f"/runs/main/features/{best}")
    assert "Concepts that it carries" in words and f"/runs/main/proxies/{found.concepts[0].name}" in page
    named = {c.latent for one in found.concepts for c in (*one.carriers, *one.siblings)}
    own = client.get("/runs/main/proxies/returned.json").json()["concept"]["found"]
    named |= {c["latent"] for c in (*own["carriers"], *own["siblings"])}
    other = next(latent for latent in range(300) if latent not in named)
    assert "Concepts that it carries" not in shown(client, f"/runs/main/features/{other}")[1]


def test_what_was_not_looked_for_says_how(client):
    answer = client.get("/runs/twin/proxies")
    assert answer.status_code == 404 and "sparselex analyse proxies" in answer.text
    answer = client.get("/runs/main/proxies/nothing")
    assert answer.status_code == 404 and "sparselex find" in answer.text


def test_of_another_index_nothing_is_shown(small_workspace, tmp_path):
    shutil.copytree(small_workspace.path, tmp_path / "w")
    copy = Workspace(tmp_path / "w")
    find(copy, words=("self",), **SOUGHT | {"neuron_rows": 0})
    client = TestClient(create_app(copy), base_url="http://127.0.0.1")
    assert "The shipped concepts were not looked for" in shown(client, "/runs/main/proxies")[1]
    assert client.get("/runs/main/proxies/self").status_code == 200
    Run.open(copy, "main").do("index", n_top=3, replace=True)
    assert client.get("/runs/main/proxies/self").status_code == 404
    assert client.get("/runs/main/proxies").status_code == 404
    assert (copy.run("main") / "found" / "self" / FOUND_FILE).exists()
