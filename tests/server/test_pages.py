"""Pages: each is its JSON made visible, opened in a real browser in both themes."""

import importlib
import io
import pkgutil
import shutil

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from fastapi.testclient import TestClient

from sparselex.base.config import Config
from sparselex.base.figures import Failure
from sparselex.base.workspace import Workspace
from sparselex.explain.asking.registry import JUDGES
from sparselex.explain.registry import SCORERS
from sparselex.features.printing import visible
from sparselex.features.records import Example
from sparselex.features.tokens import TokenTexts
from sparselex.features.windows import Windows
from sparselex.recipes.run import Run
from sparselex.server import pages, rendering
from sparselex.server.app import create_app
from sparselex.server.navigation import Navigation
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages import feature as feature_page
from sparselex.server.pages import features as features_page
from sparselex.server.pages.about import about
from sparselex.server.pages.feature import feature
from sparselex.server.pages.features import features
from sparselex.server.pages.overview import overview
from sparselex.server.pages.parts import JudgementView, ScorerView
from sparselex.server.pages.scorers import ABOUT, verdict
from sparselex.server.pages.scorers import about as about_scorer

PAGES = ["/", "/runs/main/features", "/runs/main/features/{latent}", "/runs/twin/features/3", "/about/main"]


@pytest.fixture(scope="module")
def latent_with_markup(small_index) -> int:
    """A latent whose examples show the hostile document."""
    tokens = small_index.corpus.tokens
    script = [i for i in range(4096) if small_index.corpus.vocabulary.text(i) == "script"]
    for latent in range(small_index.d_sae):
        for example in small_index.record(latent).top:
            row, column = divmod(example.position, small_index.corpus.n_ctx)
            if script and script[0] in tokens[row, max(0, column - 20) : column + 8].tolist():
                return latent
    for latent in range(small_index.d_sae):
        for example in small_index.record(latent).top:
            row, column = divmod(example.position, small_index.corpus.n_ctx)
            shown = small_index.corpus.vocabulary.decode(tokens[row, max(1, column - 20) : column + 8].tolist())
            if "<script>" in shown:
                return latent
    raise AssertionError("no example shows the document with markup")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_in_a_real_browser(browser, address, latent_with_markup, page, scheme):
    tab = browser.new_page(color_scheme=scheme)
    complaints, hosts = [], set()
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: (complaints.append("a dialog opened"), dialog.dismiss()))
    tab.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    tab.goto(address + page.format(latent=latent_with_markup))
    assert complaints == [] and hosts == {address.removeprefix("http://")}
    assert tab.locator("h1").count() == 1
    assert tab.locator("main script, main img").count() == 0
    if "{latent}" in page:
        assert "<script>" in tab.locator("#examples").inner_text().replace("·", " ")
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) > 380) == (scheme == "light")
    tab.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_heat_never_hides_the_text(browser, address, scheme):
    """Contrast of text on every level of heat: at least 4.5 to 1 in both themes."""
    tab = browser.new_page(color_scheme=scheme)
    tab.goto(address + "/runs/main/features/0")
    contrasts = tab.evaluate("""() => {
        const canvas = document.createElement("canvas"), paint = canvas.getContext("2d", { willReadFrequently: true });
        const pixel = (...layers) => {
            for (const layer of layers) { paint.fillStyle = layer; paint.fillRect(0, 0, 1, 1); }
            return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }; const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055)
        ** 2.4)) .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const paper = getComputedStyle(document.body).backgroundColor;
        return Array.from({ length: 10 }, (_, i) => {
            const span = document.body.appendChild(document.createElement("span"));
            span.className = `t h${i + 1}`;
            const style = getComputedStyle(span);
            const [a, b] = [light(pixel(paper, style.backgroundColor)), light(pixel(style.color))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        });
    }""")
    assert min(contrasts) >= 4.5, contrasts
    tab.close()


