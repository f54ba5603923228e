"""Automata: the verb in a workspace, the pages that show what it found, and the panel of a feature."""

import json
import re
from html import unescape

import pytest

from sparselex.recipes.run import Run
from sparselex.server.automata_picture import HEIGHT, WIDTH, picture
from tests.server.conftest import LEADS


@pytest.fixture(scope="module")
def looked(workspace):
    """A workspace in which they were looked for, and what was found."""
    return workspace, Run.open(workspace, "main").do("analyse automata", **LEADS)


def test_all_that_was_found_is_on_the_page(client, looked):
    found = looked[1]
    several = [one for one in found.automata if len(one.states) > 1]
    assert several and len(several) < len(found.automata), "circles, and latents that lead to themselves"
    page = unescape(client.get("/runs/main/automata").text)
    for one in found.automata:
        assert f"/runs/main/automata/{one.number}" in page and f"{one.strength:.2f}" in page
        assert all(f"/runs/main/features/{latent}" in page for latent in one.latents)
    assert page.count('<svg class="automaton"') == min(4, len(several))
    for figure in found.figures:
        assert figure.definition.split(";")[0] in page
    record = client.get("/runs/main/automata.json").json()
    assert len(record["automata"]) == len(several) and record["n_leads"] == found.n_leads


def test_an_automaton_has_its_picture_and_the_same_as_a_table(client, looked):
    found = looked[1]
    one = found.automata[0]
    page = unescape(client.get("/runs/main/automata/0").text)
    assert page.count('class="arrow"') == len(one.arrows) and page.count("<rect ") == len(one.states)
    for arrow in one.arrows:
        assert f"{arrow.lead.source} leads to {arrow.lead.target} with weight {arrow.lead.test:.2f}" in page
        assert re.search(rf'<td class="value">{arrow.lead.test:.2f}</td><td>{arrow.lead.train:.2f}</td>', page)
    assert "serve --live" in page and "how=pin" not in page
    missing = client.get(f"/runs/main/automata/{len(found.automata)}")
    assert missing.status_code == 404 and "no automaton" in missing.text


def test_a_feature_says_what_it_is_a_state_of(client, looked):
    found = looked[1]
    one = found.automata[0]
    latent, others = one.latents[0], one.latents[1:]
    view = client.get(f"/runs/main/features/{latent}.json").json()["automata"]
    assert {"number": 0, "others": others} in view["state_of"]
    own = [lead for lead in found.leads if lead.source == latent]
    assert [lead["latent"] for lead in view["to"]] == [lead.target for lead in own[:5]]
    assert '/runs/main/automata/0">automaton 0</a>' in client.get(f"/runs/main/features/{latent}").text


def test_a_run_in_which_nobody_looked_says_how(client):
    answer = client.get("/runs/twin/automata")
    assert answer.status_code == 404 and "sparselex analyse automata" in answer.text
    assert client.get("/runs/twin/features/3.json").json()["automata"] is None
    assert 'id="automata"' not in client.get("/runs/twin/features/3").text


def test_done_again_nothing_is_made_anew_and_the_report_has_the_figures(looked):
    workspace, found = looked
    manifest = workspace.run("main") / "automata" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    assert Run.open(workspace, "main").do("analyse automata", **LEADS) == found
    assert manifest.stat().st_mtime_ns == before
    names = {one["name"] for one in json.loads(workspace.report_of("main").read_text())["figures"]}
    assert {"automata/leads", "automata/automata", "automata/self_loops", "automata/beyond_token"} <= names


@pytest.mark.parametrize("n", [1, 2, 3, 8, 16])
def test_a_picture_holds_all_states_side_by_side(n):
    arrows = [(number, (number * 3 + 1) % n, 0.5 + number) for number in range(n)] + [(0, 0, 1.0)]
    found = picture(n, arrows)
    assert len(found.boxes) == n and len(found.arrows) == len(arrows)
    assert all(box.x >= 0 and box.x + box.width <= WIDTH for box in found.boxes)
    assert all(box.y >= 0 and box.y + box.height <= HEIGHT for box in found.boxes)
    assert len({(box.x, box.y) for box in found.boxes}) == n
    assert max(arrow.width for arrow in found.arrows) == 4.0


def test_states_that_follow_each_other_stand_beside_each_other():
    found = picture(4, [(0, 2, 1.0), (2, 1, 1.0), (1, 3, 1.0), (3, 0, 1.0)])
    middles = [found.boxes[state].middle for state in (0, 2, 1, 3)]
    steps = [
        (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2
        for one, other in zip(middles, [*middles[1:], middles[0]], strict=True)
    ]
    assert max(steps) == pytest.approx(min(steps), rel=0.01), "a circle is drawn as one"
