"""Features of several dimensions: the verb in a workspace, and the page that shows what it found."""

import re
from html import unescape

import pytest

from sparselex.base.formats import number
from sparselex.evaluate.manifolds.records import Plane
from sparselex.recipes.run import Run
from sparselex.server.pages.manifolds import BOX, REACH, ManifoldsPage
from tests.server.conftest import FEW


@pytest.fixture(scope="module")
def looked(workspace):
    """A workspace in which they were looked for, and what was found."""
    return workspace, Run.open(workspace, "main").do("manifolds", **FEW)


def test_what_was_found_is_on_the_page_with_links_to_its_latents(client, looked):
    found = looked[1]
    assert found.groups, "the small dictionary has near rows"
    page = unescape(client.get("/runs/main/manifolds").text)
    shown = re.sub(r"<[^>]+>", " ", page)
    for group in found.groups:
        assert f"{group.best.score:.3f}".replace("-", "−") in shown
        assert all(f"/runs/main/features/{latent}" in page for latent in group.latents[:8])
    for figure in found.figures:
        assert figure.failure or (number(figure.value, 3) in shown and figure.definition.split(";")[0] in shown)
    assert page.count("<circle") == sum(
        len(plane.points) for group in found.groups for plane in (group.best, group.random) if plane
    )


def test_the_record_has_everything(client, looked):
    record = client.get("/runs/main/manifolds.json").json()
    assert [one["best"]["score"] for one in record["found"]["groups"]] == [one.best.score for one in looked[1].groups]
    assert len(record["pictures"]) == min(2, len(looked[1].groups))


def test_done_again_nothing_is_made_anew(looked):
    workspace, found = looked
    manifest = workspace.run("main") / "manifolds" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    assert Run.open(workspace, "main").do("manifolds", **FEW) == found and manifest.stat().st_mtime_ns == before


def test_a_run_in_which_nobody_looked_says_how(client):
    answer = client.get("/runs/twin/manifolds")
    assert answer.status_code == 404 and "sparselex manifolds" in answer.text
    assert "/runs/twin/manifolds" not in client.get("/runs/twin").text
    assert "/runs/main/manifolds" in client.get("/runs/main").text


def test_points_lie_where_their_numbers_say():
    points = [(0, 0), (REACH, -REACH), (99, 1)]
    plane = Plane(components=(1, 2), mixture=0.1, separability=0.5, score=0.45, points=points)
    dots = ManifoldsPage.dots(None, plane)
    assert dots[0] == (BOX / 2, BOX / 2) and dots[1] == (BOX, BOX) and dots[2].x == BOX and dots[2].y < BOX / 2