@pytest.mark.slow
def test_the_theme_button_and_the_keys(browser, address):
    tab = browser.new_page(color_scheme="light")
    tab.goto(address + "/runs/main/features/5")
    tab.click("#theme")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    tab.keyboard.press("j")
    tab.wait_for_url("**/features/6")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    tab.keyboard.press("k")
    tab.wait_for_url("**/features/5")
    tab.goto(address + "/runs/main/features")
    tab.keyboard.press("/")
    tab.keyboard.type("jrk")
    assert tab.locator("#search").input_value() == "jrk"
    for page in ("/runs/main/features/5", "/about/main"):
        tab.goto(address + page)
        tab.keyboard.press("/")
        tab.wait_for_url("**/runs/main/features#search")
        tab.wait_for_function("document.activeElement.id === 'search'")
    tab.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_link_among_quiet_words_is_seen_to_be_one(browser, address, scheme):
    tab = browser.new_page(color_scheme=scheme)
    tab.goto(address + "/runs/main/features?q=return")
    line = "element => getComputedStyle(element).textDecorationLine"
    assert tab.get_by_text("Show all").evaluate(line) == "underline"
    assert {tab.locator(".words a").nth(n).evaluate(line) for n in range(3)} == {"none"}
    tab.close()


@pytest.mark.slow
def test_active_tokens_by_keyboard(browser, address, latent_with_markup):
    """Focus shows a token's details and marks its example on the histogram; arrows go on to the next."""
    tab = browser.new_page()
    tab.goto(f"{address}/runs/main/features/{latent_with_markup}")
    assert not tab.locator("#marker").is_visible()
    tab.locator(".t.peak").first.focus()
    shown = tab.evaluate("getComputedStyle(document.activeElement, '::after').content")
    assert "token" in shown and tab.locator("#marker").get_attribute("visibility") == "visible"
    first = tab.evaluate("[...document.querySelectorAll('.t')].indexOf(document.activeElement)")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("[...document.querySelectorAll('.t')].indexOf(document.activeElement)") == first + 1
    tab.close()


@pytest.mark.slow
def test_arrows_go_past_what_is_folded_away_and_through_a_text_that_opened(browser, address, small_index):
    latent = int(small_index.table["n_active"].argmax())
    tab = browser.new_page()
    tab.goto(f"{address}/runs/main/features/{latent}")
    opened = tab.locator(".evidence ol.examples > li").nth(1)
    opened.locator("a.whole-text").click()
    tab.wait_for_selector(".evidence li.opened")
    seen = tab.locator(".t").all()
    visible = [place for place, token in enumerate(seen) if token.is_visible()]
    assert len(visible) < len(seen)
    seen[visible[0]].focus()
    gone_to = []
    for _ in visible[1:]:
        tab.keyboard.press("ArrowRight")
        gone_to.append(tab.evaluate("[...document.querySelectorAll('.t')].indexOf(document.activeElement)"))
    assert gone_to == visible[1:]
    tab.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 400])
@pytest.mark.parametrize("page", PAGES)
def test_a_narrow_window_needs_no_sideways_scrolling(browser, address, latent_with_markup, page, width):
    """With all that can be opened open: a table that is wider scrolls in a box of its own."""
    tab = browser.new_page(viewport={"width": width, "height": 700})
    tab.goto(address + page.format(latent=latent_with_markup))
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    boxes = tab.locator("table").evaluate_all(
        "all => all.map(one => [one.offsetWidth, one.parentElement.clientWidth, "
        "getComputedStyle(one.parentElement).overflowX])"
    )
    assert all(box <= width and (table <= box or overflow == "auto") for table, box, overflow in boxes), boxes
    assert page != "/" or any(table > width for table, *_ in boxes), "one of them is wider than the window"
    tab.close()


@pytest.mark.parametrize(
    ("address", "made"),
    [
        ("/index.json", overview),
        ("/runs/main/features.json", lambda opened: features(opened, "main")),
        (
            "/runs/main/features.json?q=return&sort=density&order=asc",
            lambda opened: features(opened, "main", q="return", sort="density", order="asc"),
        ),
        ("/runs/main/features/7.json", lambda opened: feature(opened, "main", 7)),
        ("/about/twin.json", lambda opened: about(opened, "twin")),
    ],
)
def test_the_json_is_the_context_and_the_page_links_to_it(client, workspace, address, made):
    found = client.get(address)
    assert found.status_code == 200 and found.json() == made(OpenWorkspace(workspace)).to_json()
    page = "/" if address == "/index.json" else address.replace(".json", "")
    assert f'href="{address.replace("&", "&amp;")}"' in client.get(page).text


