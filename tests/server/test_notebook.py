"""Records in notebooks: they show themselves, load nothing, style nothing else, and text is never markup."""

import json
import re
from pathlib import Path

import pytest

import sparselex
from examples.execute import outputs
from sparselex.base.errors import UserError
from sparselex.evaluate.report import report
from sparselex.recipes.prompt_records import Active, TextLatents, TokenLatents
from sparselex.recipes.run import Run
from sparselex.server.notebook import classes_of, scoped

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))
OUTSIDE = "<p id='outside' class='quiet card'>outside</p><code id='code'>x</code>"


def text_latents() -> TextLatents:
    """Latents of a text that is markup."""
    token = {"position": 0, "token": 1, "text": "<script>alert(1)</script>", "n_active": 3, "counted": True}
    quiet = {"position": 1, "token": 2, "text": "&lt;", "n_active": 0, "counted": False}
    return TextLatents(
        tokens=[
            TokenLatents(latents=[Active(latent=17, activation=2.5)], **token),
            TokenLatents(latents=[], **quiet),
        ]
    )


@pytest.fixture(scope="module")
def shown(workspace) -> dict[str, str]:
    """Everything that shows itself, as HTML."""
    run = Run.open(workspace)
    alive = int(run.index.table["n_active"].argmax())
    return {
        "feature": sparselex.feature(workspace, alive, run="main")._repr_html_(),
        "record": run.index.record(alive)._repr_html_(),
        "text": text_latents()._repr_html_(),
        "report": report(workspace)._repr_html_(),
        "dictionary": run.dictionary._repr_html_(),
    }


def test_they_say_what_they_are(shown):
    assert "Largest activations" in shown["feature"] and "Drawn at random" in shown["feature"]
    assert "Tokens by size of activation" in shown["record"] and "validation" in shown["record"]
    assert "17: 2.5" in shown["text"] and "left out, as in training" in shown["text"]
    assert "core/fvu" in shown["report"] and "95 % interval" in shown["report"]
    assert "256 latents" in shown["dictionary"] and "d_sae" in shown["dictionary"]


def test_they_load_nothing_and_style_nothing_else(browser, shown, tmp_path):
    """In a real browser, in both themes: no request, no script, no complaint, and what stands beside them is as it
    would be without."""
    page = browser.new_page(viewport={"width": 900, "height": 800})
    page.set_content(OUTSIDE)
    looks = "() => ['outside', 'code'].map(id => { const s = getComputedStyle(document.getElementById(id)); "
    looks += "return [s.color, s.font, s.background, s.padding, s.margin].join() })"
    before = page.evaluate(looks)
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for name, html in shown.items():
            page.set_content(OUTSIDE + html)
            assert page.evaluate(looks) == before, name
            assert page.locator("script, link, img, iframe, form").count() == 0
            block = page.locator("[class^=sparselex-]").first
            background = block.evaluate("one => getComputedStyle(one).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 600) == (scheme == "light"), name
    assert asked == [] and complaints == []
    page.close()


def test_the_run_is_found_where_only_one_can_be_meant(workspace, small_workspace):
    found = sparselex.feature(small_workspace.path, 3)
    assert found.page.run.name == "main" and found.page.latent == 3 and "feature 3 of main" in repr(found)
    with pytest.raises(UserError, match="There is no latent 100000"):
        sparselex.feature(workspace, 100_000)
    with pytest.raises(UserError, match="nobody"):
        sparselex.feature(workspace, 1, run="nobody")


def test_styles_are_scoped():
    css = "/* x */ :root { --a: 1; } :root[data-theme='dark'] { --a: 2; } body, .a > b { color: red; } .gone { x: y; }"
    css += "@media (max-width: 9px) { .a { y: z; } html { q: r; } } p:is(.a, .b) { s: t; }"
    found = scoped(css, ".s", {"a", "s"})
    assert found == (".s { --a: 1; }\n.s, .s .a > b { color: red; }\n@media (max-width: 9px) { .s .a { y: z; } }")
    assert classes_of('<p class="a b"><i class="c">') == {"a", "b", "c"}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_example_notebooks_run(path, tmp_path, monkeypatch):
    """Cell by cell; each shows the kinds of things that it has in the file, which is small."""
    monkeypatch.chdir(tmp_path)
    code = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for number, cell in enumerate(code, 1):
        found = outputs("".join(cell["source"]), names, number)
        assert [one.get("data", {}).keys() for one in found] == [one.get("data", {}).keys() for one in cell["outputs"]]
    assert any("text/html" in one.get("data", {}) for one in code[-1]["outputs"])
    assert path.stat().st_size < 300_000


def test_there_is_an_example():
    assert NOTEBOOKS
