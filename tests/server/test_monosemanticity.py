"""The page of a reproduction, and its report as one file."""

import re
from collections import Counter

import pytest
from fastapi.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.evaluate.monosemanticity.claims import CLAIMS
from sparselex.server.app import create_app
from sparselex.server.replication import Report


@pytest.fixture(scope="module")
def report(workspace) -> str:
    return Report(workspace, "http://example.test:9/").text()


def test_the_page_says_what_its_record_says(workspace, client):
    page, record = client.get("/monosemanticity").text, client.get("/monosemanticity.json").json()
    assert [one["name"] for one in record["claims"]] == [one.name for one in CLAIMS]
    loss = record["claims"][0]["rows"][0]
    evaluated = {one.name: one for one in Figures.read(workspace.run("main") / "evaluation").figures}
    assert loss["figure"] == evaluated[loss["figure"]["name"]].to_json() and loss["paper"] == "0.79"
    assert "A first look" in page and "main: map" in page and 'href="/monosemanticity"' in client.get("/").text
    assert all(client.get(f"/runs/{one}").status_code in (200, 404) for one in record["claims"][0]["pages"])


def test_before_it_is_made_its_command_is_named(small_workspace):
    client = TestClient(create_app(small_workspace), base_url="http://127.0.0.1")
    answer = client.get("/monosemanticity")
    assert answer.status_code == 404 and "sparselex recipe monosemanticity" in answer.text
    with pytest.raises(UserError, match="not reproduced"):
        Report(small_workspace).text()


def test_the_report_needs_nothing_and_leads_into_the_browser(report):
    assert not re.search(r"<(script|form|button|link|img|iframe)\b", report)
    addresses = re.findall(r'(?:href|src)="([^"]*)"', report)
    assert all(one.startswith(("#", "http://example.test:9/")) for one in addresses)
    names = Counter(re.findall(r'\sid="([^"]+)"', report))
    assert [name for name, n in names.items() if n > 1] == []
    assert {one[1:] for one in addresses if one.startswith("#")} <= set(names)
    assert {name for one in re.findall(r'aria-labelledby="([^"]+)"', report) for name in one.split()} <= set(names)
    assert report.count("<h1") == 1


def test_the_report_has_pages_of_analyses_and_features_picked_beside_drawn(report, client):
    for page in ("census", "neurons", "proxies", "universality", "splitting", "automata", "pinned"):
        assert f'href="http://example.test:9/runs/main/{page}"' in report
    assert report.count("<svg") > 10
    picked, drawn = report.partition(">Picked</h3>")[2].split(">Drawn at random</h3>")
    latents = lambda part: set(re.findall(r'id="feature-(\d+)"', part))
    assert len(latents(picked)) == len(latents(drawn)) > 0 and not latents(picked) & latents(drawn)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_it_loads_nothing_and_says_nothing(browser, report, tmp_path, scheme):
    path = tmp_path / "report.html"
    path.write_text(report, encoding="utf-8")
    tab, asked, said = browser.new_page(color_scheme=scheme), list[str](), list[str]()
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(path.as_uri())
    assert asked == [path.as_uri()] and said == []
    tab.set_viewport_size({"width": 400, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    tab.close()
