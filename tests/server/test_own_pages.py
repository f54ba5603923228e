"""Pages that other packages bring: in the browser, as JSON and among the links, without a change in ours."""

import dataclasses
import re
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.server.answering import PAGES
from sparselex.server.app import create_app
from sparselex.server.page import Page

DOCUMENTED = Path(__file__).parents[2] / "docs" / "browser.md"
BEST = '''
from pathlib import Path

from sparselex.server.page import Page, PageRecord


class BestPage(PageRecord):
    run: str
    """Name of the run."""

    latents: list[int]
    """The densest latents."""


def best(opened, run: str, n: int = 2) -> BestPage:
    density = opened.index(run).index.table["density"]
    return BestPage(title=f"Best of {run}", run=run, latents=(-density).argsort()[:n].tolist())


TEMPLATE = Path(__file__).with_name("best.html")
PAGE = Page(
    path="/runs/{run}/features/best", build=best, template=TEMPLATE, label="Best & densest", needs=("index",)
)
'''
TEMPLATE = """{% extends "base.html" %}
{% block main %}
<h1>{{ page.title }}</h1>
<p class="best">{{ page.latents | join(", ") }}</p>
{% endblock %}
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package of one module with one page on the path, as pip would leave it."""
    monkeypatch.syspath_prepend(tmp_path)

    def installed(module: str, text: str, entry: str) -> Path:
        monkeypatch.delitem(sys.modules, module, raising=False)
        (tmp_path / f"{module}.py").write_text(text)
        metadata = tmp_path / f"{module}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[sparselex.page]\n{entry}\n")
        return tmp_path

    yield installed
    for module in ("on_disk", "best", "mixed"):
        sys.modules.pop(module, None)


@pytest.fixture
def documented(install) -> None:
    """The page of the docs: one of the workspace, without a template."""
    text = DOCUMENTED.read_text(encoding="utf-8")
    (module,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "PAGE = " in block]
    (entry,) = re.findall(r'\[project.entry-points."sparselex.page"\]\n(.*)\n', text)
    install("on_disk", module, entry.replace('"', ""))


def test_a_page_of_the_workspace_without_a_template(documented, workspace):
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1")
    record, page = client.get("/disk.json").json(), client.get("/disk").text
    kinds = {(one["run"], one["kind"]) for one in record["artifacts"]}
    assert record["title"] == "On disk" and ("main", "index") in kinds and ("twin", "dictionary") in kinds
    assert all(f"{one['n_bytes']:,}" in page and f">{one['kind']}<" in page for one in record["artifacts"])
    assert "Artifacts of all runs, the largest first." in page and 'title="Kind of artifact."' in page
    assert 'href="/disk.json"' in page and '<a href="/disk" aria-current="page">Disk</a>' in page
    few = client.get("/disk.json", params={"at_least": 100_000}).json()["artifacts"]
    assert 0 < len(few) < len(record["artifacts"])
    assert client.get("/disk?at_least=much").status_code == 400


MIXED = """
from sparselex.base.config import Config
from sparselex.server.page import Page, PageRecord


class Part(Config):
    name: str
    share: float | None


class Other(Config):
    mean: float


class MixedPage(PageRecord):
    nothing: None = None
    empty: list[str] = []
    done: bool = True
    whole: int = 12345
    size: float = 0.25
    words: list[str] = ["<one>", "two"]
    numbers: dict[str, int] = {"train": 1000}
    one: Part = Part(name="p", share=None)
    mixed: list[Part | Other] = [Part(name="q", share=0.5), Other(mean=0.125)]
    nested: dict[str, list[Part]] = {"main": [Part(name="r", share=0.75)]}


def mixed(opened) -> MixedPage:
    return MixedPage(title="Mixed")


PAGE = Page(path="/mixed", build=mixed)
"""


def test_any_record_is_shown(install, workspace):
    install("mixed", MIXED, "mixed = mixed:PAGE")
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1")
    page = client.get("/mixed")
    assert page.status_code == 200 and client.get("/mixed.json").json()["whole"] == 12345
    for shown in ("yes", "12,345", "0.2500", "&lt;one&gt;", "1,000", '<td class="">0.7500</td>', "0.1250", "0.5000"):
        assert shown in page.text, shown
    assert page.text.count('<span class="none">–</span>') == 3
    assert "/mixed" not in client.get("/").text


def test_the_links_stand_on_every_page(documented, workspace):
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1")
    for page in ("/", "/runs/main/features", "/runs/main/features/3", "/about/twin", "/nowhere"):
        assert '<a href="/disk">Disk</a>' in client.get(page).text, page


def test_a_page_of_a_run_with_a_template_beside_its_module(install, workspace):
    install("best", BEST, "best = best:PAGE").joinpath("best.html").write_text(TEMPLATE)
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1")
    record, page = client.get("/runs/twin/features/best.json?n=3").json(), client.get("/runs/twin/features/best")
    assert record["title"] == "Best of twin" and len(record["latents"]) == 3
    assert page.status_code == 200 and '<p class="best">' in page.text and 'href="/static/style.css"' in page.text
    assert '<a href="/runs/twin/features/best" aria-current="page">Best &amp; densest</a>' in page.text
    assert "/runs/main/features/best" in client.get("/").text, "the card of the run has no link to it"
    assert client.get("/runs/none/features/best").status_code == 404
    assert (
        client.get("/runs/main/features/3").status_code == 200 == client.get("/runs/main/features/random").status_code
    )


def test_a_page_that_needs_an_artifact_is_linked_only_where_it_is(install, workspace, tmp_path):
    text = BEST.replace('("index",)', '("circuits",)')
    install("best", text, "best = best:PAGE").joinpath("best.html").write_text(TEMPLATE)
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1")
    assert "/features/best" not in client.get("/").text + client.get("/runs/main/features").text


def test_a_page_that_cannot_be_loaded_is_named(install, workspace):
    install("best", BEST, "best = best:PAGE")
    with pytest.raises(UserError, match="best") as caught:
        create_app(workspace)
    assert "best.html" in caught.value.given and "uninstall" in caught.value.todo


def test_every_page_and_every_field_of_a_page_stands_in_the_docs():
    text = DOCUMENTED.read_text(encoding="utf-8")
    for name in [*(page.path for _, page in PAGES.items()), *(field.name for field in dataclasses.fields(Page))]:
        assert f"| `{name}` |" in text, name


@pytest.mark.parametrize(("path", "label"), [("disk", ""), ("/runs/{run}/{latent}/disk", "Disk"), ("/{name}", "Name")])
def test_a_page_that_nothing_can_lead_to_is_refused(path, label):
    with pytest.raises(UserError, match="label"):
        Page(path=path, build=lambda opened: None, label=label)