def test_the_page_shows_what_its_json_says(client):
    page, text = client.get("/runs/main/features/7.json").json(), client.get("/runs/main/features/7").text
    assert (
        f"{page['n_tokens']:,}" in text and f"/runs/main/features/{page['relations']['decoder'][0]['latent']}" in text
    )
    assert all(example["document"] in text for found in page["examples"] for example in found["examples"])
    assert all(value in text.replace("<wbr>", "") for value in page["provenance"].values())
    explained = [one for one in page["explanations"] if one["status"] == "explained"]
    for scorer in [scorer for one in explained for scorer in one["scorers"]]:
        assert {score["metric"] for score in scorer["scores"]} == set(scorer["definitions"])
        assert all(words in text for words in scorer["definitions"].values())


@pytest.mark.parametrize(
    ("scorer", "kind", "said", "word"),
    [
        ("surprisal", "active", 0.51, "right"),
        ("surprisal", "silent", 0.51, "wrong"),
        ("embedding", "token", 0.4, "right"),
        ("intruder", "silent", 1.0, "named"),  # it is silent, and rightly told from the others
        ("intruder", "silent", 0.0, "missed"),
        ("intervention", "active", 0.7, "likelier"),
        ("intervention", "active", 0.2, "not likelier"),
        ("simulation", "active", 0.9, ""),
        ("exact", "", 0.9, ""),
        ("detection", "active", None, ""),
        ("of another package", "silent", 0.2, "right"),
    ],
)
def test_what_a_number_comes_to_differs_by_scorer(scorer, kind, said, word):
    assert verdict(about_scorer(scorer, asks=True).reads, kind, said) == word


def test_every_scorer_is_told_of():
    """Each of ours by its own words, and by whose windows it judges."""
    assert ABOUT.keys() >= {*JUDGES.names(), *SCORERS.names(), "people"}
    assert len({one.how for one in ABOUT.values()}) == len(ABOUT)
    assert {name for name, one in ABOUT.items() if not one.said} == {"exact", "people", "generation", "logits"}


def test_measures_that_scorers_share_are_told_once(workspace):
    opened = OpenWorkspace(workspace)
    row = next(row for row in features(opened, "main").rows if row.explanations)
    page = feature(opened, "main", row.latent)
    own = page.explanations[0]
    scores = [own.scorers[0].scores[0].model_copy(update={"metric": name}) for name in ("recall", "auroc")]
    words = {"recall": "share of these", "auroc": "chance of that"}
    several = [
        ScorerView(scorer=n, scores=scores, definitions=words, judgements=[]) for n in ("detection", "surprisal")
    ]
    changed = own.model_copy(update={"scorers": several})
    text = drawn(page.model_copy(update={"explanations": [changed]}), feature_page.PAGE, opened)
    told = text.split("What these scores measure")[1].split("</details>")[0]
    assert told.count("share of these") == 1 and told.index("<dt>recall") < told.index("<dt>AUROC")
    assert "Its measures as above." in told.split("<h3>surprisal</h3>")[1]


@pytest.mark.parametrize(
    ("kind", "expected", "said", "words"),
    [
        ("active", 5.931, 0.83, "✓ active, up to 5.93: said 0.830, right"),
        ("silent", 0, 1, "✗ silent: said 1.00, wrong"),
        ("token", 0, 0, "✓ silent, but holds a token of its own: said 0, right"),
        ("neighbour", 0, None, "silent, but a near latent is active: said nothing that could be read"),
        ("wrong", 0, 0.2, "✓ wrong tokens marked, 0 on them: said 0.200, right"),
        ("of another package", 1, 0.2, "of another package: said 0.200"),
    ],
)
def test_a_window_is_shown_as_the_judge_read_it(workspace, kind, expected, said, words):
    """And not as the text around its largest activation, with heat on it that the judge never saw."""
    opened = OpenWorkspace(workspace)
    row = next(row for row in features(opened, "main").rows if row.explanations)
    page = feature(opened, "main", row.latent)
    own, text = page.explanations[0], "what <<was>> read\n&so"
    judged = JudgementView(
        example=page.examples[0].examples[0],
        expected=expected,
        said=said,
        kind=kind,
        text=text,
        verdict=verdict("fits", kind, said),
    )
    scorer = own.scorers[0].model_copy(
        update={"scorer": "fuzzing", "judgements": [judged], "said": ABOUT["fuzzing"].said}
    )
    drawn_page = drawn(
        page.model_copy(update={"explanations": [own.model_copy(update={"scorers": [scorer]})]}),
        feature_page.PAGE,
        opened,
    )
    card = drawn_page.split("Held-out windows judged by fuzzing (1)")[1].split("</details>")[0]
    assert f"<b>{words}</b>" in card and "what &lt;&lt;was&gt;&gt; read↵&amp;so" in card
    assert "expected" not in card and "from 0 (does not fit) to 1 (fits)" in card


