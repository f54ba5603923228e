"""The page of the examples: bars that are as long as figures say, and the same as JSON."""

import re

import pytest
from fastapi.testclient import TestClient

from sparselex.evaluate.doomed.found import doomed_of
from sparselex.evaluate.doomed.records import CHANCE_95
from sparselex.server.app import create_app
from sparselex.server.doomed_charts import bars_of
from sparselex.server.task_charts import Axis


def test_bars_are_where_the_figures_are(workspace):
    (example,) = doomed_of(workspace.path).examples
    chart = bars_of(example, "cosine")
    axis = Axis(0.0, 1.0, 230.0, 510.0)
    assert len(chart.rows) == len(example.rows)
    for bar, row in zip(chart.rows, example.rows, strict=True):
        figure = row.figures["cosine"]
        assert bar.x + bar.width == pytest.approx(axis(figure.value), abs=0.11) and bar.name == row.called
        assert bar.null == axis(figure.controls[CHANCE_95])


def test_the_page_says_what_its_record_says(workspace, client):
    page, record = client.get("/doomed").text, client.get("/doomed.json").json()
    (example,) = record["found"]["examples"]
    assert record["found"] == doomed_of(workspace.path).to_json()
    text = " ".join(re.sub("<[^>]+>", "", page).split())
    assert "1 run of each example" in text and text.count("no intervals: 1 run, 5 needed") == 1
    assert "A first look" in text and "--n-steps 10 instead of 800" in text
    facts = page.partition("<dl>")[2].partition("</dl>")[0]
    assert "interval" not in facts and "share of the units" in facts
    assert "share that is read" in text and "read share" not in text
    assert example["title"] in text and example["verdict"][:60].replace("'", "&#39;") in text
    assert page.count("<rect") >= len(example["rows"]) and 'href="/doomed"' in client.get("/").text


def test_before_it_is_made_its_command_is_named(small_workspace):
    client = TestClient(create_app(small_workspace), base_url="http://127.0.0.1")
    answer = client.get("/doomed")
    assert (
        answer.status_code == 404
        and "sparselex recipe doomed" in answer.text
        and 'href="/doomed"' not in client.get("/").text
    )


@pytest.mark.slow
def test_in_a_browser_labels_of_bars_can_be_read(browser, address):
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(address + "/doomed")
    label = tab.locator(".bars text.y").first
    height = label.evaluate("one => parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().d")
    assert height >= 11
    ends = tab.locator(".bars text.y").evaluate_all("all => all.map(one => one.getBBox().x)")
    assert min(ends) >= 0
    tab.close()
