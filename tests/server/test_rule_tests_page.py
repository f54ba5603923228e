"""What rules were held against: the pages of logits and of intervals, and the part of a feature's page."""

from html import unescape

from sparselex.base.formats import number
from sparselex.recipes.run import Run
from tests.server.conftest import ANSWERED, SAMPLED


def test_logits_are_shown_with_controls_and_the_papers_figures(client, workspace):
    found = Run.open(workspace, "main").do("analyse logits", **ANSWERED)
    page = unescape(client.get("/runs/main/logits").text)
    for figure in found.figures:
        assert figure.failure or number(figure.value, 3) in page
        assert figure.definition.split(";")[0] in page
    assert "twin" in page and "0.74 for features" in page
    record = client.get("/runs/main/logits.json").json()
    names = [series[0] for series in record["picture"][0]]
    assert names[0] == "main" and names[-1] == "twin" and len(names) == 3
    assert sum(row[1][0] for row in record["table"]) == len(found.latents)


def test_intervals_are_shown_as_curves_and_tables(client, workspace):
    found = Run.open(workspace, "main").do("analyse intervals", **SAMPLED)
    page = unescape(client.get("/runs/main/intervals").text)
    for figure in found.figures:
        assert figure.failure or number(figure.value, 3) in page
    points = sum(point.mean is not None for one in found.populations for point in one.curve)
    points += sum(point.null_mean is not None for point in found.populations[0].curve)
    assert page.count('<circle class="point"') == points > 0
    record = client.get("/runs/main/intervals.json").json()
    assert sum(row[1][0] for row in record["table"]) == len(found.latents)


def test_a_feature_that_was_looked_at_has_its_part(client, workspace):
    main = Run.open(workspace, "main")
    answered, sampled = main.do("analyse logits", **ANSWERED), main.do("analyse intervals", **SAMPLED)
    there = sorted({one.latent for one in answered.latents} & {one.latent for one in sampled.latents})
    page = unescape(client.get(f"/runs/main/features/{there[0]}").text)
    assert "Its rule, tested" in page and 'href="/runs/main/intervals"' in page and 'href="/runs/main/logits"' in page
    shown = client.get(f"/runs/main/features/{there[0]}.json").json()["rule_tests"]
    assert shown["sampled"] == next(one for one in sampled.latents if one.latent == there[0]).to_json()
    without = set(range(main.index.d_sae)) - {one.latent for one in [*answered.latents, *sampled.latents]}
    page = client.get(f"/runs/main/features/{min(without)}").text
    assert "Its rule, tested" not in page


def test_a_run_in_which_it_was_not_done_says_how(client):
    for name in ("logits", "intervals"):
        answer = client.get(f"/runs/twin/{name}")
        assert answer.status_code == 404 and f"sparselex analyse {name}" in answer.text