def test_several_explanations_stand_beside_each_other(workspace):
    """One card for each explainer with what its scorers found; in the list the others beneath the first."""
    opened = OpenWorkspace(workspace)
    row = next(row for row in features(opened, "main").rows if row.explanations)
    page = feature(opened, "main", row.latent)
    own = page.explanations[0]
    score = own.scorers[0].scores[0].model_copy(update={"metric": "balanced_accuracy"})
    judged = JudgementView(example=page.examples[0].examples[0], expected=2.0, said=0.5)
    scorer = ScorerView(scorer="detection", scores=[score], definitions={}, judgements=[judged])
    unscored = [Failure(subject="detection of latent 3", reason="the server was busy")]
    said = {"explainer": "llm", "title": "some <words>", "scorers": [scorer, *own.scorers], "failures": unscored}
    llm = own.model_copy(update=said)
    failed = own.model_copy(update={"explainer": "small", "status": "failed", "text": "no JSON", "scorers": []})
    text = drawn(page.model_copy(update={"explanations": [own, llm, failed]}), feature_page.PAGE, opened)
    cards = text.split('<section class="card explanation"')[1:]
    assert len(cards) == 3 and "some &lt;words&gt;" in cards[1] and "balanced accuracy" in cards[1]
    assert "Held-out examples judged by detection (1)" in cards[1] and "expected 2.00, said 0.500" in cards[1]
    assert (
        "the server was busy" in cards[1]
        and "detection" not in cards[0]
        and "Failed, therefore not scored.</b> no JSON" in cards[2]
    )

    other = row.explanations[0].model_copy(update={"explainer": "llm", "title": "words"})
    listed = features(opened, "main")
    shown = [row.model_copy(update={"explanations": [*row.explanations, other]})]
    text = drawn(listed.model_copy(update={"rows": shown}), features_page.PAGE, opened)
    assert '<span class="other">llm: words</span>' in text and "rule, exact: F1 (null)" in text


def test_a_silent_token_that_was_judged_is_marked(small_index):
    """Explanations are judged on silent tokens too: these get no heat, and stand apart from the text around them."""
    latent = int(small_index.table["n_active"].argmax())
    windows = Windows(small_index, latent, TokenTexts(small_index.corpus.vocabulary))
    active, n_ctx = set(windows.positions.tolist()), small_index.corpus.n_ctx
    silent = next(position for position in range(2 * n_ctx + 8, 3 * n_ctx) if position not in active)
    view = windows.view(Example(position=silent, value=0.0))
    (marked,) = [span for span in view.spans if span.peak]
    assert (marked.value, marked.level) == (0.0, 0) and marked.text and marked.detail.startswith("0")
    assert "".join(span.text for span in view.spans).count(marked.text) >= 1 and len(view.spans) > 1


def drawn(record, page, opened) -> str:
    """A record as its page."""
    place = rendering.Place(page.path)
    return rendering.Rendering(Navigation([], opened)).show(record, page.template, place).body.decode()


