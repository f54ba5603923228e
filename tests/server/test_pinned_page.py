"""Pinned sampling: the page that shows what was measured."""

from html import unescape

from sparselex.recipes.run import Run
from tests.server.conftest import HELD


def test_figures_and_texts_are_on_the_page(client, workspace):
    found = Run.open(workspace, "main").do("analyse pinned", **HELD)
    page = unescape(client.get("/runs/main/pinned").text)
    for one in found.latents:
        assert f"/runs/main/features/{one.latent}" in page
        assert all(text.text.strip() in page for text in (one.plain, one.pinned, one.beside))
    assert all(figure.definition.split(";")[0] in page for figure in found.figures)
    assert client.get("/runs/main/pinned.json").json()["found"]["prompt"] == found.prompt


def test_a_run_in_which_nothing_was_held_says_how(client):
    answer = client.get("/runs/twin/pinned")
    assert answer.status_code == 404 and "sparselex analyse pinned" in answer.text
