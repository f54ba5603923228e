"""Pages of the live model: each shows what the library gives, in a real browser in both themes and by keyboard."""

import csv
import io
from urllib.parse import quote, urlencode

import numpy as np
import pytest

from sparselex.recipes.run import Run
from sparselex.server.grid import By, by_similarity, cells, level, matrix, overall
from sparselex.server.live_records import TextFound

TEXT = 'def function_1(self, value):\n    return "<script>alert(1)</script> {{ 7 * 7 }} \x1b[31m سلام 🤷🏽‍♀️"'
ASKED = quote(TEXT.replace("\n", "\r\n"))  # as a form sends it


@pytest.fixture(scope="module")
def run(workspace):
    return Run.open(workspace)


@pytest.fixture(scope="module")
def told(run):
    """Every active latent of the text, from the library."""
    return run.latents(TEXT, 10_000).tokens


@pytest.fixture(scope="module")
def strongest(told) -> int:
    return max((one for token in told for one in token.latents), key=lambda one: one.activation).latent


@pytest.mark.slow
def test_the_text_page_tells_what_the_library_tells(live, told, run):
    page = live.get(f"/runs/main/text.json?t={ASKED}&k=3&n=7&dense=1&bos=1").json()
    assert page["text"] == TEXT and [token["token"] for token in page["tokens"]] == [token.token for token in told]
    for mine, its in zip(page["tokens"], told, strict=True):
        assert mine["counted"] == its.counted and mine["n_active"] == its.n_active
        assert [one["activation"] for one in mine["top"]] == pytest.approx([o.activation for o in its.latents[:3]])
    every = [(one.latent, one.activation) for token in told for one in token.latents]
    best = sorted({latent for latent, _ in every}, key=lambda one: (-max(v for n, v in every if n == one), one))
    assert [row["latent"] for row in page["rows"]] == best[:7]
    for row in page["rows"]:
        values = [sum(one.activation for one in token.latents if one.latent == row["latent"]) for token in told]
        assert row["activations"] == pytest.approx(values) and row["max"] == pytest.approx(max(values))
        assert row["n_tokens"] == np.count_nonzero(values)
        assert row["mean"] == pytest.approx(sum(values) / sum(token.counted for token in told))
        assert row["largest"] == pytest.approx(float(run.index.table["max"][row["latent"]]))
    assert page["n_latents"] == len(best)


@pytest.mark.slow
def test_rows_are_sorted_and_chosen_and_nothing_is_computed_again(live):
    first = live.get(f"/runs/main/text.json?t={ASKED}&n=12").json()
    assert first["tokens"][0]["position"] == 1, "BOS is left out"
    dense = live.get(f"/runs/main/text.json?t={ASKED}&n=100&dense=1").json()
    assert first["n_dense"] == dense["n_dense"] >= sum("dense" in row["flags"] for row in dense["rows"]) > 0
    assert not any("dense" in row["flags"] for row in first["rows"])
    token = first["tokens"][4]
    by_token = live.get(f"/runs/main/text.json?t={ASKED}&n=12&order=token&token={token['position']}").json()
    column = [row["activations"][4] for row in by_token["rows"]]
    assert column == sorted(column, reverse=True) and by_token["live"]["seconds"] == first["live"]["seconds"]
    alike = live.get(f"/runs/main/text.json?t={ASKED}&n=12&order=similarity").json()
    assert {row["latent"] for row in alike["rows"]} == {row["latent"] for row in first["rows"]}
    chosen = live.get(f"/runs/main/text.json?t={ASKED}&rows=3,%2017,1").json()
    assert [row["latent"] for row in chosen["rows"]] == [3, 17, 1]
    by = live.get(f"/runs/main/text.json?t={ASKED}&by=tokens&dense=1").json()["rows"]
    assert [row["n_tokens"] for row in by] == sorted((row["n_tokens"] for row in by), reverse=True)


@pytest.mark.slow
def test_the_text_as_a_file(live, told):
    answer = live.get(f"/runs/main/text/download?t={ASKED}")
    assert answer.headers["content-disposition"] == 'attachment; filename="main-text.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    its = {(token.position, one.latent): one.activation for token in told for one in token.latents}
    assert {(int(row["position"]), int(row["latent"])) for row in rows} == set(its)
    assert all(float(row["activation"]) == pytest.approx(its[int(row["position"]), int(row["latent"])]) for row in rows)
    assert "No text was given" in live.get("/runs/main/text/download").text