def test_effects_stand_on_the_page_and_in_the_list(workspace, small_index, tmp_path):
    """Of the latents that were measured; of an index that is gone nothing is shown."""
    copy = Workspace(shutil.copytree(workspace.path, tmp_path / "w"))
    run = Run.open(copy)
    run.do("effects", latents=8, n_rows=24, controls=(), n_silent=2)
    client = TestClient(create_app(copy), base_url="http://127.0.0.1")
    rows = client.get("/runs/main/features.json", params={"sort": "effect"}).json()["rows"]
    measured = [row for row in rows if row["effect"] is not None]
    assert len(measured) == 8 and rows[:8] == measured and all(row["used"] in (True, False) for row in measured)
    assert [row["effect"] for row in measured] == sorted((row["effect"] for row in measured), reverse=True)
    page = client.get(f"/runs/main/features/{measured[0]['latent']}.json").json()["effects"]
    assert page["summary"]["effect"] == measured[0]["effect"] and page["shown"]
    for place in page["shown"]:
        assert place["example"]["document"] and place["kl"] >= 0 and len(place["changed"]) == 5
    html = client.get(f"/runs/main/features/{measured[0]['latent']}").text
    assert "Which next tokens change" in html and "where it is silent, added" in html
    unmeasured = next(row["latent"] for row in rows if row["effect"] is None)
    assert "sparselex effects" in client.get(f"/runs/main/features/{unmeasured}").text
    assert client.get(f"/runs/twin/features/{unmeasured}.json").json()["effects"] is None
    run.do("index", n_top=3, replace=True)
    assert client.get("/runs/main/features.json").json()["has_effects"] is False


