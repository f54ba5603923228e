"""The page of a pair: every figure with its null and its controls, and where there is none yet."""

import re
from html import unescape

from sparselex.base.formats import number
from sparselex.evaluate.pairs.records import pair_card


def test_the_page_says_what_its_record_says(workspace, client):
    found = pair_card(workspace, "main-jacobian")
    text = re.sub(r"<[^>]+>", " ", unescape(client.get("/pairs/main-jacobian").text))
    for figure in found.figures:
        assert number(figure.value, 3) in text and figure.definition in text
        assert all(number(value) in text for value in figure.controls.values())
    assert all(arm.words in text for arm in found.arms)
    page = client.get("/pairs/main-jacobian.json").json()
    assert page["found"] == found.to_json() and len(page["own"]) == 3 and len(page["differences"]) == 2


def test_it_is_reached_from_the_runs_and_leads_to_those_that_are_there(client):
    for address in ("/", "/runs/main", "/runs/twin"):
        assert 'href="/pairs/main-jacobian"' in client.get(address).text
    page = client.get("/pairs/main-jacobian").text
    assert 'href="/runs/main"' in page and 'href="/runs/gone-main-jacobian"' not in page


def test_what_was_not_trained_together_says_how(client):
    answer = client.get("/pairs/nobody")
    assert answer.status_code == 404 and "sparselex pair" in answer.text