@pytest.mark.slow
def test_one_feature_on_a_text(live, told, strongest, run):
    page = live.get(f"/runs/main/features/{strongest}/try.json?prompt={ASKED}").json()["tried"]
    values = [sum(one.activation for one in token.latents if one.latent == strongest) for token in told]
    assert page["example"]["value"] == pytest.approx(max(values)) and page["n_active"] == np.count_nonzero(values)
    assert page["example"]["position"] == int(np.argmax(values))
    column = np.abs(run.index.column(strongest)[1])
    assert page["share_below"] == pytest.approx(float((column <= np.float32(max(values))).mean()), abs=1e-6)
    silent = live.get(f"/runs/main/features/{strongest}/try.json?t=x").json()["tried"]
    assert silent["n_active"] == 0 or silent["share_below"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("to", ["zero", "mean"])
def test_ablation_is_the_library_s(live, strongest, run, to):
    page = live.get(f"/runs/main/features/{strongest}/without.json?prompt={ASKED}&to={to}").json()
    its = run.prompts.ablated(TEXT, strongest, to=to).tokens[1:]
    assert [one["kl"] for one in page["tokens"]] == pytest.approx([one.kl for one in its], abs=1e-5)
    assert [one["loss"] or 0 for one in page["tokens"]] == pytest.approx([one.loss or 0 for one in its], abs=1e-4)
    assert page["tokens"][page["most"][0]]["kl"] == max(one["kl"] for one in page["tokens"])
    shown = "".join(span["text"] for span in page["example"]["spans"])
    assert "".join(one["text"] for one in page["tokens"]) == shown.replace(
        "·", " "
    )  # blanks are seen where it is active


@pytest.mark.slow
def test_ablation_at_a_place_reads_what_the_model_read(live, run):
    corpus = run.index.corpus
    position = run.index.record(3).top[0].position
    page = live.get(f"/runs/main/features/3/without.json?position={position}").json()
    row, column = divmod(position, corpus.n_ctx)
    mine = np.flatnonzero(corpus.documents[row] == corpus.documents[row, column])
    assert [one["token"] for one in page["tokens"]] == corpus.tokens[row, mine].tolist()
    there = next(one for one in page["tokens"] if one["position"] == column)
    assert there["activation"] == pytest.approx(run.index.record(3).top[0].value, rel=1e-3) and there["kl"] > 0
    link = f'/runs/main/features/3/without?position={position}"'
    assert link in live.get(f"/runs/main/features/3/at/{position}").text


@pytest.mark.slow
def test_steering_is_the_library_s(live, strongest, run):
    asked = [("latent", strongest), ("strength", "1.5"), ("latent", ""), ("strength", "2"), ("latent", 3)]
    asked += [("prompt", "def function_"), ("n", 12), ("temperature", 1), ("seed", 4)]
    page = live.get("/runs/main/steer.json?" + urlencode(asked)).json()
    largest = [run.index.record(one).statistics["train"].max for one in (strongest, 3)]
    by = {strongest: 1.5 * largest[0], 3: 2 * largest[1]}
    its = run.prompts.steered("def function_", by, n_new=12, temperature=1.0, seed=4)
    assert page["plain"]["text"] == its.plain and page["steered"]["text"] == its.steered
    assert [one["by"] for one in page["latents"]] == pytest.approx(list(by.values()))
    assert page["kl"] == pytest.approx(its.kl, abs=1e-5)
    assert page["steered"]["loss"] == pytest.approx(its.steered_written.loss, abs=1e-4)
    tuned = live.get("/runs/main/steer.json?" + urlencode([*asked, ("kl", "0.4")])).json()
    assert tuned["kl"] == pytest.approx(0.4, rel=0.05)


@pytest.mark.slow
def test_what_is_held_is_the_library_s(live, strongest, run):
    asked = {"how": "pin", "latent": strongest, "prompt": "def function_", "n": 8, "temperature": 1, "samples": 2}
    its = run.pinned(strongest, prompt="def function_", n_new=8, n_samples=2)
    record = live.get("/runs/main/steer.json?" + urlencode(asked)).json()
    page = record["pinned"]
    assert (page["value"], record["value"], record["plain"]) == (its.value, None, None)
    for row, kind in zip(page["rows"], ("plain", "pinned", "beside"), strict=True):
        assert [text["text"] for text in row["texts"]] == [text.text for text in its.texts(kind)]
        assert row["active_share"] == its.mean(kind, "active_share")
        assert row["loss"] == pytest.approx(its.mean(kind, "loss"), abs=1e-4)
    shown = live.get("/runs/main/steer?" + urlencode(asked | {"value": 2.5, "at": "last"})).text
    assert "held at 2.50" in shown and "Other samples" in shown and 'value="2.5"' in shown
    two = live.get("/runs/main/steer?how=pin&latent=1&latent=2&prompt=x")
    assert two.status_code == 400 and "were to be held" in two.text


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_live_page_in_a_real_browser(browser, live, strongest, scheme):
    """Typed into the form, sent by the keyboard, read by the keyboard; nothing of the text becomes markup."""
    tab = browser.new_page(color_scheme=scheme, viewport={"width": 1360, "height": 900})
    complaints, hosts = [], set()
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: (complaints.append("a dialog opened"), dialog.dismiss()))
    tab.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    tab.goto(f"{live.address}/runs/main/text")
    tab.locator("textarea").click()
    tab.keyboard.type("jq/ <b>no key of the page</b>\nvalue")
    assert tab.url.endswith("/text")
    tab.keyboard.press("Control+Enter")
    tab.wait_for_url("**t=jq*")
    assert tab.locator("textarea").input_value() == "jq/ <b>no key of the page</b>\nvalue"
    first = tab.locator("table.grid td[tabindex='0']")
    first.focus()
    reading = tab.locator("#reading").inner_text()
    assert "latent" in reading
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("document.activeElement.matches('table.grid td')")
    rows = tab.locator("table.grid tbody tr")
    before = [rows.nth(n).get_attribute("data-latent") for n in range(3)]
    rows.nth(0).locator("button[aria-label$='down']").focus()
    tab.keyboard.press("Enter")
    assert [rows.nth(n).get_attribute("data-latent") for n in range(3)] == [before[1], before[0], before[2]]
    tab.reload()  # the address has the order
    assert [rows.nth(n).get_attribute("data-latent") for n in range(3)] == [before[1], before[0], before[2]]
    tab.goto(f"{live.address}/runs/main/features/{strongest}/try?t={ASKED}")
    assert tab.locator("#marker").get_attribute("visibility") == "visible"
    assert "<script>" in tab.locator(".examples").inner_text()
    tab.get_by_role("button", name="What changes without it?").click()
    tab.wait_for_url("**/without?**")
    assert tab.locator(".effects [data-sign]").count() and tab.locator("main script, main img").count() == 0
    contrasts = tab.evaluate(CONTRAST)
    assert min(contrasts) >= 4.5, contrasts
    tab.get_by_role("button", name="What is written with more of it?").click()
    tab.wait_for_url("**/steer?**")
    assert tab.locator(".beside section").count() == 2 and tab.locator(".beside .h10").count()
    tab.set_viewport_size({"width": 400, "height": 800})
    for path in (
        f"steer?latent={strongest}&prompt=x",
        f"text?t={ASKED}",
        f"features/{strongest}/without?prompt={ASKED}",
    ):
        tab.goto(f"{live.address}/runs/main/{path}")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400, path
    assert complaints == [] and hosts == {live.address.removeprefix("http://")}
    tab.close()