def test_a_place_shows_all_the_text_around_it(client, small_index):
    """All of the row that is of the document, and the whole document, token by token as the corpus has them."""
    latent = int(small_index.table["n_active"].argmax())
    corpus = small_index.corpus
    position = small_index.record(latent).top[0].position
    row, column = divmod(position, corpus.n_ctx)
    owner = corpus.documents[row, column]
    for whole, mask in (("row", corpus.documents[row] == owner), ("document", corpus.documents[:] == owner)):
        tokens = (corpus.tokens[row] if whole == "row" else corpus.tokens[:])[mask].tolist()
        page = client.get(f"/runs/main/features/{latent}/at/{position}.json", params={"whole": whole}).json()
        active = dict(zip(*(column.tolist() for column in small_index.column(latent)), strict=True))
        positions = np.flatnonzero((corpus.documents[:] == owner).reshape(-1))
        inside = (positions if whole == "document" else positions[positions // corpus.n_ctx == row]).tolist()
        assert len(inside) == len(tokens)
        assert "".join(span["text"] for span in page["example"]["spans"]).count("\ufffd") == 0
        assert len([p for p in inside if p in active]) >= page["n_active"] > 0
        assert sum(span["peak"] for span in page["example"]["spans"]) == 1
        assert page["example"]["value"] == pytest.approx(active[position])
        cut = page["example"]["cut_before"] or page["example"]["cut_after"]
        assert cut == (whole == "row" and bool((np.delete(corpus.documents[:], row, 0) == owner).any()))
    html = client.get(f"/runs/main/features/{latent}").text
    assert f'href="/runs/main/features/{latent}/at/{position}"' in html
    assert client.get(f"/runs/main/features/{latent}/at/{10**9}").status_code == 404
    assert client.get(f"/runs/main/features/{10**6}/at/3").status_code == 404
    for one in ("-1", f"0{position}", f"+{position}", "1_0", "x", "9" * 5000):  # a place has one address
        assert client.get(f"/runs/main/features/{latent}/at/{one}").status_code == 404
    assert client.get(f"/runs/main/features/{latent}.json", params={"seed": 2**32 - 1}).json()["next_seed"] == 0


@pytest.mark.slow
def test_text_opens_in_place_digits_are_shown_and_bars_lead_to_their_range(browser, address, small_index):
    latent = int(small_index.table["n_active"].argmax())
    page = browser.new_page()
    page.goto(f"{address}/runs/main/features/{latent}")
    link = page.locator(".evidence a.whole-text").first
    before = page.locator(".evidence .tokens").first.inner_text()
    link.click()
    page.wait_for_selector(".evidence li.opened")
    assert len(page.locator(".evidence .tokens").first.inner_text()) >= len(before)
    page.keyboard.press("q")
    assert page.locator("#digits").get_attribute("aria-pressed") == "true"
    digit = page.evaluate("getComputedStyle(document.querySelector('.evidence .peak'), '::before').content")
    assert digit.strip('"') in list("0123456789")
    page.reload()
    assert page.locator("#digits").get_attribute("aria-pressed") == "true"
    page.locator("#histogram a").last.click()
    page.wait_for_url("**show=range&low=*")
    assert page.locator("#examples li[data-value]").count()
    page.close()


def all_rows(client, **options) -> list[dict]:
    """Every row of the list, page by page as a reader goes through it."""
    page = client.get("/runs/main/features.json", params=options).json()
    found = list(page["rows"])
    while page["next"]:
        page = client.get("/runs/main/features.json", params=options | {"after": page["next"]}).json()
        found += page["rows"]
    return found


def test_conditions_narrow_the_list(client, small_index):
    """Each against the whole list, record by record; what is no condition is looked for as it stands."""

    def get(q, **options):
        return all_rows(client, q=q, **options)

    score = lambda row: (row["explanations"] or [{"headlines": []}])[0]["headlines"]
    every = get("", sort="latent", order="asc")
    assert len(every) == small_index.d_sae
    for q, holds in {
        "density<0.01": lambda row: row["density"] < 0.01,
        "max>=2.5 density>0.001": lambda row: abs(row["max"]) >= 2.5 and row["density"] > 0.001,
        "score>0.5": lambda row: bool(score(row)) and score(row)[0]["value"] > 0.5,
        "effect>0": lambda row: False,  # not measured here
        "latent<=17": lambda row: row["latent"] <= 17,
        "is:dead": lambda row: "dead" in row["flags"],
        "not:dead is:single-token": lambda row: "dead" not in row["flags"] and "single-token" in row["flags"],
        "is:explained": lambda row: bool(row["explanations"]) and row["explanations"][0]["status"] == "explained",
    }.items():
        found = get(q, sort="latent", order="asc")
        assert [row["latent"] for row in found] == [row["latent"] for row in every if holds(row)], q
    words = {row["latent"] for row in get("return")}
    assert words
    assert {row["latent"] for row in get("return density<0.01")} == {
        row["latent"] for row in every if row["latent"] in words and row["density"] < 0.01
    }
    assert get("x<3") == get("x<3 ") and get("nonsense<3") == []


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_list_as_a_file_is_the_list(client, form):
    options = {"q": "density<0.05 not:dead", "sort": "max", "order": "asc"}
    answer = client.get("/runs/main/features/download", params=options | {"form": form})
    assert answer.status_code == 200 and f"main-features.{form}" in answer.headers["content-disposition"]
    read = {"csv": pyarrow.csv.read_csv, "parquet": pyarrow.parquet.read_table}[form]
    rows = read(io.BytesIO(answer.content)).to_pylist()
    texts = [value for row in rows for value in row.values() if isinstance(value, str)]
    assert form == "parquet" or not any(text[:1] in {"=", "+", "-", "@"} for text in texts)
    first = client.get("/runs/main/features.json", params=options).json()
    assert len(rows) == first["n_found"] > len(first["rows"])
    for row, shown in zip(rows, first["rows"], strict=False):
        assert row["latent"] == shown["latent"] and row["density"] == pytest.approx(shown["density"])
        said = shown["explanations"][0] if shown["explanations"] else None
        assert (row["explanation"] or None) == (said and said["title"])
        heads = said["headlines"] if said else []
        assert row["score"] == (pytest.approx(heads[0]["value"]) if heads else None)
        assert row["single_token"] == ("single-token" in shown["flags"]) and row["used"] is None
    assert client.get("/runs/main/features/download", params={"form": "exe"}).status_code == 400
    assert client.get("/runs/nobody/features/download").status_code == 404


def test_a_feature_of_one_token_is_said_to_be(client, small_index):
    tokens, flagged = np.asarray(small_index.corpus.tokens).reshape(-1), 0
    for latent in range(0, small_index.d_sae, 5):
        there = tokens[small_index.column(latent)[0]]
        most = np.bincount(there).max() if len(there) else 0
        flags = [flag["name"] for flag in client.get(f"/runs/main/features/{latent}.json").json()["flags"]]
        assert ("single-token" in flags) == (len(there) >= 5 and most >= 0.9 * len(there))
        flagged += "single-token" in flags
    assert flagged


def test_search_sort_and_pages(client, small_index):
    def get(**options):
        return client.get("/runs/main/features.json", params=options).json()

    by_density = [row["density"] for row in get(sort="density")["rows"]]
    assert by_density == sorted(by_density, reverse=True)
    assert [row["latent"] for row in get(sort="latent", order="asc", after="49.0,49")["rows"]] == list(range(50, 100))
    assert [row["latent"] for row in get(q="17")["rows"]] == [17]
    for order in ("asc", "desc"):
        first = [row["explanations"][:1] for row in all_rows(client, sort="score", order=order)]
        heads = [one[0]["headlines"][:1] if one else [] for one in first]
        scores = [found[0]["value"] if found else None for found in heads]
        known = [score for score in scores if score is not None]
        assert scores == sorted(known, reverse=order == "desc") + [None] * (len(scores) - len(known))
        assert len(scores) == small_index.d_sae and 0 < len(known) < len(scores)
    assert get(q="no such words anywhere")["n_found"] == 0
    found = get(q="return")
    assert 0 < found["n_found"] < small_index.d_sae
    assert get(q='"; DROP TABLE explanation; --')["n_found"] == 0


@pytest.mark.parametrize(
    "page",
    [
        "/nowhere",
        "/runs/none/features",
        "/runs/main/features/999999",
        "/runs/main/features/-1",
        "/runs/main/features/x",
        "/runs/..%2f..%2fetc/features",
        "/runs/%2e%2e/features/1",
        "/static/../app.py",
        "/runs/main/features/007",
        "/runs/main/features/\u0663",
        "/runs/main/features/1.json.json",
        "/runs/none",
        "/static/%2e%2e/app.py",
        "/about/none",
    ],
)
def test_nonsense_ends_in_a_plain_sentence(client, page):
    found = client.get(page)
    assert found.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert found.status_code == 404 and "Traceback" not in found.text and "There is no such page" in found.text


def test_impossible_options_are_refused_in_words(client):
    for option in ("mode=guess", "columns=nonsense", "sort=nonsense", "order=up"):
        found = client.get(f"/runs/main/features?{option}")
        assert found.status_code == 400 and "impossible" in found.text and option.partition("=")[0] in found.text
    assert client.get("/runs/main/features", params={"q": "x" * 2001}).status_code == 400
    assert client.get("/runs/main/features", params={"q": "\x00\ud7ff'"}).status_code == 200
    assert client.post("/").status_code == 405


def test_errors_have_a_json_form(client):
    found = client.get("/runs/main/features/999999.json")
    said = rendering.ErrorPage.model_validate(found.json())
    assert found.status_code == said.status == 404 and said.message.startswith("There is no latent")


def test_nothing_may_be_loaded_from_elsewhere(client):
    assert client.get("/").headers["Content-Security-Policy"].startswith("default-src 'self'")


def test_dead_features_show_no_histogram(client, small_index):
    dead = [i for i in range(small_index.d_sae) if small_index.table["n_active"][i] == 0]
    assert dead, "the small run has no dead latent to test with"
    for latent in dead[:1]:
        text = client.get(f"/runs/main/features/{latent}").text
        assert "nothing to draw" in text and "<svg" not in text


def test_a_random_feature_has_a_json_form(client):
    page = client.get("/runs/main/features/random", follow_redirects=False).headers["location"]
    record = client.get("/runs/main/features/random.json", follow_redirects=False).headers["location"]
    assert page.removeprefix("/runs/main/features/").isdecimal() and record.endswith(".json")
    assert client.get("/runs/main/features/random.json").json()["latent"] >= 0


def test_every_field_of_every_page_is_documented():
    modules = [
        importlib.import_module(f"{pages.__name__}.{found.name}") for found in pkgutil.iter_modules(pages.__path__)
    ]
    records = [value for module in [rendering, *modules] for value in vars(module).values() if is_record(value)]
    assert len(records) > 10
    for record in records:
        for name, field in record.model_fields.items():
            assert field.description, f"{record.__name__}.{name}"


def is_record(value) -> bool:
    return isinstance(value, type) and issubclass(value, Config)


def test_whitespace_is_visible_where_it_is_active():
    assert visible("  \t", active=True) == "··→" and visible("a b\n", active=True) == "a·b↵"
    assert visible("  ", active=False) == "  "