CONTRAST = """() => {
    const canvas = document.createElement("canvas"), paint = canvas.getContext("2d", { willReadFrequently: true });
    const pixel = (color) => { paint.fillStyle = color; paint.fillRect(0, 0, 1, 1);
        return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3); };
    const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    return ["w1", "w2", "w3", "w4", "w5", "b1", "b2", "b3", "b4", "b5"].map((name) => {
        const span = document.body.appendChild(document.createElement("span"));
        span.className = name;
        const style = getComputedStyle(span);
        const [a, b] = [light(pixel(style.backgroundColor)), light(pixel(style.color))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    });
}"""


FOUND = TextFound(
    tokens=[1, 2, 3],
    counted=[False, True, True],
    places=np.array([1, 1, 2, 2], dtype=np.int32),
    latents=np.array([7, 4, 4, 9], dtype=np.int32),
    values=np.array([1.0, -3.0, 1.0, 2.0], dtype=np.float32),
)


def test_latents_are_ranked_by_size():
    every = overall(FOUND)
    assert (
        every.latents.tolist() == [4, 7, 9] and every.max.tolist() == [3, 1, 2] and every.tokens.tolist() == [2, 1, 1]
    )
    assert every.mean.tolist() == [2, 0.5, 1]
    ranked: dict[By, list[int]] = {"max": [4, 9, 7], "mean": [4, 9, 7], "tokens": [4, 7, 9]}
    assert {by: every.latents[every.ranked(by)].tolist() for by in ranked} == ranked
    assert matrix(FOUND, [9, 5, 4]).tolist() == [[0, 0, 2], [0, 0, 0], [0, -3, 1]]
    assert matrix(FOUND, []).shape == (0, 3)


def test_rows_that_are_alike_lie_beside_each_other():
    rows = np.array([[1, 0, 0], [0, 1, 0], [2, 0.1, 0], [0, 3, 0.2], [0, 0, 0], [0, 0, 5]], dtype=np.float32)
    order = by_similarity(rows)
    assert sorted(order) == list(range(6)) and order[0] == 0
    assert abs(order.index(0) - order.index(2)) == 1 and abs(order.index(1) - order.index(3)) == 1
    assert by_similarity(rows[:0]) == [] and by_similarity(rows[:1]) == [0]


@pytest.mark.parametrize(
    ("value", "heat"), [(0.0, 0), (0.01, 1), (1.0, 1), (1.01, 2), (10.0, 10), (99.0, 10), (-10.0, 10)]
)
def test_heat_is_relative_to_the_corpus_and_ends_there(value, heat):
    assert level(value, 10.0) == heat
    assert level(value, 0.0) == int(value != 0)


def test_cells_are_no_markup():
    made = cells([0.0, 2.0], 4.0, 17, ["<b>", '"><script>'])
    assert made.startswith("<td></td><td") and "<script>" not in made and "&#34;&gt;&lt;script&gt;" in made
